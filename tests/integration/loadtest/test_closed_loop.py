"""Load as fast as it is answered, against a server that answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from closed_loop import ClosedLoop
from open_loop import Request

OK = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
PROBLEM = b'{"code":"no_leader"}'
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%b" % (len(PROBLEM), PROBLEM)


class Server:
    """Refuses every fifth request and cuts the connection at every seventh; `seen` are the paths of the others."""

    def __init__(self) -> None:
        self.seen: Counter[bytes] = Counter()
        self.refused = 0
        self.cut = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                asked = self.seen.total() + self.refused + self.cut + 1
                if asked % 7 == 0:
                    self.cut += 1
                    break
                if asked % 5 == 0:
                    self.refused += 1
                    writer.write(REFUSED)
                else:
                    self.seen[head.split()[1]] += 1
                    writer.write(OK)
        writer.close()

    async def end(self) -> None:
        await asyncio.gather(*self._tasks)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, int]]:
    served = Server()
    listening = await asyncio.start_server(served.on_connection, "127.0.0.1", 0)
    yield served, listening.sockets[0].getsockname()[1]
    listening.close()
    await served.end()


async def test_each_request_is_sent_once_and_ends_in_one_count(server: tuple[Server, int]) -> None:
    served, port = server
    numbers = itertools.count()
    told: list[bytes] = []

    def on_ok(request: Request) -> None:
        told.append(request.wire.split()[1])

    loop = ClosedLoop(
        *("127.0.0.1", port, lambda: ("PUT", b"PUT /%d HTTP/1.1\r\nHost: h\r\n\r\n" % next(numbers)), on_ok),
        connections=4,
        timeout_s=20.0,
    )
    await loop.run(0.5)
    tally = loop.take()
    assert Counter(told) == served.seen
    assert set(served.seen.values()) == {1}
    assert tally.failed == {"PUT 503 no_leader": served.refused, "PUT connection lost": served.cut}
    assert tally.ok == len(told)
    assert tally.sent == tally.ok + tally.failed.total()
