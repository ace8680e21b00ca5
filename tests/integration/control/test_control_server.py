"""Control over real sockets and LMDB, among nodes that are played."""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from integration.control.fake_node import FakeNode

from cluster.cluster_map import Change, ClusterMap
from cluster.control.map_store import Applied
from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.messages import AdmitNode, Admitted, ClusterStatus, Readiness
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from kvstore.errors import BadParameter, Conflict, ShuttingDown
from kvstore.messages import MapUpdate
from kvstore.rpc import local
from kvstore.rpc.server import Server

WAIT_S_MAX = 20.0
StartNode = Callable[..., Awaitable[FakeNode]]
StartControl = Callable[..., Awaitable[ControlServer]]


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_node(closing: AsyncExitStack) -> StartNode:
    async def start(node: str, **options: int) -> FakeNode:
        started = await FakeNode(node, **options).listen()
        closing.push_async_callback(started.close)
        return started

    return start


@pytest.fixture
def start_control(closing: AsyncExitStack, tmp_path: Path) -> StartControl:
    async def start(**settings: int) -> ControlServer:
        control = ControlServer(EmbeddedMapStore(tmp_path / "gateway"), ControlSettings(**settings))
        closing.push_async_callback(control.close)
        await control.start()
        return control

    return start


async def admit(control: ControlServer, node: FakeNode) -> Admitted:
    return await control.ask(AdmitNode(node.node, node.address))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


async def ready(control: ControlServer) -> None:
    async def is_ready() -> bool:
        return (await control.ask(Readiness())).ready

    await until(is_ready)


async def is_down(control: ControlServer) -> bool:
    return (await control.ask(ClusterStatus())).nodes[0].state == "down"


async def test_three_nodes_join_and_lead_their_shares(start_node: StartNode, start_control: StartControl) -> None:
    control = await start_control(initial_nodes=3)
    nodes = [await start_node(f"n{number}") for number in (1, 2, 3)]
    assert [await admit(control, node) for node in nodes] == [Admitted(True)] * 3
    await ready(control)
    view = await control.ask(ClusterStatus())
    assert view.state == "healthy"
    assert sum(node.leads for node in view.nodes) == 64
    assert sum(node.follows for node in view.nodes) == 64
    assert max(node.leads for node in view.nodes) <= 23
    for node in nodes:
        assert node.map.entries
        assert all(entry.holds(node.node) for entry in node.map.entries.values())


async def test_a_subscriber_gets_the_whole_map_and_then_every_change(
    start_node: StartNode, start_control: StartControl
) -> None:
    control = await start_control(initial_nodes=2, partitions=8)
    early = await start_node("n1")
    await admit(control, early)
    updates: list[MapUpdate] = []
    stop = control.subscribe(updates.append)
    assert [node.id for node in updates[0].nodes] == ["n1"]
    await admit(control, await start_node("n2"))
    await ready(control)
    worker = ClusterMap.empty(control.cluster_id)
    for update in updates:
        worker = worker.updated(update)
    assert set(worker.nodes) == {"n1", "n2"}
    assert worker.keyspaces["default"].pids == tuple(range(1, 9))
    assert all(entry.leader is not None and entry.ver == 2 for entry in worker.entries.values())
    versions = [update.map_ver for update in updates]
    assert versions == sorted(set(versions))
    stop()
    known = len(updates)
    await admit(control, await start_node("n3"))
    assert len(updates) == known


async def test_control_that_restarts_dials_its_members_and_places_nothing_again(
    start_node: StartNode, start_control: StartControl
) -> None:
    control = await start_control(initial_nodes=2)
    nodes = [await start_node("n1"), await start_node("n2")]
    for node in nodes:
        await admit(control, node)
    await ready(control)
    before = await control.ask(ClusterStatus())
    cluster_id = control.cluster_id
    await control.close()
    again = await start_control(initial_nodes=2)
    await ready(again)
    assert again.cluster_id == cluster_id
    assert (await again.ask(ClusterStatus())).partitions == before.partitions


async def test_a_node_that_starts_again_elsewhere_takes_its_partitions_back_in_new_epochs(
    start_node: StartNode, start_control: StartControl
) -> None:
    control = await start_control(initial_nodes=1, partitions=8)
    first = await start_node("n1")
    await admit(control, first)
    await ready(control)
    await first.close()
    await until(lambda: is_down(control))
    assert (await control.ask(ClusterStatus())).state == "unavailable"
    assert await admit(control, await start_node("n1", boot=2)) == Admitted(False)
    await ready(control)
    assert {partition.epoch for partition in (await control.ask(ClusterStatus())).partitions} == {2}


async def test_a_connection_that_drops_while_copies_are_made_only_delays_the_placement(
    start_node: StartNode, start_control: StartControl
) -> None:
    control = await start_control(initial_nodes=2, partitions=8)
    for node in (await start_node("n1"), await start_node("n2", drops_copies=2)):
        await admit(control, node)
    await ready(control)


async def test_nodes_that_join_at_once_are_all_admitted(start_node: StartNode, start_control: StartControl) -> None:
    control = await start_control(initial_nodes=5, partitions=16)
    nodes = [await start_node(f"n{number}") for number in range(5)]
    assert await asyncio.gather(*(admit(control, node) for node in [*nodes, nodes[0]])) == [Admitted(True)] * 6
    await ready(control)


