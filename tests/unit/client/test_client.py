"""The client against a server that behaves badly on purpose."""

import asyncio
import contextlib
import inspect
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from fakes.gateway import Gateway, cut, refuse

from kvstore.client import Client, Keyspace, SyncClient, SyncKeyspace, Unreachable
from kvstore.client.ops import Delete, Get, Put
from kvstore.errors import BadBody, BadParameter, KeyNotFound, NoLeader, OutcomeUnknown, PreconditionFailed, TxnConflict
from kvstore.keys import decode_key


@pytest.mark.parametrize("key", [b"..", b"a//b/", b"\xff\x00", b"a/../b", b"%2F", b"q?x#y"])
async def test_keys_arrive_byte_for_byte(gateway: Gateway, key: bytes) -> None:
    async def created(request: web.BaseRequest) -> web.Response:
        assert await request.read() == b""
        return web.Response(status=201, headers={"ETag": '"1.1.1"', "X-KV-Copies": "2"})

    gateway.handler = created
    async with Client(gateway.url) as client:
        written = await client.put(key, b"")
    assert (written.created, written.etag, written.copies) == (True, "1.1.1", 2)
    assert [decode_key(path.removeprefix("/v1/kv/")) for _, path in gateway.asked] == [key]


async def test_a_large_value_arrives_whole_also_at_the_second_attempt(gateway: Gateway) -> None:
    value = bytes(range(256)) * 3072
    bodies: list[bytes] = []

    async def refuse_once(request: web.BaseRequest) -> web.Response:
        bodies.append(await request.read())
        return refuse("no_leader", 503) if len(bodies) < 2 else web.Response(status=204)

    gateway.handler = refuse_once
    async with Client(gateway.url) as client:
        await client.put("k", value)
    assert bodies == [value, value]


async def test_a_write_whose_connection_is_cut_is_sent_again_under_its_token(gateway: Gateway) -> None:
    tokens: list[str] = []

    async def cut_every_second(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers["Idempotency-Key"])
        return web.Response(status=204, headers={"ETag": '"1"'}) if len(tokens) % 2 else await cut(request)

    gateway.handler = cut_every_second
    async with Client(gateway.url) as client:
        await client.put("warm", b"opens the connection that is kept")
        await client.put("k", b"v")
        await client.delete("k")
    assert len(tokens) == 5
    assert all(tokens[lost] == tokens[lost + 1] for lost in (1, 3))
    assert len(set(tokens)) == 3


@pytest.mark.parametrize(("code", "status"), [("no_leader", 503), ("storage_full", 507), ("internal", 500)])
async def test_a_refusal_after_an_unknown_attempt_leaves_it_unknown(gateway: Gateway, code: str, status: int) -> None:
    async def cut_then_refuse(request: web.BaseRequest) -> web.Response:
        return await cut(request) if len(gateway.asked) < 2 else refuse(code, status)

    gateway.handler = cut_then_refuse
    async with Client(gateway.url, timeout_s=0.5) as client:
        with pytest.raises(OutcomeUnknown):
            await client.put("k", b"v")


async def test_a_condition_that_failed_is_the_outcome_of_an_unknown_attempt(gateway: Gateway) -> None:
    async def cut_then_tell(request: web.BaseRequest) -> web.Response:
        return await cut(request) if len(gateway.asked) < 2 else refuse("precondition_failed", 412)

    gateway.handler = cut_then_tell
    async with Client(gateway.url) as client:
        with pytest.raises(PreconditionFailed):
            await client.put("k", b"v", if_none_match="*")


