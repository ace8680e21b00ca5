"""Clients that are slow, silent or many: each phase of a connection has its end, and the others do not notice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvstore.storage.records import encode_value

SHORT = {"header_timeout_s": 0.2, "body_timeout_s": 0.3, "idle_timeout_s": 0.4, "body_grace_s": 0.1, "linger_s": 0.2}


async def test_a_head_that_does_not_end_is_timed_out(start_gateway: Any) -> None:
    gateway = await start_gateway(**SHORT)
    client = await gateway.connect()
    answered = asyncio.create_task(client.answer())
    for byte in b"GET /v1/kv/" + b"a" * 100:
        if answered.done():
            break
        client.send(bytes([byte]))
        await asyncio.sleep(0.03)
    assert answered.done(), "every byte restarted the deadline"
    answer = answered.result()
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert await client.is_closed()


async def test_a_body_that_does_not_come_is_timed_out(start_gateway: Any) -> None:
    gateway = await start_gateway(**SHORT)
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n")
    answer = await client.answer()
    assert (answer.status, answer.code) == (408, "request_timeout")
    assert await client.is_closed()
    assert gateway.writes == 0
    assert gateway.server.budget.used == 0


async def test_a_body_that_trickles_is_timed_out(start_gateway: Any) -> None:
    gateway = await start_gateway(**{**SHORT, "body_timeout_s": 100})
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n")
    answering = asyncio.create_task(client.answer())
    while not answering.done():
        client.send(b"x")
        await asyncio.sleep(0.02)
    assert (await answering).code == "request_timeout"


async def test_an_idle_connection_is_closed_without_a_word(start_gateway: Any) -> None:
    gateway = await start_gateway(**SHORT)
    silent, used = await gateway.connect(), await gateway.connect()
    assert (await used.ask("GET", "/healthz")).status == 200
    assert await silent.is_closed()
    assert await used.is_closed()


async def test_a_connection_that_is_used_stays(start_gateway: Any) -> None:
    gateway = await start_gateway(**SHORT)
    client = await gateway.connect()
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert (await client.ask("GET", "/healthz")).status == 200


async def test_a_reader_that_does_not_read_is_cut(start_gateway: Any) -> None:
    gateway = await start_gateway(**SHORT, max_value_bytes=16 * 1024**2)
    gateway.nodes[0].rows[b"a"] = encode_value(1, 1, 0, "text/plain", b"x" * 16 * 1024**2)
    client = await gateway.connect()
    client.send(b"GET /v1/kv/a HTTP/1.1\r\nHost: t\r\n\r\n")
    await gateway.until(lambda: gateway.server.budget.used > 0)
    await gateway.until(lambda: gateway.server.budget.used == 0)
    await gateway.until(lambda: not gateway.server.connections_count)


async def test_connections_beyond_the_limit_are_refused(start_gateway: Any) -> None:
    gateway = await start_gateway(connections_max=3, linger_s=0.1)
    clients = [await gateway.connect() for _ in range(3)]
    for client in clients:
        assert (await client.ask("GET", "/healthz")).status == 200
    refused = await gateway.connect()
    answer = await refused.answer()
    assert (answer.status, answer.code) == (429, "overloaded")
    assert "retry-after" in answer.headers
    assert await refused.is_closed()
    await clients[0].close()
    await gateway.until(lambda: gateway.server.connections_count <= 2)
    assert (await gateway.ask("GET", "/healthz")).status == 200


async def test_one_address_may_not_take_every_connection(start_gateway: Any) -> None:
    gateway = await start_gateway(connections_per_address_max=2)
    clients = [await gateway.connect() for _ in range(2)]
    for client in clients:
        assert (await client.ask("GET", "/healthz")).status == 200
    assert (await (await gateway.connect()).answer()).code == "overloaded"


@pytest.mark.slow
async def test_many_slow_heads_do_not_hold_up_others(start_gateway: Any) -> None:
    gateway = await start_gateway(connections_max=400, header_timeout_s=2)
    for _ in range(300):
        (await gateway.connect()).send(b"G")
    quick = await gateway.connect()
    longest_s = 0.0
    loop = asyncio.get_running_loop()
    for _ in range(50):
        started_s = loop.time()
        assert (await quick.ask("PUT", "/v1/kv/a", b"x")).status in (201, 204)
        longest_s = max(longest_s, loop.time() - started_s)
    assert longest_s < 2


async def test_connections_that_are_reset_at_once_leave_nothing(gateway: Any) -> None:
    for number in range(200):
        client = await gateway.connect()
        client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhalf"[: number % 60])
        client.writer.transport.abort()
    await gateway.until(lambda: not gateway.server.connections_count)
    assert gateway.server.budget.used == 0
    assert (await gateway.ask("GET", "/healthz")).status == 200


async def test_a_flood_of_pipelined_requests_is_answered_in_full(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n" * 500)
    for _ in range(500):
        assert (await client.answer()).status == 200
