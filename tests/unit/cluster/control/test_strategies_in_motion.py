"""Keyspaces of every strategy while nodes come, leave, are drained and are lost."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from unit.cluster.control.moving_world import MovingWorld

from cluster.control.events import AskCopies
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, KeyspaceCreated, KeyspaceDeleted
from cluster.control.messages import ChangeNode, ClusterStatus, MakePlan, Newcomer, NodeChanged, PlanView, RemoveNode
from cluster.control.settings import ControlSettings
from kvstore.errors import Conflict
from kvstore.map_values import KeyspaceInfo, Standing

SETTINGS = ControlSettings(initial_nodes=2, partitions=6, replace_after_s=20.0)
EVERYWHERE = CreateKeyspace("rates", "consistent", partitions=6, replicas=0)
GEO = CreateKeyspace("users", "geo", partitions=6, regions=((b"eu", "east"), (b"us", "west")), default_zone="west")


def made(world: MovingWorld, request: CreateKeyspace) -> KeyspaceInfo:
    answer = world.ask_for(request)
    assert isinstance(answer, KeyspaceCreated), answer
    return answer.keyspace


def copies(world: MovingWorld, keyspace: KeyspaceInfo) -> Counter[str]:
    entries = (world.stored.entries[pid] for pid in keyspace.pids)
    return Counter(rid.node for entry in entries for rid in entry.replicas)


def leads(world: MovingWorld, keyspace: KeyspaceInfo) -> Counter[str]:
    entries = (world.stored.entries[pid] for pid in keyspace.pids)
    return Counter(entry.leader.node for entry in entries if entry.leader is not None)


def state(world: MovingWorld) -> str:
    shown: str = world.ask_for(ClusterStatus()).state
    return shown


def zones_kept(world: MovingWorld, keyspace: KeyspaceInfo) -> bool:
    """Whether all copies of the first six partitions are in the east, and of the others in the west."""
    placed = {pid: world.stored.entries[pid] for pid in keyspace.pids if pid in world.stored.entries}
    return all(
        world.stored.nodes[rid.node].zone == ("east" if pid in keyspace.pids[:6] else "west")
        for pid, entry in placed.items()
        for rid in (*entry.replicas, *entry.adding)
    )


# ---- a copy on every node -------------------------------------------------------------------------------------------


@pytest.fixture
def reference() -> tuple[MovingWorld, KeyspaceInfo]:
    world = MovingWorld("n1", "n2", "n3", settings=SETTINGS)
    keyspace = made(world, EVERYWHERE)
    world.run()
    return world, keyspace


def test_a_reference_keyspace_has_a_copy_on_every_node_and_leaders_on_all(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    assert copies(world, keyspace) == dict.fromkeys(("n1", "n2", "n3"), 6)
    assert leads(world, keyspace) == dict.fromkeys(("n1", "n2", "n3"), 2)
    assert state(world) == "healthy"


def test_a_node_that_joins_gets_a_copy_of_everything_there_is_of_it(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    world.add("n4")
    world.turn()
    assert state(world) == "degraded"
    world.run()
    assert copies(world, keyspace) == dict.fromkeys(("n1", "n2", "n3", "n4"), 6)
    assert max(leads(world, keyspace).values()) == 2
    assert state(world) == "healthy"
    assert not {move.pid for move in world.stored.moves.values()} & set(keyspace.pids)


def test_a_node_that_leaves_gives_its_copies_up_and_is_told_that_it_is_no_member(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    assert isinstance(world.ask_for(RemoveNode("n3")), NodeChanged)
    world.run()
    world.until(lambda: world.ended == ["n3"])
    assert copies(world, keyspace) == {"n1": 6, "n2": 6}
    assert leads(world, keyspace) == {"n1": 3, "n2": 3}
    assert state(world) == "healthy"


def test_a_node_that_leaves_as_another_joins_is_not_followed_but_replaced(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    world.ask_for(RemoveNode("n3"))
    world.add("n4")
    world.run()
    assert copies(world, keyspace) == dict.fromkeys(("n1", "n2", "n4"), 6)
    assert not {move.pid for move in world.stored.moves.values()} & set(keyspace.pids)


def test_a_copy_that_is_given_up_stays_so_when_another_node_has_to_be_filled(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    world.is_slow = True
    world.stop("n2")
    world.ask_for(RemoveNode("n3"))
    world.until(lambda: any(entry.removing for entry in world.stored.entries.values()))
    given_up = {pid for pid in keyspace.pids if world.stored.entries[pid].removing}
    world.add("n4")
    for _ in range(10):
        world.turn()
        assert all(world.stored.entries[pid].removing for pid in given_up)
    world.is_slow = False
    world.start("n2")
    world.run()
    assert copies(world, keyspace) == dict.fromkeys(("n1", "n2", "n4"), 6)


def test_copies_of_a_new_keyspace_are_made_on_no_node_that_leaves() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=SETTINGS)
    world.retires = False
    world.ask_for(RemoveNode("n3"))
    keyspace = made(world, CreateKeyspace("late", "consistent", partitions=12))
    world.until(lambda: set(keyspace.pids) <= set(world.stored.entries))
    assert set(copies(world, keyspace)) == {"n1", "n2"}


def test_a_removal_that_is_called_off_keeps_or_brings_back_its_copies(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    world.ask_for(RemoveNode("n3"))
    world.until(lambda: any(entry.removing for entry in world.stored.entries.values()))
    world.ask_for(ChangeNode("n3", draining=False))
    world.run()
    assert copies(world, keyspace)["n3"] == 6


def test_a_node_that_is_away_for_good_is_not_waited_for_and_gets_its_copies_when_it_is_back(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    world.stop("n3")
    world.turn()
    world.turn()
    assert state(world) in ("degraded", "unavailable")
    world.until(lambda: copies(world, keyspace)["n3"] == 0)
    world.until(lambda: state(world) == "healthy")
    world.start("n3")
    world.run()
    assert copies(world, keyspace)["n3"] == 6


def test_a_drained_node_gets_and_keeps_copies_but_leads_nothing(reference: tuple[MovingWorld, KeyspaceInfo]) -> None:
    world, keyspace = reference
    world.add("n4")
    world.ask_for(ChangeNode("n4", draining=True))
    world.run()
    assert copies(world, keyspace)["n4"] == 6
    assert "n4" not in leads(world, keyspace)


def test_no_node_has_to_stay_for_copies_that_all_have() -> None:
    world = MovingWorld("n1", "n2", settings=ControlSettings(initial_nodes=2, partitions=2, replicas=1))
    made(world, EVERYWHERE)
    world.run()
    assert isinstance(world.ask_for(RemoveNode("n2")), NodeChanged)
    world.run()
    world.until(lambda: world.ended == ["n2"])


# ---- zones ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def zoned() -> tuple[MovingWorld, KeyspaceInfo]:
    zones = {"n1": "east", "n2": "east", "n3": "west", "n4": "west"}
    world = MovingWorld(*zones, settings=SETTINGS, zones=zones)
    keyspace = made(world, GEO)
    world.run()
    return world, keyspace


def test_copies_of_a_region_stand_in_its_zone_only(zoned: tuple[MovingWorld, KeyspaceInfo]) -> None:
    world, keyspace = zoned
    assert len(keyspace.pids) == 12
    assert zones_kept(world, keyspace)
    assert copies(world, keyspace) == dict.fromkeys(("n1", "n2", "n3", "n4"), 6)
    assert leads(world, keyspace) == dict.fromkeys(("n1", "n2", "n3", "n4"), 3)
    assert state(world) == "healthy"


def test_a_node_that_joins_a_zone_relieves_that_zone_alone(zoned: tuple[MovingWorld, KeyspaceInfo]) -> None:
    world, keyspace = zoned
    world.add("n5", "east")
    world.run()
    assert zones_kept(world, keyspace)
    held = copies(world, keyspace)
    assert max(held["n1"], held["n2"], held["n5"]) <= ceil(1.05 * 12 / 3)
    assert (held["n3"], held["n4"]) == (6, 6)


def test_a_node_that_is_lost_is_replaced_from_its_zone_only(zoned: tuple[MovingWorld, KeyspaceInfo]) -> None:
    world, keyspace = zoned
    world.stop("n1")
    for _ in range(120):
        world.turn()
        assert zones_kept(world, keyspace)
    assert state(world) == "degraded"
    assert leads(world, keyspace)["n2"] == 6
    world.add("n5", "east")
    world.until(lambda: copies(world, keyspace)["n5"] == 6)
    assert zones_kept(world, keyspace)


def test_a_node_that_its_zone_needs_cannot_be_removed(zoned: tuple[MovingWorld, KeyspaceInfo]) -> None:
    world, keyspace = zoned
    refused = world.ask_for(RemoveNode("n1"))
    assert isinstance(refused, Conflict)
    assert "zone east" in refused.detail
    world.add("n5", "east")
    assert isinstance(world.ask_for(RemoveNode("n1")), NodeChanged)
    world.run()
    world.until(lambda: world.ended == ["n1"])
    assert zones_kept(world, keyspace)
    assert copies(world, keyspace) == dict.fromkeys(("n2", "n3", "n4", "n5"), 6)


def test_a_deleted_keyspace_s_zones_need_nobody(zoned: tuple[MovingWorld, KeyspaceInfo]) -> None:
    world, _ = zoned
    assert world.ask_for(DeleteKeyspace("users")) == KeyspaceDeleted()
    assert isinstance(world.ask_for(RemoveNode("n1")), NodeChanged)
    world.run()
    world.until(lambda: world.ended == ["n1"])
    assert {pid for _, pid in world.held_copies} == set(world.stored.living)


def test_a_zone_without_a_node_that_is_there_keeps_nobody_else_from_being_placed(
    zoned: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, _ = zoned
    world.stop("n1")
    world.stop("n2")
    waiting = made(world, CreateKeyspace("later", "geo", partitions=2, replicas=1, default_zone="east"))
    placed = made(world, CreateKeyspace("plain", "consistent", partitions=4, replicas=1))
    world.until(lambda: set(placed.pids) <= set(world.stored.entries))
    assert not set(waiting.pids) & set(world.stored.entries)
    world.start("n1")
    world.until(lambda: set(waiting.pids) <= set(world.stored.entries))
    assert zones_kept(world, waiting) or set(copies(world, waiting)) == {"n1"}


# ---- counting, and all together -------------------------------------------------------------------------------------


def test_a_plan_shows_how_much_more_moves_by_counting() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=SETTINGS)
    ring = made(world, CreateKeyspace("ring", "consistent", partitions=24))
    counted = made(world, CreateKeyspace("counted", "hash", partitions=24))
    world.run()
    assert copies(world, counted) == dict.fromkeys(("n1", "n2", "n3"), 16)
    plan = world.ask_for(MakePlan(add=(Newcomer("n4"),)))
    assert isinstance(plan, PlanView)
    moved = Counter(move.keyspace for move in plan.moves)
    assert moved["ring"] <= ceil(1.10 * 2 * len(ring.pids) / 4)
    assert moved["counted"] > 2 * moved["ring"]
    after = {one.node: one for one in plan.balance}["n4"]
    assert after.share_after == 12 + 12 + 3
    assert 0.9 * after.share_after <= after.copies_after <= after.most_after
    world.add("n4")
    world.run()
    assert copies(world, counted) == dict.fromkeys(("n1", "n2", "n3", "n4"), 12)


def test_a_plan_counts_copies_that_each_node_has_and_moves_none_of_them(
    reference: tuple[MovingWorld, KeyspaceInfo],
) -> None:
    world, keyspace = reference
    plan = world.ask_for(MakePlan(add=(Newcomer("n4"),), remove=("n3",)))
    assert plan.moves
    assert not {move.partition for move in plan.moves} & set(keyspace.pids)
    after = {one.node: one for one in plan.balance}["n4"]
    assert after.share_after == 6 + 4
    assert 6 + 3 <= after.copies_after <= after.most_after


def test_many_keyspaces_are_made_placed_and_deleted_while_nodes_come_and_go() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=SETTINGS)
    kept = [
        made(world, CreateKeyspace("a", "range", bounds=(b"m",))),
        made(world, CreateKeyspace("b", "directory", partitions=3)),
        made(world, EVERYWHERE),
    ]
    gone = [made(world, CreateKeyspace(f"x{n}", "consistent", partitions=4, replicas=n)) for n in range(3)]
    world.turn()
    world.add("n4")
    for keyspace in gone:
        assert world.ask_for(DeleteKeyspace(keyspace.name)) == KeyspaceDeleted()
        world.turn()
    world.ask_for(RemoveNode("n1"))
    world.run()
    world.until(lambda: world.ended == ["n1"])
    world.restart()
    world.run()
    for keyspace in kept:
        assert set(copies(world, keyspace)) <= {"n2", "n3", "n4"}
    assert {pid for _, pid in world.held_copies} == set(world.stored.living)
    assert world.stored.nodes["n1"].standing is Standing.REMOVED
    asked = {pid for effect in world.effects if isinstance(effect, AskCopies) for pid in effect.pids}
    assert {pid for keyspace in gone for pid in keyspace.pids} <= asked
