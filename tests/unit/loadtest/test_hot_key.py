"""Clients of one hot key, against a server that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hot_key import run_hot_key, wire_of

from kvstore.errors import OperatorError

HOST = "127.0.0.1"
REQUEST = wire_of(HOST, "hot", "o")
SECONDS = 0.3


@asynccontextmanager
async def server(status: Callable[[int], int], pause_s: float = 0.0) -> AsyncIterator[int]:
    """One that answers the n-th request of all with `status(n)`; gives its port."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while await reader.readexactly(len(REQUEST)):
                await asyncio.sleep(pause_s)
                writer.write(f"HTTP/1.1 {status(asked)} X\r\nContent-Length: 2\r\n\r\n{{}}".encode())
                asked += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(serve, HOST, 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def test_who_lost_sends_again_until_it_is_carried_out() -> None:
    async with server(lambda number: (409, 503, 200)[number % 3]) as port:
        tally = await run_hot_key(HOST, port, "hot", ["1"], SECONDS)
    lost, refused, committed = (tally.answers[status] for status in (409, 503, 200))
    assert committed >= tally.in_time > 0
    assert lost >= refused >= committed >= lost - 1


async def test_a_client_that_is_never_carried_out_has_waited_all_the_time() -> None:
    async with server(lambda number: 409, pause_s=0.01) as port:
        tally = await run_hot_key(HOST, port, "hot", ["1", "2"], SECONDS)
    assert tally.committed == 0
    assert tally.waited_s_max >= SECONDS


async def test_every_other_answer_is_the_end() -> None:
    async with server(lambda number: 500 if number else 200) as port:
        with pytest.raises(OperatorError, match="500"):
            await run_hot_key(HOST, port, "hot", ["1"], 60.0)
