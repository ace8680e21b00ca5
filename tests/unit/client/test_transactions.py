"""Transactions of the client: what is sent, what the answer means, and what a program is told where there is none."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from aiohttp import web
from fakes.gateway import Gateway, cut, refuse
from fakes.stored import StoredGateway

from kvstore.client import (
    Client,
    Delete,
    Deleted,
    Get,
    If,
    Incr,
    Number,
    Put,
    TxnOutcome,
    TxnState,
    Unreachable,
    Value,
    Written,
)
from kvstore.errors import BadKey, KeyNotFound, NoLeader, NotFound, OutcomeUnknown, TxnConflict

ID = f"1-{'ab' * 16}-1"


def committed(*results: dict[str, Any], branch: str = "then") -> web.Response:
    return web.Response(body=msgpack.packb({"txn": ID, "branch": branch, "results": list(results)}))


async def test_conditions_and_operations_arrive_as_they_are(gateway: Gateway) -> None:
    bodies: list[Any] = []

    async def take(request: web.BaseRequest) -> web.Response:
        bodies.append(msgpack.unpackb(await request.read()))
        return committed(branch="else")

    gateway.handler = take
    async with Client(gateway.url) as client:
        outcome = await client.txn(
            conditions=[If("a", etag="1.1"), If(b"\xff", exists=False), If("c", value=b"")],
            then=[Put("a", b"\x00", content_type="a/b", ttl_s=5), Incr("n", by=-2), Delete("d"), Get("é")],
        )
    assert outcome == TxnOutcome(ID, "else", [])
    assert bodies == [
        {
            "if": [{"key": b"a", "etag": "1.1"}, {"key": b"\xff", "exists": False}, {"key": b"c", "value": b""}],
            "then": [
                {"op": "put", "key": b"a", "value": b"\x00", "content_type": "a/b", "ttl": 5},
                {"op": "incr", "key": b"n", "by": -2},
                {"op": "delete", "key": b"d"},
                {"op": "get", "key": "é".encode()},
            ],
            "else": [],
        }
    ]
    assert gateway.asked == [("POST", "/v1/txn")]


async def test_each_operation_of_the_branch_that_was_taken_has_its_outcome(gateway: Gateway) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return committed(
            {"status": 200, "value": b"v", "etag": "1.1", "content_type": "a/b", "ttl": 2.5},
            {"status": 404, "code": "key_not_found", "detail": "no"},
            {"status": 201, "etag": "1.2"},
            {"status": 204},
            {"status": 200, "value": b"-7", "etag": "1.3", "content_type": "text/plain"},
            branch="else",
        )

    gateway.handler = answer
    async with Client(gateway.url) as client:
        ops = [Get("a"), Get("b"), Put("c", b""), Delete("d"), Incr("e")]
        outcome = await client.txn(conditions=[If("a", exists=True)], otherwise=ops)
    value, missing, written, deleted, number = outcome.outcomes
    assert value == Value(b"v", "1.1", "a/b", 2.5)
    assert isinstance(missing, KeyNotFound)
    assert (written, deleted, number) == (Written(True, "1.2"), Deleted(), Number(-7, "1.3"))


async def test_a_conflict_is_told_at_once(gateway: Gateway) -> None:
    async def lose(_: web.BaseRequest) -> web.Response:
        return refuse("txn_conflict", 409)

    gateway.handler = lose
    async with Client(gateway.url) as client:
        with pytest.raises(TxnConflict) as caught:
            await client.txn(then=[Incr("n")])
    assert caught.value.definite
    assert len(gateway.asked) == 1


async def test_what_is_refused_for_now_or_cut_off_is_sent_again_under_its_token(gateway: Gateway) -> None:
    tokens: list[str] = []

    async def at_the_third(request: web.BaseRequest) -> web.StreamResponse:
        tokens.append(request.headers["Idempotency-Key"])
        if len(tokens) == 1:
            return refuse("locked", 503)
        return await cut(request) if len(tokens) == 2 else committed({"status": 200, "value": b"1", "etag": "1.1"})

    gateway.handler = at_the_third
    async with Client(gateway.url) as client:
        assert (await client.txn(then=[Incr("n")])).outcomes == [Number(1, "1.1")]
    assert len(tokens) == 3
    assert len(set(tokens)) == 1


@pytest.mark.parametrize(("code", "status"), [("txn_conflict", 409), ("no_leader", 503)])
async def test_a_refusal_after_an_unknown_attempt_leaves_it_unknown(gateway: Gateway, code: str, status: int) -> None:
    async def cut_then_refuse(request: web.BaseRequest) -> web.Response:
        return await cut(request) if len(gateway.asked) < 2 else refuse(code, status)

    gateway.handler = cut_then_refuse
    async with Client(gateway.url, timeout_s=0.5) as client:
        with pytest.raises(OutcomeUnknown):
            await client.txn(then=[Incr("n")])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgpack.packb({"txn": ID, "branch": "then", "results": []}),
        msgpack.packb({"txn": ID, "branch": "both", "results": [{"status": 204}]}),
        msgpack.packb({"branch": "then", "results": [{"status": 204}]}),
        msgpack.packb({"txn": ID, "branch": "then", "results": [{"status": 200, "value": b"x", "etag": "1"}]}),
    ],
)
async def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(gateway: Gateway, body: bytes) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    gateway.handler = answer
    async with Client(gateway.url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.txn(then=[Incr("n")])


async def test_a_key_that_is_not_allowed_is_refused_unsent(gateway: Gateway) -> None:
    async with Client(gateway.url) as client:
        with pytest.raises(BadKey):
            await client.txn(conditions=[If("", exists=True)])
    assert not gateway.asked


async def test_a_document_is_sent_and_answered_as_it_is(gateway: Gateway) -> None:
    async def echo(request: web.BaseRequest) -> web.Response:
        assert (request.headers["Content-Type"], request.headers["Accept"]) == ("application/json",) * 2
        return web.Response(body=await request.read())

    gateway.handler = echo
    async with Client(gateway.url) as client:
        assert await client.txn_document(b'{"then":[ ]}') == b'{"then":[ ]}'


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (b'{"state":"committed","branch":"else"}', TxnState("committed", "else")),
        (b'{"state":"aborted"}', TxnState("aborted")),
        (b'{"state":"pending"}', TxnState("pending")),
    ],
)
async def test_where_a_transaction_stands_is_told(gateway: Gateway, body: bytes, state: TxnState) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    gateway.handler = answer
    async with Client(gateway.url) as client:
        assert await client.transaction(ID) == state
    assert gateway.asked == [("GET", f"/v1/txn/{ID}")]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"state":"lost"}', b'{"state":"committed","branch":"both"}'])
async def test_an_answer_that_tells_no_state_is_none(gateway: Gateway, body: bytes) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    gateway.handler = answer
    async with Client(gateway.url) as client:
        with pytest.raises(Unreachable):
            await client.transaction(ID)


async def test_asking_for_a_transaction_is_asking_for_that_very_text(gateway: Gateway) -> None:
    async def refuse_it(_: web.BaseRequest) -> web.Response:
        return refuse("not_found", 404)

    gateway.handler = refuse_it
    async with Client(gateway.url) as client:
        with pytest.raises(NotFound):
            await client.transaction("a/../b?c")
    assert gateway.asked == [("GET", "/v1/txn/a%2F..%2Fb%3Fc")]


async def test_a_transaction_drops_from_the_cache_what_either_branch_may_change(
    client: Client, stored: StoredGateway
) -> None:
    stored.fill(b"then", b"else", b"read")
    for key in ("then", "else", "read"):
        await client.get(key, max_stale=60)

    async def refuse_it(request: web.BaseRequest) -> web.StreamResponse:
        return refuse("no_leader", 503) if request.path == "/v1/txn" else await stored.answer_of(request)

    stored.handler, before = refuse_it, len(stored.asked)
    with pytest.raises(NoLeader):
        await client.txn(then=[Put("then", b"")], otherwise=[Incr("else"), Get("read")])
    asked_for_it = len(stored.asked)
    assert asked_for_it > before
    for key in ("then", "else", "read"):
        await client.get(key, max_stale=60)
    assert [path.partition("?")[0] for _, path in stored.asked[asked_for_it:]] == ["/v1/kv/then", "/v1/kv/else"]
