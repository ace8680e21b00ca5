"""A node that serves asks for admission again when control has left it alone, and no answer ends it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kvstore.errors import OperatorError
from kvstore.node import join as joining
from kvstore.node.join import join, stay_joined
from kvstore.settings import NodeSettings


class Gateway:
    """Answers each request with the next of `statuses`, and with the last one from then on."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self.bodies: list[object] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        self.asked.put_nowait(status)
        return web.json_response({"detail": "was removed"}, status=status)


class Staying:
    """A node that stays joined; `has_control` says whether control is connected to it."""

    def __init__(self, gateway: Gateway, settings: NodeSettings) -> None:
        self.gateway = gateway
        self.settings = settings
        self.has_control = True
        self._looked: asyncio.Queue[bool] = asyncio.Queue()
        self.task = asyncio.create_task(stay_joined(settings, "127.0.0.1:7", random.Random(1), self._look))

    def _look(self) -> bool:
        self._looked.put_nowait(self.has_control)
        return self.has_control

    async def looked(self, times: int) -> None:
        """Wait until it has looked so many times more."""
        while not self._looked.empty():
            self._looked.get_nowait()
        for _ in range(times):
            await self._looked.get()


Start = Callable[..., Awaitable[Staying]]


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start a gateway and a node beside it, whose seconds are hardly any."""
    monkeypatch.setattr(joining, "LOOK_S", 0.001)
    monkeypatch.setattr(joining, "REJOIN_S", 0.01)
    monkeypatch.setattr(joining, "PAUSE_S_MIN", 0.001)
    monkeypatch.setattr(joining, "PAUSE_S_MAX", 0.002)
    servers: list[TestServer] = []
    nodes: list[Staying] = []

    async def begin(*statuses: int) -> Staying:
        gateway = Gateway(*statuses)
        app = web.Application()
        app.router.add_post("/v1/cluster/nodes", gateway.answer)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        settings = NodeSettings(id="n1", data=tmp_path, gateway=str(servers[-1].make_url("")))
        nodes.append(Staying(gateway, settings))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.task.cancel()
        await asyncio.gather(node.task, return_exceptions=True)
    for server in servers:
        await server.close()


async def test_one_that_control_is_connected_to_asks_nobody(start: Start) -> None:
    node = await start(200)
    await node.looked(50)
    assert node.gateway.asked.empty()


async def test_one_that_is_alone_for_a_moment_asks_nobody(start: Start) -> None:
    node = await start(200)
    for _ in range(10):
        node.has_control = False
        await node.looked(5)
        node.has_control = True
        await node.looked(1)
    assert node.gateway.asked.empty()


async def test_one_that_is_alone_asks_with_all_that_it_said_at_its_start(start: Start) -> None:
    node = await start(200)
    node.has_control = False
    await node.gateway.asked.get()
    assert node.gateway.bodies[0] == {"id": "n1", "address": "127.0.0.1:7", "zone": "default", "weight": 1.0}


@pytest.mark.parametrize("status", [400, 401, 409, 422, 500, 503])
async def test_no_answer_ends_it_and_it_asks_on_until_control_is_there(start: Start, status: int) -> None:
    node = await start(status)
    node.has_control = False
    for _ in range(10):
        assert await node.gateway.asked.get() == status
    assert not node.task.done()
    node.has_control = True
    await node.looked(30)
    while not node.gateway.asked.empty():
        node.gateway.asked.get_nowait()
    await node.looked(30)
    assert node.gateway.asked.empty()


async def test_one_that_was_admitted_and_is_still_alone_asks_again(start: Start) -> None:
    node = await start(200)
    node.has_control = False
    for _ in range(3):
        await node.gateway.asked.get()
    assert not node.task.done()


async def test_at_its_start_a_refusal_ends_it(start: Start) -> None:
    node = await start(409)
    with pytest.raises(OperatorError, match="was removed"):
        await join(node.settings, "127.0.0.1:7", random.Random(1))
