"""A map store that is silent, slow or fails, and what those are told who asked control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from integration.control.fake_node import FakeNode

from cluster.cluster_map import Change, ClusterMap, PlaceKeyspace
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, ResolveTenant
from cluster.control.map_store import Applied, StoreRefused, StoreUnavailable
from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.messages import AdmitNode, ClusterStatus, Readiness
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from kvstore.errors import Conflict, NotFound, OutcomeUnknown, ShuttingDown

WAIT_S_MAX = 20.0


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


class FailingStore(MemoryMapStore):
    async def apply(self, changes: Sequence[Change]) -> Applied:
        raise OSError("the disk is gone")


class Silent(MemoryMapStore):
    """Counts how often it tells the map, while it does: not while `is_silent`."""

    is_silent = False
    loads = 0

    async def load(self) -> ClusterMap:
        if self.is_silent:
            raise StoreUnavailable("no answer")
        self.loads += 1
        return await super().load()


async def test_questions_for_the_store_share_one_look_and_it_is_not_asked_for_those_who_wait_no_more(
    closing: AsyncExitStack,
) -> None:
    store = Silent(b"c" * 8)
    control = ControlServer(store, ControlSettings())
    closing.push_async_callback(control.close)
    await control.start()
    store.is_silent = True

    async def ask(number: int, patience_s: float) -> object:
        async with asyncio.timeout(patience_s):
            return await control.ask(ResolveTenant("nowhere", b"t%d" % number, False))

    given_up = await asyncio.gather(*(ask(number, 0.1) for number in range(100)), return_exceptions=True)
    assert {type(error) for error in given_up} == {TimeoutError}
    waiting = asyncio.gather(*(ask(number, WAIT_S_MAX) for number in range(100)), return_exceptions=True)
    await asyncio.sleep(0.6)
    assert len(control._waiting) == 100
    assert len(control._controller._tenants._asked) == 100
    store.is_silent = False
    assert {type(error) for error in await waiting} == {NotFound}
    assert store.loads <= 3, "one, and those by which others' changes are seen"
    assert not control._waiting
    assert not control._controller._tenants._asked


async def test_a_store_that_fails_ends_control_and_every_question(closing: AsyncExitStack) -> None:
    control = ControlServer(FailingStore(b"cluster1"), ControlSettings())
    closing.push_async_callback(control.close)
    await control.start()
    with pytest.raises(OSError, match="the disk is gone"):
        await control.wait_failed()
    with pytest.raises(ShuttingDown):
        await control.ask(Readiness())


class Dying(MemoryMapStore):
    """Keeps what it is given, then says that it failed."""

    is_dying = False

    async def apply(self, changes: Sequence[Change]) -> Applied:
        applied = await super().apply(changes)
        if self.is_dying:
            raise OSError("no word of the disk")
        return applied


class Slow(MemoryMapStore):
    """Keeps what it is given, and answers when it is told to."""

    def __init__(self, cluster_id: bytes) -> None:
        super().__init__(cluster_id)
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_asked = asyncio.Event()

    async def apply(self, changes: Sequence[Change]) -> Applied:
        applied = await super().apply(changes)
        self.is_asked.set()
        await self.may_answer.wait()
        return applied


CREATE = CreateKeyspace("k", "consistent", 4, 1, 1)


@pytest.mark.parametrize("request_", [CREATE, DeleteKeyspace("k")], ids=["create", "delete"])
async def test_a_change_that_the_store_may_have_when_it_fails_is_of_unknown_outcome(
    closing: AsyncExitStack, request_: CreateKeyspace | DeleteKeyspace
) -> None:
    store = Dying(b"c" * 8)
    control = ControlServer(store, ControlSettings())
    closing.push_async_callback(control.close)
    await control.start()
    if isinstance(request_, DeleteKeyspace):
        await control.ask(CREATE)
    store.is_dying = True
    with pytest.raises(OutcomeUnknown):
        await control.carry_out(request_)
    with pytest.raises(ShuttingDown):
        await control.carry_out(request_)


async def test_so_is_one_that_the_store_has_not_answered_when_control_closes(closing: AsyncExitStack) -> None:
    store = Slow(b"c" * 8)
    control = ControlServer(store, ControlSettings())
    closing.push_async_callback(control.close)
    await control.start()
    await control.ask(CREATE)
    store.may_answer.clear()
    store.is_asked.clear()
    change = asyncio.create_task(control.carry_out(DeleteKeyspace("k")))
    question = asyncio.create_task(control.carry_out(ResolveTenant("k", b"t", False)))
    await store.is_asked.wait()
    await control.close()
    with pytest.raises(OutcomeUnknown):
        await change
    with pytest.raises((ShuttingDown, Conflict)):
        await question


class Small(MemoryMapStore):
    """Refuses transactions about many entries."""

    async def apply(self, changes: Sequence[Change]) -> Applied:
        if sum(len(one.entries) for one in changes if isinstance(one, PlaceKeyspace)) > 100:
            raise StoreRefused("too large")
        return await super().apply(changes)


async def test_a_change_that_the_store_refuses_harms_no_other(closing: AsyncExitStack) -> None:
    control = ControlServer(Small(b"c" * 8), ControlSettings(initial_nodes=1, partitions=4, replicas=1))
    closing.push_async_callback(control.close)
    node = await FakeNode("n1").listen()
    closing.push_async_callback(node.close)
    await control.start()
    await control.ask(AdmitNode(node.node, node.address))
    await control.ask(CreateKeyspace("large", "hash", 128, 1, 1))
    await control.ask(CreateKeyspace("small", "hash", 4, 1, 1))

    async with asyncio.timeout(WAIT_S_MAX):
        while {entry.keyspace for entry in node.map.entries.values()} != {"default", "small"}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await control.ask(ClusterStatus())).nodes
