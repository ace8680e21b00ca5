"""HTTP at a node's port: what it answers, and how little of the node it takes, whatever is asked and however."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kvstore.node.http import http_fallback
from kvstore.rpc.server import Server

HALF = b"GET /healthz HTTP/1.1\r\nHost: n1\r\nX: "
WHOLE = b"GET /metrics HTTP/1.1\r\nHost: n1\r\n\r\n"

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Start = Callable[..., Awaitable[Callable[[bytes], Awaitable[Opened]]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a port with these bounds; gives what opens a connection to it and says something."""
    servers: list[Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def new(**bounds: float) -> Callable[[bytes], Awaitable[Opened]]:
        fallback = http_fallback(lambda: True, lambda: b"a 1\n" * 100_000, **bounds)  # type: ignore[arg-type]
        server = Server(lambda *_: None, cluster_id=lambda: None, fallback=fallback)
        servers.append(server)
        port = await server.listen("127.0.0.1", 0)

        async def say(data: bytes) -> Opened:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(data)
            return reader, writer

        return say

    yield new
    for writer in writers:
        writer.close()
    for server in servers:
        await server.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the other side ends the connection."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


async def test_a_connection_has_one_answer_and_ends(start: Start) -> None:
    say = await start()
    reader, _ = await say(WHOLE + WHOLE)
    answer = await rest(reader)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer
    assert answer.endswith(b"a 1\n" * 100_000)


async def test_beyond_the_limit_the_oldest_connection_gives_way_and_who_asks_is_answered(start: Start) -> None:
    say = await start(connections_max=2)
    (first, _), (second, writer) = [await say(HALF), await say(HALF)]
    reader, _ = await say(WHOLE)
    assert b"200" in await rest(reader)
    assert await rest(first) == b""
    writer.write(b"\r\n\r\n")
    assert b"200" in await rest(second)


async def test_a_flood_of_requests_that_do_not_end_keeps_nobody_out(start: Start) -> None:
    say = await start(connections_max=2)
    opened = [await say(HALF) for _ in range(30)]
    reader, _ = await say(WHOLE)
    assert b"200" in await rest(reader)
    assert [await rest(reader) for reader, _ in opened[:20]] == [b""] * 20


@pytest.mark.parametrize("said", [HALF, b"G", b"POST /healthz HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"])
async def test_a_request_that_does_not_end_is_cut_off(start: Start, said: bytes) -> None:
    say = await start(life_s=0.05)
    reader, _ = await say(said)
    assert b"200" not in await rest(reader)


async def test_a_request_that_comes_byte_by_byte_is_cut_off(start: Start) -> None:
    say = await start(life_s=0.05)
    reader, writer = await say(HALF)
    ended = asyncio.create_task(rest(reader))
    while not ended.done():
        writer.write(b"x")
        await asyncio.sleep(0.001)
    assert await ended == b""


async def test_who_does_not_read_the_answer_is_cut_off(start: Start) -> None:
    fallback = http_fallback(lambda: True, lambda: bytes(50_000_000), life_s=0.05)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Watched(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.http = fallback()
            self.http.connection_made(transport)

        def data_received(self, data: bytes) -> None:
            self.http.data_received(data)

        def pause_writing(self) -> None:
            self.http.pause_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self.http.connection_lost(exc)
            ended.set()

    server = await loop.create_server(Watched, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(WHOLE)
    await asyncio.wait_for(ended.wait(), 10)
    writer.close()
    server.close()