async def test_an_address_without_a_listener_is_refused(start_control: StartControl, start_node: StartNode) -> None:
    control = await start_control()
    gone = await start_node("n1")
    await gone.close()
    with pytest.raises(BadParameter, match="address: no handshake with a node at"):
        await admit(control, gone)
    assert (await control.ask(ClusterStatus())).nodes == ()


async def test_a_node_that_gives_another_name_is_refused(start_control: StartControl, start_node: StartNode) -> None:
    control = await start_control()
    node = await start_node("n2")
    with pytest.raises(Conflict, match="is node n2, not n1"):
        await control.ask(AdmitNode("n1", node.address))


async def test_a_node_of_another_cluster_is_refused_in_its_own_words(
    start_control: StartControl, start_node: StartNode
) -> None:
    control = await start_control()
    node = await start_node("n1")
    node.cluster_id = b"another!"
    with pytest.raises(Conflict, match="node n1 is of another cluster"):
        await admit(control, node)


async def test_a_listener_that_is_no_node_is_refused(start_control: StartControl) -> None:
    control = await start_control()
    other = Server(lambda connection, _: connection.close(), cluster_id=lambda: None)
    port = await other.listen("127.0.0.1", 0)
    with pytest.raises(BadParameter, match="address"):
        await control.ask(AdmitNode("n1", f"127.0.0.1:{port}"))
    await other.close()


async def test_a_listener_that_ends_as_it_is_dialled_is_none(
    start_control: StartControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled = local.dialled
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
        listening = local.listening("127.0.0.1", port)
        assert listening is not None

        def dialled_and_lost(host: str, port: int) -> socket.socket | None:
            sock = dialled(host, port)
            listening.close()
            return sock

        monkeypatch.setattr(local, "dialled", dialled_and_lost)
        control = await start_control()
        with pytest.raises(BadParameter, match="address: no handshake with a node at"):
            await control.ask(AdmitNode("n1", f"127.0.0.1:{port}"))


async def test_a_node_that_joins_late_gets_the_missing_copies(
    start_node: StartNode, start_control: StartControl
) -> None:
    control = await start_control(initial_nodes=1, partitions=16)
    await admit(control, await start_node("n1"))
    await ready(control)
    assert (await control.ask(ClusterStatus())).state == "degraded"
    await admit(control, await start_node("n2", drops_copies=1))

    async def is_healthy() -> bool:
        return (await control.ask(ClusterStatus())).state == "healthy"

    await until(is_healthy)
    for partition in (await control.ask(ClusterStatus())).partitions:
        assert (partition.leader, partition.in_sync, partition.replicas) == ("n1", ("n1", "n2"), ("n1", "n2"))


async def test_a_node_with_a_new_disk_is_told_which_boot_is_known_at_each_dial(
    start_control: StartControl, start_node: StartNode
) -> None:
    control = await start_control(initial_nodes=9)
    node = await start_node("n1", boot=5)
    await admit(control, node)

    async def is_told(boot: int) -> bool:
        return "n1" in node.map.nodes and node.map.nodes["n1"].boot == boot

    await until(lambda: is_told(5))
    for boot in (6, 7):
        assert node.control is not None
        node.is_new = True
        node.control.close("wiped by the test")
        await until(functools.partial(is_told, boot))
    await node.close()
    again = await start_node("n1", is_new=True)
    await until(lambda: is_down(control))
    assert await admit(control, again) == Admitted(False)
    assert again.boot == 8


async def test_an_older_disk_is_refused_and_the_cluster_keeps_the_newer_boot(
    start_control: StartControl, start_node: StartNode
) -> None:
    control = await start_control()
    node = await start_node("n1", boot=5)
    await admit(control, node)
    await node.close()
    await until(lambda: is_down(control))
    with pytest.raises(Conflict, match="older than the one that was admitted"):
        await admit(control, await start_node("n1", boot=4))
    assert await admit(control, await start_node("n1", boot=6)) == Admitted(False)


async def test_questions_that_wait_when_control_stops_are_refused(
    start_control: StartControl, start_node: StartNode
) -> None:
    control = await start_control()
    waiting = asyncio.create_task(admit(control, await start_node("n1", answers_hello=False)))
    await asyncio.sleep(0)
    await control.close()
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await control.ask(Readiness())


class CountingStore(MemoryMapStore):
    """Answers only after a pause, as a disk does, and counts transactions."""

    transactions = 0

    async def apply(self, changes: Sequence[Change]) -> Applied:
        self.transactions += 1
        await asyncio.sleep(0.05)
        return await super().apply(changes)


async def test_proposals_that_wait_for_a_transaction_share_the_next_one(
    start_node: StartNode, closing: AsyncExitStack
) -> None:
    store = CountingStore(b"cluster1")
    control = ControlServer(store, ControlSettings(initial_nodes=9))
    closing.push_async_callback(control.close)
    await control.start()
    nodes = [await start_node(f"n{number}") for number in range(8)]
    await asyncio.gather(*(admit(control, node) for node in nodes))
    assert store.transactions <= 4


@pytest.mark.parametrize("turns", range(6))
async def test_it_closes_though_something_to_store_comes_in_that_turn(start_control: StartControl, turns: int) -> None:
    """`asyncio.wait_for` of Python 3.11 forgets that it was cancelled when what it waits for comes in the same turn."""
    control = await start_control()
    await asyncio.sleep(0)
    control._has_waiting.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S_MAX):
        await control.close()
