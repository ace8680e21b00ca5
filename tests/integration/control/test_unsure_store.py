"""A map store that is silent, slow or fails, and what those are told who asked control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

import pytest
from integration.control.fake_node import FakeNode

from cluster.cluster_map import Change, ClusterMap, PlaceKeyspace
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, ResolveTenant
from cluster.control.map_store import Applied, Outcome, StoreRefused, StoreUnavailable
from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.messages import AdmitNode, ChangeNode, ClusterStatus, Readiness, RemoveNode, Request, SetRebalance
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from kvstore.errors import BadParameter, Conflict, NoLeader, NotFound, OutcomeUnknown, ShuttingDown
from kvstore.messages import MapUpdate

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


@pytest.mark.parametrize(
    "request_", [CreateKeyspace("new", "consistent", 4, 1, 1), DeleteKeyspace("k")], ids=["create", "delete"]
)
async def test_a_change_that_the_store_may_have_when_it_fails_is_of_unknown_outcome(
    closing: AsyncExitStack, request_: CreateKeyspace | DeleteKeyspace
) -> None:
    store = Dying(b"c" * 8)
    control = ControlServer(store, ControlSettings())
    closing.push_async_callback(control.close)
    await control.start()
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


ANSWER_S = 0.5


class Away(Silent):
    """While it is silent nothing that it is given lands, and it takes its time to say that it does not know; `given`
    counts."""

    silence_s = 0.0
    given = 0

    async def load(self) -> ClusterMap:
        if self.is_silent:
            await asyncio.sleep(self.silence_s)
        return await super().load()

    async def apply(self, changes: Sequence[Change]) -> Applied:
        self.given += 1
        if not self.is_silent:
            return await super().apply(changes)
        await asyncio.sleep(self.silence_s)
        return Applied((Outcome.UNKNOWN,) * len(changes), MapUpdate(0, [], []))


@pytest.fixture
async def away(closing: AsyncExitStack) -> tuple[Away, ControlServer]:
    """A store, and control with a keyspace `k` and a node `n1` on it."""
    store = Away(b"c" * 8)
    control = ControlServer(store, ControlSettings(replicas=1), timeout_s=ANSWER_S)
    closing.push_async_callback(control.close)
    node = await FakeNode("n1").listen()
    closing.push_async_callback(node.close)
    await control.start()
    await control.ask(AdmitNode(node.node, node.address))
    await control.ask(CREATE)
    async with asyncio.timeout(WAIT_S_MAX):
        while not (await control.ask(Readiness())).ready:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return store, control


async def taken_s(control: ControlServer, request: Request, kind: type[Exception]) -> float:
    """How long it takes until the request is refused in that way."""
    start_s = asyncio.get_running_loop().time()
    with pytest.raises(kind):
        await asyncio.wait_for(control.carry_out(request), WAIT_S_MAX)
    return asyncio.get_running_loop().time() - start_s


CHANGES: list[Request] = [
    CreateKeyspace("new", "consistent", 4, 1, 1),
    DeleteKeyspace("k"),
    ChangeNode("n1", draining=True),
    SetRebalance(paused=True),
]


async def shown(control: ControlServer) -> object:
    """What the changes would change."""
    seen = control._controller.map
    return sorted(name for name, one in seen.keyspaces.items() if one.pids), seen.nodes["n1"].standing, seen.rebalance


@pytest.mark.parametrize("request_", CHANGES, ids=lambda one: type(one).__name__)
async def test_a_store_that_is_known_to_be_silent_is_given_no_change_and_who_asks_is_told_at_once(
    away: tuple[Away, ControlServer], request_: Request
) -> None:
    store, control = away
    before = await shown(control)
    store.is_silent = True
    await asyncio.sleep(0.6)
    assert await taken_s(control, request_, NoLeader) < ANSWER_S / 2
    given, store.is_silent = store.given, False
    await asyncio.sleep(1)
    assert (store.given, await shown(control)) == (given, before), "nobody waits for it any more"
    assert not control._controller._proposals._open
    await control.ask(request_)
    assert await shown(control) != before


async def test_a_question_that_a_silent_store_is_not_needed_for_is_answered(away: tuple[Away, ControlServer]) -> None:
    store, control = away
    store.is_silent = True
    await asyncio.sleep(0.6)
    await taken_s(control, CreateKeyspace("new", "nonsense"), BadParameter)
    assert (await control.ask(ClusterStatus())).nodes[0].state == "up"


async def test_that_there_is_no_such_node_is_not_said_while_the_store_is_silent(
    away: tuple[Away, ControlServer],
) -> None:
    store, control = away
    await taken_s(control, RemoveNode("n9"), NotFound)
    store.is_silent = True
    await asyncio.sleep(0.6)
    await taken_s(control, RemoveNode("n9"), NoLeader)


async def test_what_is_asked_of_a_store_that_has_just_become_silent_is_answered_in_time_and_not_done_later(
    away: tuple[Away, ControlServer],
) -> None:
    store, control = away
    before = await shown(control)
    store.is_silent, store.silence_s = True, 3 * ANSWER_S
    made, deleted = CHANGES[:2]
    took = await asyncio.gather(taken_s(control, made, NoLeader), taken_s(control, deleted, NoLeader))
    assert max(took) < 2 * ANSWER_S
    store.is_silent = False
    await asyncio.sleep(4 * ANSWER_S)
    assert await shown(control) == before


async def test_a_change_that_a_silent_store_was_given_is_of_unknown_outcome_and_not_given_again_when_nobody_waits(
    away: tuple[Away, ControlServer],
) -> None:
    store, control = away
    before = await shown(control)
    await asyncio.sleep(0)
    store.is_silent, store.silence_s = True, 0.05
    assert await taken_s(control, SetRebalance(paused=True), OutcomeUnknown) < 2 * ANSWER_S
    await asyncio.sleep(1)
    store.is_silent = False
    await asyncio.sleep(1)
    assert await shown(control) == before
    assert not control._controller._proposals._open
