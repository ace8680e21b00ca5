"""The short way where something breaks that nobody foresaw: who asked is told so, others go on, nothing stays held."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from integration.gateway.conftest import Gateway, RawClient

from cluster.gateway import fast_lane
from kvstore.messages import Fault

PUT = b"PUT /v1/kv/a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\none"
DELETE = b"DELETE /v1/kv/a HTTP/1.1\r\nHost: test\r\n\r\n"
GET = b"GET /v1/kv/a HTTP/1.1\r\nHost: test\r\n\r\n"


def broken_once(then: Callable[..., Any]) -> Callable[..., Any]:
    first = iter([True])

    def call(*args: Any, **named: Any) -> Any:
        if next(first, False):
            raise RuntimeError("a bug")
        return then(*args, **named)

    return call


async def both_at_once(gateway: Gateway, data: bytes) -> list[RawClient]:
    """Two clients whose requests go to the node together."""
    clients = [await gateway.connect() for _ in range(2)]
    for client in clients:
        client.send(data)
    return clients


async def assert_failed(gateway: Gateway, client: RawClient) -> None:
    answer = await client.answer()
    assert (answer.status, answer.code) == (500, "internal")
    assert await client.is_closed()
    assert gateway.server.budget.used == 0


@pytest.mark.parametrize(
    ("data", "piece", "status"),
    [(GET, "plain_answer", 200), (PUT, "plain_stored", 204), (DELETE, "deleted_answer", 204)],
)
async def test_an_answer_that_breaks_is_a_failure_and_those_after_it_are_made(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, data: bytes, piece: str, status: int
) -> None:
    assert (await gateway.ask("PUT", "/v1/kv/a", b"one")).status == 201
    monkeypatch.setattr(fast_lane, piece, broken_once(getattr(fast_lane, piece)))
    clients = await both_at_once(gateway, data)
    async with asyncio.timeout(5):
        answers = [await client.answer() for client in clients]
    assert sorted(answer.status for answer in answers) == [status, 500]
    await gateway.until(lambda: gateway.server.budget.used == 0)


@pytest.mark.parametrize("piece", ["go_on", "flight"])
async def test_a_write_whose_further_attempts_break_is_a_failure(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, piece: str
) -> None:
    async def go_on(*_args: object) -> None:
        raise RuntimeError("a bug")

    for node in gateway.nodes:
        node.fault = Fault("locked", "a transaction holds the key")
    if piece == "go_on":
        monkeypatch.setattr(gateway.dispatcher, "go_on", go_on)
    else:
        monkeypatch.setattr(fast_lane, "Flight", broken_once(fast_lane.Flight))
    client = await gateway.connect()
    client.send(PUT)
    async with asyncio.timeout(5):
        await assert_failed(gateway, client)


@pytest.mark.parametrize("data", [GET, PUT])
@pytest.mark.parametrize("piece", ["route", "call"])
async def test_what_cannot_be_routed_or_sent_for_an_unforeseen_reason_is_a_failure(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, data: bytes, piece: str
) -> None:
    broken: Any = gateway.router if piece == "route" else gateway.dispatcher.links
    monkeypatch.setattr(broken, piece, broken_once(getattr(broken, piece)))
    client = await gateway.connect()
    client.send(data)
    async with asyncio.timeout(5):
        await assert_failed(gateway, client)


async def test_bytes_are_given_back_where_the_answer_cannot_be_written(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await gateway.connect()
    client.send(PUT[:-1])
    await asyncio.sleep(0.05)
    assert gateway.server.budget.used > 0
    monkeypatch.setattr(gateway.server, "renderer", None)
    client.send(PUT[-1:])
    async with asyncio.timeout(5):
        assert await client.is_closed()
    assert gateway.server.budget.used == 0
