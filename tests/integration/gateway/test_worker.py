"""A worker inside this process, with control behind a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.remote import ControlLost
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.control.worker_port import WorkerPort
from cluster.gateway.counts import Counts, GatewayTally, decode
from cluster.gateway.id_source import ids_of
from cluster.gateway.settings import GatewaySettings
from cluster.gateway.worker import serve_worker

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"
WAIT_S_MAX = 20.0


class Place:
    """Control, and one worker that serves at `port`."""

    def __init__(self, directory: Path) -> None:
        self.control = ControlServer(MemoryMapStore(b"cluster1"), ControlSettings())
        self.tally = GatewayTally(Counts)
        self.workers = WorkerPort(self.control, self.tally, ids_of(self.control, 1, 5.0))
        self.stop = asyncio.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._directory = directory

    async def start(self) -> None:
        await self.control.start()
        path = self._directory / "control"
        await self.workers.listen(path)
        settings = GatewaySettings(data=self._directory)
        self.serving = asyncio.create_task(serve_worker(settings, "1", self._listening, path, self.stop))

    async def ask(self, request: bytes) -> bytes:
        """The first line of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            writer.write(request)
            return await asyncio.wait_for(reader.readline(), WAIT_S_MAX)

    @property
    def requests(self) -> int:
        """How many the gateway counts."""
        return sum(sum(one.counts) for one in decode(self.tally.total()).latencies)

    async def close(self) -> None:
        self.serving.cancel()
        await asyncio.gather(self.serving, return_exceptions=True)
        await self.workers.close()
        await self.control.close()


@pytest.fixture
async def place(capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory() as directory:
        place = Place(Path(directory))
        await place.start()
        async with asyncio.timeout(WAIT_S_MAX):
            while not capsys.readouterr().out.startswith(f"ready http://127.0.0.1:{place.port}"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        yield place
        await place.close()


async def test_a_worker_that_is_stopped_tells_all_that_it_counted(place: Place) -> None:
    for _ in range(5):
        assert await place.ask(HEALTH) == b"HTTP/1.1 200 OK\r\n"
    place.stop.set()
    await asyncio.wait_for(place.serving, WAIT_S_MAX)
    async with asyncio.timeout(WAIT_S_MAX):
        while place.requests < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert place.requests == 5
    with pytest.raises(ConnectionError):
        await place.ask(HEALTH)


async def test_a_worker_that_loses_control_ends(place: Place) -> None:
    assert await place.ask(HEALTH) == b"HTTP/1.1 200 OK\r\n"
    await place.workers.close()
    with pytest.raises(ControlLost):
        await asyncio.wait_for(place.serving, WAIT_S_MAX)
    with pytest.raises(ConnectionError):
        await place.ask(HEALTH)


async def test_readiness_and_the_cluster_are_what_control_says(place: Place) -> None:
    assert await place.ask(b"GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n") == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert await place.ask(b"GET /v1/cluster HTTP/1.1\r\nHost: t\r\n\r\n") == b"HTTP/1.1 200 OK\r\n"
