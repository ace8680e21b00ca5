"""Both ways of a request: the same bytes, cut anywhere, get the same answers, in the same order."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from integration.gateway.conftest import Gateway, StartGateway

from cluster.gateway.answer import Answer
from cluster.gateway.fast_lane import FastLane
from cluster.gateway.fast_requests import FastRequest, recognise
from cluster.gateway.metrics import Metrics
from kvstore.client import Client
from kvstore.errors import KvError
from kvstore.messages import Body, WriteResult
from kvstore.node.pending import STILL_OPEN
from kvstore.rpc.connection import Connection

HOST = "Host: test\r\n"
CLOSE = f"GET /healthz HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n"
# Two answers to the same bytes differ in these: when, and under which id, they were given.
VARYING = re.compile(rb"(Date|X-Request-Id): [^\r]*\r\n")


def request(method: str, path: str, fields: str = "", body: str = "") -> str:
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    return f"{method} {path} HTTP/1.1\r\n{HOST}{length}{fields}\r\n{body}"


PUT = request("PUT", "/v1/kv/a", body="one")
STREAMS = {
    "a get of nothing": request("GET", "/v1/kv/nothing"),
    "a put and what it left": PUT + request("GET", "/v1/kv/a") + request("HEAD", "/v1/kv/a"),
    "puts, a delete": PUT
    + PUT
    + request("DELETE", "/v1/kv/a")
    + request("GET", "/v1/kv/a")
    + request("DELETE", "/v1/kv/a"),
    "types": request("PUT", "/v1/kv/t", "Content-Type: text/plain\r\n", "x") + request("GET", "/v1/kv/t"),
    "curl's own type": request("PUT", "/v1/kv/t", "Content-Type: application/x-www-form-urlencoded\r\n", "x")
    + request("GET", "/v1/kv/t", "User-Agent: curl/7.88.1\r\nAccept: */*\r\n"),
    "a type that is none": request("PUT", "/v1/kv/t", "Content-Type: nonsense\r\n", "x"),
    "an empty value": request("PUT", "/v1/kv/e") + request("GET", "/v1/kv/e"),
    "a long value": request("PUT", "/v1/kv/l", body="v" * 5000) + request("GET", "/v1/kv/l"),
    "a value that is too long": request("PUT", "/v1/kv/l", body="v" * 6001) + request("GET", "/v1/kv/l"),
    "times and conditions": request("PUT", "/v1/kv/c?ttl=100", body="x")
    + request("GET", "/v1/kv/c")
    + request("PUT", "/v1/kv/c", "If-None-Match: *\r\n", "y")
    + request("GET", "/v1/kv/c", "If-None-Match: *\r\n"),
    "a token": request("PUT", "/v1/kv/i", "Idempotency-Key: k\r\n", "x") * 2,
    "a token for two requests": request("PUT", "/v1/kv/i", "Idempotency-Key: k\r\n", "x")
    + request("PUT", "/v1/kv/i", "Idempotency-Key: k\r\n", "y")
    + request("DELETE", "/v1/kv/i", "Idempotency-Key: k\r\nContent-Length: 0\r\n")
    + request("GET", "/v1/kv/i"),
    "tokens that are none": request("PUT", "/v1/kv/i", "Idempotency-Key: \r\n", "x")
    + request("PUT", "/v1/kv/i", "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", "x"),
    "conditions on writes": request("PUT", "/v1/kv/c", 'If-Match: "1.1.1"\r\n', "x")
    + request("PUT", "/v1/kv/c", "If-None-Match: *\r\n", "x")
    + request("PUT", "/v1/kv/c", "If-None-Match: *\r\n", "y")
    + request("PUT", "/v1/kv/c", "If-Match: *\r\n", "z")
    + request("PUT", "/v1/kv/c", 'If-Match: "1.1.1", "1.1.2"\r\n', "x")
    + request("DELETE", "/v1/kv/c", 'If-Match: "7.7.7"\r\n')
    + request("DELETE", "/v1/kv/c", 'If-Match: ""\r\n')
    + request("DELETE", "/v1/kv/c", "If-Match: *\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n")
    + request("GET", "/v1/kv/c"),
    "a delete with a body": request("DELETE", "/v1/kv/a", "Content-Length: 1\r\n", "x"),
    "escapes": request("PUT", "/v1/kv/a%2Fb", body="x") + request("GET", "/v1/kv/a/b") + request("GET", "/v1/kv/%"),
    "other keyspaces and paths": request("GET", "/v1/keyspaces/default/kv/a") + request("GET", "/v1/nowhere"),
    "pages": PUT
    + request("PUT", "/v1/kv/b", body="two")
    + request("GET", "/v1/kv?limit=1")
    + request("GET", "/v1/kv", "Accept: application/msgpack\r\n")
    + request("GET", "/v1/kv?reverse=true&keys_only=true")
    + request("GET", "/v1/kv?limit=0")
    + request("GET", "/v1/kv?count=true")
    + request("HEAD", "/v1/kv"),
    "a bad length": f"PUT /v1/kv/a HTTP/1.1\r\n{HOST}Content-Length: +3\r\n\r\nabc",
    "two lengths": f"PUT /v1/kv/a HTTP/1.1\r\n{HOST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a get with a body": f"GET /v1/kv/a HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\nabc",
    "no host": "GET /v1/kv/a HTTP/1.1\r\n\r\n",
    "two hosts": f"GET /v1/kv/a HTTP/1.1\r\n{HOST}{HOST}\r\n",
    "an old client": "GET /v1/kv/a HTTP/1.0\r\n\r\n",
    "bytes that are no request": "\x16\x03\x01 hello\r\n\r\n",
    "a request, then nonsense": request("GET", "/v1/kv/a") + "nonsense\r\n\r\n",
}


async def answers(gateway: Gateway, pieces: list[bytes]) -> bytes:
    """All that comes back until the gateway closes, but for what may vary."""
    client = await gateway.connect()
    for piece in pieces:
        client.send(piece)
        await asyncio.sleep(0.002 if len(pieces) > 1 else 0)
    data = await asyncio.wait_for(client.reader.read(-1), 10)
    await client.close()
    return VARYING.sub(b"", data)


@pytest.fixture
async def both(start_gateway: StartGateway) -> tuple[Gateway, Gateway]:
    short, long = [await start_gateway(has_lane=has_lane, max_value_bytes=6000) for has_lane in (True, False)]
    return short, long


async def assert_alike(both: tuple[Gateway, Gateway], pieces: list[bytes]) -> None:
    for gateway in both:
        for node in gateway.nodes:
            node.rows.clear()
            node.seq = 0
    mine, theirs = [await answers(gateway, pieces) for gateway in both]
    assert mine == theirs
    assert mine.startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_the_same_bytes_get_the_same_answers(both: tuple[Gateway, Gateway], stream: str) -> None:
    await assert_alike(both, [(stream + CLOSE).encode("latin-1")])


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
async def test_so_they_do_when_each_request_comes_after_the_answer_before(
    both: tuple[Gateway, Gateway], stream: str
) -> None:
    pieces = [piece.encode("latin-1") for piece in re.split(r"(?=(?:GET|HEAD|PUT|DELETE) /)", stream + CLOSE) if piece]
    await assert_alike(both, pieces)


@pytest.mark.parametrize(
    "stream",
    [PUT + request("GET", "/v1/kv/a"), request("GET", "/v1/kv/a") + "nonsense\r\n\r\n", request("GET", "/v1/kv/a") * 2],
    ids=["a put and a get", "a get and nonsense", "two gets"],
)
async def test_so_they_do_cut_at_every_byte(both: tuple[Gateway, Gateway], stream: str) -> None:
    data = (stream + CLOSE).encode("latin-1")
    for cut in range(1, len(stream)):
        await assert_alike(both, [data[:cut], data[cut:]])


@given(
    st.lists(st.sampled_from(sorted(STREAMS.values())), min_size=1, max_size=4),
    st.lists(st.integers(1, 400), max_size=4),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_so_do_any_of_them_in_a_row(both: tuple[Gateway, Gateway], streams: list[str], cuts: list[int]) -> None:
    data = ("".join(streams) + CLOSE).encode("latin-1")
    places = sorted({cut for cut in cuts if cut < len(data)})
    await assert_alike(both, [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)])


async def test_what_follows_a_request_under_way_waits_for_its_answer(gateway: Gateway) -> None:
    client = await gateway.connect()
    gateway.nodes[0].is_silent = gateway.nodes[1].is_silent = True
    client.send(request("PUT", "/v1/kv/a", body="x").encode())
    await asyncio.sleep(0.05)
    client.send(request("GET", "/v1/nowhere").encode())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readexactly(1), 0.1)


async def test_what_follows_a_request_that_was_handed_back_waits_for_its_answer(gateway: Gateway) -> None:
    client = await gateway.connect()
    leaders = {}
    for key in ("a", "b", "c", "d"):
        await client.ask("PUT", f"/v1/kv/{key}", key.encode())
        leaders.setdefault(gateway.router.route("default", key.encode()).pid % 2, key)
    slow, quick = leaders[0], leaders[1]
    node = gateway.nodes[0]
    node.hold = asyncio.Event()
    reads = node.reads
    client.send(request("GET", f"/v1/kv/{slow}").encode())
    await gateway.until(lambda: node.reads > reads)
    client.send(request("GET", f"/v1/kv/{quick}").encode())
    await asyncio.sleep(0.02)
    node.cut_all()
    await asyncio.sleep(0.02)
    client.send(request("GET", f"/v1/kv/{quick}").encode())
    await asyncio.sleep(0.02)
    node.hold.set()
    assert [(await client.answer()).body.decode() for _ in range(3)] == [slow, quick, quick]


async def test_reads_of_a_connection_go_by_the_newest_map(gateway: Gateway) -> None:
    client = await gateway.connect()
    route = gateway.router.route
    pid = route("default", b"a").pid
    for ver in range(2, 6):
        leader = gateway.nodes[ver % 2]
        entry = gateway.entry(pid, ver, leader)
        gateway.router.take_entry(entry)
        for node in gateway.nodes:
            node.entries[pid] = entry
        before = leader.reads
        for _ in range(3):
            assert (await client.ask("GET", "/v1/kv/a")).status == 404
        assert leader.reads == before + 3
    gateway.router.take_entry(gateway.entry(pid, 6, None))
    carried = gateway.dispatcher.carried
    client.send(request("GET", "/v1/kv/a").encode())
    await gateway.until(lambda: gateway.dispatcher.carried == carried + 1)


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("asked", [("GET", "/v1/kv/a"), ("PUT", "/v1/kv/a"), ("GET", "/v1/kv?limit=1")])
async def test_long_scans_learn_of_requests_whichever_way_those_go(
    gateway: Gateway, asked: tuple[str, str], is_plain: bool
) -> None:
    method, path = asked
    before = gateway.dispatcher.served
    fields = {} if is_plain else {"X-Other": "1"}
    answer = await gateway.ask(method, path, b"x" if method == "PUT" else None, fields)
    assert answer.status in (200, 201, 404)
    assert gateway.dispatcher.served == before + 1


async def test_requests_are_counted_whichever_way_their_answers_are_made(gateway: Gateway) -> None:
    client = await gateway.connect()
    for value, status in ((b"x", 201), (b"y", 204), (b"longer", 204)):
        assert (await client.ask("PUT", "/v1/kv/a", value)).status == status
        assert gateway.server.budget.used == 0
    for path, times in (("a", 3), ("b", 2)):
        for _ in range(times):
            await client.ask("GET", f"/v1/kv/{path}")
    await client.ask("HEAD", "/v1/kv/a")
    text = (await gateway.ask("GET", "/metrics")).body.decode()
    for operation, outcome, count in (("get", "ok", 4), ("get", "key_not_found", 2), ("put", "ok", 3)):
        assert f'_count{{operation="{operation}",outcome="{outcome}"}} {count}.0' in text


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_what_is_asked_while_a_call_is_under_way_goes_together_and_is_not_held_for_long(
    gateway: Gateway, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = "READ_HOLD_S" if method == "GET" else "WRITE_HOLD_S"
    monkeypatch.setattr(f"cluster.gateway.fast_lane.{hold}", 0.5)
    lane = FastLane(gateway.dispatcher, gateway.router, Metrics().observe_all, max_value_bytes=100)
    asked = FastRequest(method, b"a", b"v" if method == "PUT" else None, "text/plain")
    leader = gateway.router.route("default", b"a").leader
    node = next(one for one in gateway.nodes if one.rid == leader)
    node.hold = asyncio.Event()
    askers = [Asker() for _ in range(6)]
    lane.begin(askers[0], asked)
    await gateway.until(lambda: node.sizes == [1])
    for asker in askers[1:4]:
        lane.begin(asker, asked)
        await asyncio.sleep(0)
    assert node.sizes == [1]
    await gateway.until(lambda: node.sizes == [1, 3])
    node.hold.set()
    await gateway.until(lambda: all(asker.answer for asker in askers[:4]))
    for asker in askers[4:]:
        lane.begin(asker, asked)
    await gateway.until(lambda: all(asker.answer for asker in askers))
    assert node.sizes == [1, 3, 2]


@pytest.mark.parametrize("is_late", [False, True])
async def test_many_writes_wait_for_the_calls_to_all_nodes_but_not_for_one_that_is_late(
    gateway: Gateway, is_late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.gateway.fast_lane.WRITE_HOLD_S", 0.02 if is_late else 10)
    monkeypatch.setattr("cluster.gateway.write_rounds.MANY", 1)
    lane = FastLane(gateway.dispatcher, gateway.router, Metrics().observe_all, max_value_bytes=100)
    requests = {}
    for number in range(50):
        asked = FastRequest("PUT", b"k%d" % number, b"v", "text/plain")
        requests[gateway.router.route("default", asked.key).leader] = asked
    quick, slow = (requests[node.rid] for node in gateway.nodes)
    node, other = gateway.nodes
    other.hold = asyncio.Event()
    askers = [Asker() for _ in range(3)]
    lane.begin(askers[0], quick)
    lane.begin(askers[1], slow)
    await gateway.until(lambda: askers[0].answer is not None and other.sizes == [1])
    lane.begin(askers[2], quick)
    await asyncio.sleep(0)
    assert node.sizes == [1]
    if not is_late:
        other.hold.set()
    await gateway.until(lambda: askers[2].answer is not None)
    assert (askers[1].answer is None) is is_late
    other.hold.set()
    await gateway.until(lambda: askers[1].answer is not None)


async def test_a_write_that_is_not_known_yet_is_asked_for_alone_and_so_are_others_of_its_partition(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(connection: Connection, call: int, body: Body, priority: int = 0) -> None:
        if isinstance(body, WriteResult) and len(body.results) == 2:
            body = WriteResult([body.results[0], STILL_OPEN])
        send(connection, call, body, priority)

    send = Connection.answer
    monkeypatch.setattr(Connection, "answer", answer)
    lane = FastLane(gateway.dispatcher, gateway.router, Metrics().observe_all, max_value_bytes=100)
    leader = gateway.router.route("default", b"a").leader
    node = next(one for one in gateway.nodes if one.rid == leader)
    askers = [Asker() for _ in range(3)]
    for asker in askers[:2]:
        lane.begin(asker, FastRequest("PUT", b"a", b"v", "text/plain"))
    await gateway.until(lambda: all(asker.answer for asker in askers[:2]))
    assert node.sizes == [2, 1]
    numbers = [(one.number, one.again) for one in node.asked]
    assert numbers[2] == (numbers[1][0], True)
    lane.begin(askers[2], FastRequest("PUT", b"a", b"v", "text/plain"))
    assert not lane._writes
    await gateway.until(lambda: askers[2].answer is not None)
    assert {asker.answer.status for asker in askers if asker.answer} == {201, 204}


class Asker:
    """Keeps what it is answered."""

    def __init__(self) -> None:
        self.answer: Answer | None = None

    def answer_fast(self, answer: Answer, error: KvError | None = None) -> None:
        self.answer = answer

    def answer_plainly(self, data: bytes, now_s: float) -> float | None:
        return None

    def take_long_way(self) -> None:
        raise AssertionError("a write goes on under its number")

    def fail(self, error: Exception) -> None:
        raise error


async def test_an_answer_that_does_not_tell_of_every_write_tells_of_none(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = iter([True])

    def answer(connection: Connection, call: int, body: Body, priority: int = 0) -> None:
        if isinstance(body, WriteResult) and next(first, False):
            body = WriteResult(body.results[:1])
        send(connection, call, body, priority)

    send = Connection.answer
    monkeypatch.setattr(Connection, "answer", answer)
    lane = FastLane(gateway.dispatcher, gateway.router, Metrics().observe_all, max_value_bytes=100)
    askers = [Asker(), Asker()]
    for asker, method in zip(askers, ("PUT", "DELETE"), strict=True):
        lane.begin(asker, FastRequest(method, b"a", b"v" if method == "PUT" else None, "text/plain"))
    await gateway.until(lambda: all(asker.answer for asker in askers))
    assert [one.token or one.number for node in gateway.nodes for one in node.asked].count(1) == 2, (
        "each is asked again"
    )


async def test_what_the_python_client_asks_of_one_key_goes_the_short_way() -> None:
    """So that probes, which ask by it, try that way."""
    seen: list[bool] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            seen.append(recognise(data) is not None)
            writer.write(b'HTTP/1.1 204 No Content\r\nETag: "1.1.1"\r\nX-KV-Copies: 2\r\n\r\n')
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with Client(f"http://{host}:{port}") as client:
            await client.put("a/b-1", b"x" * 3000)
            await client.put("a/b-1", b"x", if_match="1.1.1")
            await client.put("a/b-1", b"x", if_none_match="*")
            await client.delete("a/b-1")
            with contextlib.suppress(KvError):
                await client.get("a/b-1")
    assert seen == [True] * 5