async def test_an_import_has_no_token_and_is_sent_once(gateway: Gateway) -> None:
    tokens: list[str | None] = []

    async def note(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers.get("Idempotency-Key"))
        return await cut(request)

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"key":"a","value":"1"}'

    gateway.handler = note
    async with Client(gateway.url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.import_(pieces())
    assert tokens == [None]


async def test_a_read_whose_connection_is_cut_is_asked_again(gateway: Gateway) -> None:
    async def cut_twice(request: web.BaseRequest) -> web.Response:
        return await cut(request) if len(gateway.asked) < 3 else web.Response(body=b"v")

    gateway.handler = cut_twice
    async with Client(gateway.url) as client:
        assert (await client.get("k")).data == b"v"


async def test_a_read_says_what_it_asks_of_the_answer_and_is_told_its_lag(gateway: Gateway) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        lag = {"X-KV-Lag-Ms": "12"} if "stale" in request.query_string else {}
        if "absent" in request.path:
            return refuse("key_not_found", 404, **lag)
        return web.Response(body=b"v", headers={"ETag": '"1"', **lag})

    gateway.handler = answer
    async with Client(gateway.url) as client:
        assert (await client.get("k")).lag_ms is None
        assert (await client.get("k", consistency="quorum")).lag_ms is None
        assert (await client.get("k", consistency="stale")).lag_ms == 12
        assert (await client.get("k", max_stale=0.5)).lag_ms == 12
        with pytest.raises(KeyNotFound) as absent:
            await client.get("absent", consistency="stale")
        assert absent.value.lag_ms == 12
        with pytest.raises(KeyNotFound) as absent:
            await client.get("absent")
        assert absent.value.lag_ms is None
    assert [path.partition("?")[2] for _, path in gateway.asked[:4]] == [
        "",
        "consistency=quorum",
        "consistency=stale",
        "consistency=stale&max_stale=0.500000",
    ]


async def test_a_bound_of_staleness_beside_a_read_that_is_never_stale_is_refused_unsent(gateway: Gateway) -> None:
    async with Client(gateway.url) as client:
        for consistency in ("strong", "quorum"):
            with pytest.raises(BadParameter):
                await client.get("k", consistency=consistency, max_stale=1)  # type: ignore[arg-type]
    assert not gateway.asked


async def test_a_token_goes_with_every_request_and_one_that_would_break_the_header_is_refused(gateway: Gateway) -> None:
    tokens: list[str | None] = []

    async def note(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers.get("Authorization"))
        return web.Response(body=b"v")

    gateway.handler = note
    async with Client(gateway.url) as anyone, Client(gateway.url, token="secret") as someone:
        await anyone.get("k")
        await someone.get("k")
    assert tokens == [None, "Bearer secret"]
    for token in ("", "two words", "line\r\nX-Evil: 1", "ключ"):
        with pytest.raises(ValueError, match="token"):
            Client(gateway.url, token=token)


async def test_a_write_that_was_refused_for_now_is_tried_again(gateway: Gateway) -> None:
    async def refuse_once(request: web.BaseRequest) -> web.Response:
        return refuse("no_leader", 503) if len(gateway.asked) < 2 else web.Response(status=204)

    gateway.handler = refuse_once
    async with Client(gateway.url) as client:
        assert not (await client.put("k", b"v")).created
    assert len(gateway.asked) == 2


async def test_a_write_that_stays_unknown_is_told_so_when_its_time_is_over(gateway: Gateway) -> None:
    tokens: list[str] = []

    async def lose(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers["Idempotency-Key"])
        return refuse("outcome_unknown", 504)

    gateway.handler = lose
    async with Client(gateway.url, timeout_s=0.5) as client:
        with pytest.raises(OutcomeUnknown):
            await client.put("k", b"v")
        puts = len(tokens)
        with pytest.raises(OutcomeUnknown):
            await client.batch([Get("a"), Put("k", b"v")])
    assert puts > 1
    assert len(tokens) > puts + 1
    assert len(set(tokens)) == 2


async def test_a_server_that_asks_for_more_time_than_is_left_ends_the_call(gateway: Gateway) -> None:
    async def later(request: web.BaseRequest) -> web.Response:
        return refuse("no_leader", 503, **{"Retry-After": "60"})

    gateway.handler = later
    async with Client(gateway.url, timeout_s=5) as client:
        with pytest.raises(NoLeader):
            await client.get("k")
    assert len(gateway.asked) == 1


async def test_no_attempt_begins_with_so_little_time_that_it_would_only_be_lost(gateway: Gateway) -> None:
    """A write that was surely refused would else end as unknown."""
    over = asyncio.Event()

    async def refuse_then_hang(request: web.BaseRequest) -> web.Response:
        if len(gateway.asked) > 1:
            await over.wait()
        return refuse("no_leader", 503, **{"Retry-After": "10"})

    gateway.handler = refuse_then_hang
    async with Client(gateway.url, timeout_s=10.5) as client:
        with pytest.raises(NoLeader):
            await client.put("k", b"v")
    over.set()
    assert len(gateway.asked) == 1


async def test_a_write_without_an_answer_in_time_has_an_unknown_outcome(gateway: Gateway) -> None:
    over = asyncio.Event()

    async def hang(request: web.BaseRequest) -> web.Response:
        await over.wait()
        return web.Response()

    gateway.handler = hang
    async with Client(gateway.url, timeout_s=0.5) as client:
        with pytest.raises(OutcomeUnknown):
            await client.put("k", b"v")
        with pytest.raises(Unreachable):
            await client.get("k")
    over.set()


async def test_a_snapshot_asks_for_one_moment(gateway: Gateway) -> None:
    paths: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        paths.append(request.path_qs)
        return refuse("txn_conflict", 409)

    gateway.handler = note
    async with Client(gateway.url) as client:
        with pytest.raises(TxnConflict):
            await client.snapshot(["a", b"b"])
    assert paths == ["/v1/batch?consistent=true"]


async def test_a_batch_that_only_reads_has_no_token(gateway: Gateway) -> None:
    tokens: list[str | None] = []

    async def note(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers.get("Idempotency-Key"))
        return refuse("bad_body", 400)

    gateway.handler = note
    async with Client(gateway.url) as client:
        for ops in ([Get("a"), Get("b")], [Get("a"), Delete("b")]):
            with pytest.raises(BadBody):
                await client.batch(ops)
    assert [token is None for token in tokens] == [True, False]


async def test_what_an_operator_sends_once_is_not_sent_again(gateway: Gateway) -> None:
    async def refuse_it(_: web.BaseRequest) -> web.Response:
        return refuse("no_leader", 503)

    gateway.handler = refuse_it
    async with Client(gateway.url, timeout_s=1) as client:
        with pytest.raises(NoLeader):
            await client.operate("POST", "x", {}, once=True)
        assert len(gateway.asked) == 1
        with pytest.raises(NoLeader):
            await client.operate("POST", "x", {})
    assert len(gateway.asked) > 2


async def test_a_redirect_is_not_followed(gateway: Gateway) -> None:
    async def elsewhere(request: web.BaseRequest) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    gateway.handler = elsewhere
    async with Client(gateway.url) as client:
        with pytest.raises(Exception, match="answer 307"):
            await client.put("k", b"v")
    assert len(gateway.asked) == 1


async def test_a_gateway_that_is_not_there_is_unreachable_and_nothing_was_written(unused_tcp_port: int) -> None:
    async with Client(f"http://127.0.0.1:{unused_tcp_port}", timeout_s=0.2) as client:
        with pytest.raises(Unreachable) as caught:
            await client.put("k", b"v")
    assert caught.value.definite


async def test_a_connection_that_is_never_made_in_time_means_that_nothing_was_written() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    with contextlib.ExitStack() as stack:
        stack.enter_context(listener)
        address = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        async with Client(f"http://127.0.0.1:{address[1]}", timeout_s=0.2) as client:
            with pytest.raises(Unreachable) as caught:
                await client.put("k", b"v")
    assert caught.value.definite


async def test_the_sync_face_gives_the_same_answers(gateway: Gateway) -> None:
    async def missing(request: web.BaseRequest) -> web.Response:
        if request.path == "/v1/import":
            return web.Response(body=b'{"imported":%d}' % (await request.read()).count(b"\n"))
        return refuse("key_not_found", 404) if request.path.endswith("gone") else web.Response(body=b"v")

    gateway.handler = missing

    def ask() -> bytes:
        with SyncClient(gateway.url) as client:
            with pytest.raises(KeyNotFound):
                client.get("gone")
            assert client.import_([b"one\n", b"two\n"]) == 2
            return client.get("k").data

    assert await asyncio.to_thread(ask) == b"v"


@pytest.mark.parametrize("faces", [(Client, SyncClient), (Keyspace, SyncKeyspace)])
def test_the_sync_face_has_every_call_with_the_same_arguments(faces: tuple[type, type]) -> None:
    calls = {name for name, call in inspect.getmembers(faces[0], inspect.isfunction) if not name.startswith("_")}
    for name in calls - {"scan_pages"}:
        asked, offered = (inspect.signature(getattr(face, name)).parameters for face in faces)
        assert list(asked) == list(offered), name
        assert [one.default for one in asked.values()] == [one.default for one in offered.values()], name
