"""Keyspaces and tenants, asked for through two controls on one map store, and through a worker's socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from integration.control.fake_node import FakeNode

from cluster.cluster_map import ClusterMap
from cluster.control.interface import Control
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, ResolveTenant, TenantResolved
from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.messages import AdmitNode, Readiness
from cluster.control.remote import RemoteControl
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.control.worker_port import WorkerPort
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.messages import MapUpdate

WAIT_S_MAX = 20.0
SETTINGS = ControlSettings(initial_nodes=1, partitions=4, replicas=1)
SHOPS = CreateKeyspace("shops", "directory", partitions=3, replicas=1)
StartControl = Callable[[], Awaitable[ControlServer]]


class View:
    """The map as a subscriber of a control has it."""

    def __init__(self, control: Control) -> None:
        self.map = ClusterMap.empty(control.cluster_id)
        control.subscribe(self._take)

    def _take(self, update: MapUpdate) -> None:
        self.map = self.map.updated(update)


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_control(closing: AsyncExitStack) -> StartControl:
    """A further control on the same store."""
    store = MemoryMapStore(b"cluster1")

    async def start() -> ControlServer:
        control = ControlServer(store, SETTINGS)
        closing.push_async_callback(control.close)
        await control.start()
        return control

    return start


@pytest.fixture
async def two(closing: AsyncExitStack, start_control: StartControl) -> tuple[ControlServer, ControlServer]:
    """Two controls of a cluster of one node."""
    first, second = await start_control(), await start_control()
    node = await FakeNode("n1").listen()
    closing.push_async_callback(node.close)
    await first.ask(AdmitNode("n1", node.address))
    await ready(first)
    return first, second


async def ready(control: Control) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not (await control.ask(Readiness())).ready:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_keyspace_is_made_served_and_deleted(two: tuple[ControlServer, ControlServer]) -> None:
    first, second = two
    view = View(second)
    made = await first.ask(SHOPS)
    assert made.created
    assert not (await second.ask(SHOPS)).created
    await ready(first)
    async with asyncio.timeout(WAIT_S_MAX):
        while not set(made.keyspace.pids) <= set(view.map.living):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await second.ask(DeleteKeyspace("shops"))
    for control in two:
        with pytest.raises(NotFound):
            await control.ask(DeleteKeyspace("shops"))
    assert not set(made.keyspace.pids) & set(view.map.living)
    await ready(first)


async def test_a_tenant_is_in_one_partition_whichever_control_is_asked_at_once(
    two: tuple[ControlServer, ControlServer],
) -> None:
    await two[0].ask(SHOPS)
    asks = [
        control.ask(ResolveTenant("shops", b"t%d" % number, True)) for number in range(30) for control in (*two, *two)
    ]
    answers = await asyncio.gather(*asks)
    found = [{answer.pid for answer in answers[at : at + 4]} for at in range(0, len(answers), 4)]
    assert all(len(pids) == 1 for pids in found)
    assert max(sum(pids == {pid} for pids in found) for pid in range(5, 8)) <= 15


async def test_what_one_control_assigned_the_other_never_says_is_nowhere(
    two: tuple[ControlServer, ControlServer],
) -> None:
    first, second = two
    await first.ask(SHOPS)
    for number in range(20):
        name = b"t%d" % number
        assert await second.ask(ResolveTenant("shops", name)) == TenantResolved(None)
        assigned = await first.ask(ResolveTenant("shops", name, True))
        assert await second.ask(ResolveTenant("shops", name)) == assigned


async def test_of_different_ones_of_one_name_made_at_once_one_is_made(two: tuple[ControlServer, ControlServer]) -> None:
    wanted = [CreateKeyspace("logs", "consistent", partitions=number, replicas=1) for number in range(1, 9)]
    answers = await asyncio.gather(*(control.ask(one) for one in wanted for control in two), return_exceptions=True)
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert sum(one.created for one in made) == 1
    assert len({one.keyspace for one in made}) == 1
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert len(refused) == 14
    assert all(isinstance(one, Conflict) for one in refused)


async def test_a_worker_has_the_news_before_the_answer(
    two: tuple[ControlServer, ControlServer], closing: AsyncExitStack
) -> None:
    class Nothing:
        def take(self, worker: str, counts: bytes) -> None: ...
        def lose(self, worker: str) -> None: ...
        def total(self) -> bytes:
            return b""

        async def draw(self, count: int) -> list[int]:
            return list(range(count))

    directory = closing.enter_context(tempfile.TemporaryDirectory())
    port = WorkerPort(two[0], Nothing(), Nothing())
    await port.listen(Path(directory) / "control")
    closing.push_async_callback(port.close)
    worker = RemoteControl(Path(directory) / "control", "1", 20.0)
    closing.push_async_callback(worker.close)
    await worker.start()
    view = View(worker)
    made = await worker.ask(SHOPS)
    assert view.map.keyspaces["shops"] == made.keyspace
    for number in range(20):
        assigned = await worker.ask(ResolveTenant("shops", b"t%d" % number, True))
        assert view.map.tenants["shops", b"t%d" % number].pid == assigned.pid
    await worker.ask(DeleteKeyspace("shops"))
    assert view.map.keyspaces["shops"].is_deleted
    with pytest.raises(BadParameter, match="strategy"):
        await worker.ask(CreateKeyspace("other", "best"))
