"""Two controls on one map store: each follows what the other wrote, and one plans."""

from __future__ import annotations

import msgspec
import pytest
from unit.cluster.control.world import World, leading, of_kind

from cluster.cluster_map import ClusterMap, PutEntry, PutNode
from cluster.control.events import (
    AllocatePids,
    AskCopies,
    Cut,
    Dial,
    Disconnected,
    HangUp,
    Loaded,
    PlannerChosen,
    Propose,
    Publish,
    Reply,
    Ticked,
)
from cluster.control.messages import Admitted, ChangeNode, NodeChanged, RemoveNode
from cluster.control.settings import ControlSettings
from kvstore.errors import NotFound
from kvstore.map_values import NodeInfo

N1 = NodeInfo("n1", "127.0.0.1:7001", "default", 1.0, 1, own_zone="default", own_weight=1.0)
MOVED = NodeInfo("n1", "127.0.0.1:7009", "a", 2.0, 2)


@pytest.fixture
def world() -> World:
    """One control with the members n1 and n2, whose partitions are placed."""
    world = World(ControlSettings(initial_nodes=2, partitions=4))
    world.join("n1", "n2")
    world.effects.clear()
    return world


def written_elsewhere(world: World, *changes: PutNode | PutEntry) -> None:
    """Another gateway changed the map, and this one has looked."""
    world.stored, landed = world.stored.changed(changes)
    assert all(landed)
    world.send(Loaded(world.stored))


def test_what_another_gateway_changed_is_told_to_nodes_and_subscribers(world: World) -> None:
    changed = leading(world.stored.entries[1], "n1")
    written_elsewhere(world, PutEntry(changed))
    assert [update.entries for update in world.told("n1")] == [[changed]]
    assert [effect.update.entries for effect in of_kind(world.effects, Publish)] == [[changed]]


def test_what_is_already_known_is_told_to_nobody(world: World) -> None:
    assert world.send(Loaded(world.stored)) == []


def test_a_member_that_joined_elsewhere_a_moment_ago_is_there_for_who_asks_to_change_it(world: World) -> None:
    world.stored, _ = world.stored.changed([PutNode(NodeInfo("n3", "127.0.0.1:7003", "a", 1.0, 1), None)])
    assert world.answer(world.ask(ChangeNode("n3", draining=True))) == NodeChanged("n3", "a", 1.0, "draining")
    assert isinstance(world.answer(world.ask(RemoveNode("n4"))), NotFound)


def test_a_member_that_joined_elsewhere_is_dialled(world: World) -> None:
    written_elsewhere(world, PutNode(NodeInfo("n3", "127.0.0.1:7003", "a", 1.0, 1), None))
    assert of_kind(world.effects, Dial) == [Dial("n3", "127.0.0.1:7003")]


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_member_that_moved_is_dialled_where_the_other_gateway_found_it(world: World, is_connected: bool) -> None:
    if not is_connected:
        world.send(Disconnected("n1", 1))
    written_elsewhere(world, PutNode(MOVED, N1))
    assert of_kind(world.effects, Dial) == [Dial("n1", MOVED.address)]
    world.effects.clear()
    world.connect("n1", boot=2)
    assert not of_kind(world.effects, Propose)
    assert world.told("n1")


def test_what_another_gateway_wrote_of_a_connected_node_is_not_written_back(world: World) -> None:
    written_elsewhere(world, PutNode(msgspec.structs.replace(N1, weight=3.0, zone="b"), N1))
    assert not of_kind(world.effects, Propose)


def test_a_connection_to_a_process_that_was_followed_by_another_is_cut_and_dialled_again(world: World) -> None:
    written_elsewhere(world, PutNode(msgspec.structs.replace(N1, boot=2), N1))
    assert [(cut.node, cut.connection) for cut in of_kind(world.effects, Cut)] == [("n1", 1)]
    assert not of_kind(world.effects, HangUp)
    assert not world.send(Disconnected("n1", 1))
    world.connect("n1", boot=2)
    assert world.told("n1")


def test_an_older_disk_is_still_refused_and_dialled_again_when_a_newer_one_was_admitted_elsewhere(world: World) -> None:
    written_elsewhere(world, PutNode(msgspec.structs.replace(N1, boot=5), N1))
    world.effects.clear()
    world.connect("n1", boot=4)
    assert of_kind(world.effects, HangUp) == [HangUp("n1")]
    written_elsewhere(world, PutNode(msgspec.structs.replace(N1, boot=6), msgspec.structs.replace(N1, boot=5)))
    assert of_kind(world.effects, Dial) == [Dial("n1", N1.address)]


def test_who_asks_here_for_something_else_gets_it(world: World) -> None:
    world.store_is_held = True
    ask = world.ask_admission("n1", 7001, zone="b")
    written_elsewhere(world, PutNode(msgspec.structs.replace(N1, weight=3.0), N1))
    world.release()
    assert of_kind(world.effects, Reply) == [Reply(ask, Admitted(created=False))]
    assert world.stored.nodes["n1"] == msgspec.structs.replace(N1, zone="b", own_zone="b")


def test_who_does_not_plan_makes_no_keyspace_and_places_nothing() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=4), ClusterMap.empty(b""))
    world.send(PlannerChosen(False))
    world.send(Loaded(ClusterMap.empty(b"cluster1")))
    world.join("n1")
    assert not of_kind(world.effects, AllocatePids)
    world.send(PlannerChosen(True))
    assert set(world.stored.entries) == {1, 2, 3, 4}


def test_who_does_not_plan_replaces_no_copy_until_it_does() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=4))
    connection = world.join("n1")["n1"]
    written_elsewhere(world, *(PutEntry(leading(entry, "n1")) for entry in list(world.stored.entries.values())))
    world.report("n1", connection)
    world.send(PlannerChosen(False))
    world.ask_admission("n2", 7002)
    world.connect("n2")
    world.effects.clear()
    world.now_s += 5
    assert not of_kind(world.send(Ticked()), AskCopies)
    world.send(PlannerChosen(True))
    assert len(of_kind(world.send(Ticked()), AskCopies)) == 1
