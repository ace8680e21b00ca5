"""Load at a fixed rate: against a server that misbehaves as told, and against a real cluster."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from open_loop import OpenLoop
from probe.up import Up

ROOT = Path(__file__).parents[3]
PROBLEM = b'{"code":"no_leader"}'
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n%b" % (len(PROBLEM), PROBLEM)
CUT = b""


class Server:
    """Answers each request with what `answer` says by then, once `released`; an empty answer cuts the connection."""

    def __init__(self) -> None:
        self.answer = OK
        self.released = asyncio.Event()
        self.port = 0
        self.cut = 0
        self.connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections[asyncio.create_task(self.serve(reader, writer))] = writer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await self.released.wait()
                if not self.answer:
                    self.cut += 1
                    break
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def end(self) -> None:
        """Close what is open: what the garbage collector finds later fails some other test."""
        for writer in self.connections.values():
            writer.transport.abort()
        self.released.set()
        await asyncio.gather(*self.connections)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    listening = await asyncio.start_server(served.on_connection, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    yield served
    listening.close()
    await served.end()


def loop_on(server: Server, *, connections: int = 4, timeout_s: float = 20.0) -> OpenLoop:
    return OpenLoop(
        *("127.0.0.1", server.port),
        {"PUT": 200.0},
        lambda kind: b"PUT /v1/kv/k HTTP/1.1\r\nHost: h\r\n\r\n",
        connections=connections,
        timeout_s=timeout_s,
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_all_that_was_due_is_sent_and_answered(server: Server) -> None:
    server.released.set()
    loop = loop_on(server)
    await loop.run(0.2)
    tally = loop.take()
    assert (tally.sent, tally.ok, tally.failed) == (40, 40, {})
    assert sum(tally.latencies["PUT"].values()) == 40
    assert loop.take().sent == 0


async def test_a_request_that_waits_for_a_connection_counts_from_when_it_was_due(server: Server) -> None:
    loop = loop_on(server, connections=1)
    running = asyncio.create_task(loop.run(0.2))
    await until(lambda: loop.under_way == 40)
    server.released.set()
    await running
    latencies = loop.take().latencies["PUT"]
    # The last was due at 195 ms and the first at 0, and none was answered before the last was due.
    assert max(latencies) >= 195
    assert sum(count for latency, count in latencies.items() if latency >= 95) >= 20


async def test_refusals_count_by_their_code_and_have_no_latency(server: Server) -> None:
    server.answer = REFUSED
    server.released.set()
    loop = loop_on(server)
    await loop.run(0.1)
    tally = loop.take()
    assert (tally.ok, tally.failed, tally.latencies) == (0, {"PUT 503 no_leader": 20}, {})


async def test_a_lost_connection_counts_once_and_is_replaced(server: Server) -> None:
    server.answer = CUT
    loop = loop_on(server)
    running = asyncio.create_task(loop.run(0.5))
    server.released.set()
    await until(lambda: server.cut > 2)
    server.answer = OK
    await running
    tally = loop.take()
    assert tally.failed["PUT connection lost"] > 0
    assert tally.ok > 0
    assert tally.ok + tally.failed.total() == tally.sent == 100


async def test_a_request_without_an_answer_fails_in_the_end(server: Server) -> None:
    loop = loop_on(server, connections=2, timeout_s=0.2)
    await loop.run(0.1)
    tally = loop.take()
    assert tally.ok == 0
    assert tally.failed.total() == tally.sent == 20
    assert set(tally.failed) <= {"PUT no answer in time", "PUT never sent in time"}


async def test_a_gateway_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(OSError, match="1"):
        await OpenLoop("127.0.0.1", 1, {"PUT": 1.0}, lambda kind: b"", connections=1, timeout_s=1).run(1)


def foreground(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "loadtest" / "foreground.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_cluster_answers_all_and_the_whole_is_the_sum_of_the_windows(start_up: Callable[..., Up]) -> None:
    up = start_up().wait_ready()
    rates = ("--puts-per-second", "50", "--gets-per-second", "50", "--seconds", "3", "--window", "1")
    result = foreground("--gateway", up.url, "--keys", "300", *rates)
    assert result.returncode == 0, result.stderr
    *windows, whole = [line.split() for line in result.stdout.splitlines()[1:]]
    assert whole[:4] == ["whole", "300", "300", "0"]
    assert whole[-1] == "0"
    assert len(windows) >= 3
    assert [sum(int(window[column]) for window in windows) for column in (1, 2)] == [300, 300]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--gateway", "http://127.0.0.1:1"), "foreground: cannot connect to http://127.0.0.1:1"),
        (("--gateway", "nowhere"), "foreground: 'nowhere' is not a gateway's address"),
        (("--puts-per-second", "-1"), "--puts-per-second"),
        (("--window", "0"), "--window"),
        (("--keys", "0"), "--keys"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(arguments: tuple[str, ...], told: str) -> None:
    result = foreground(*arguments)
    assert result.returncode != 0
    assert told in result.stderr
    assert "Traceback" not in result.stderr
