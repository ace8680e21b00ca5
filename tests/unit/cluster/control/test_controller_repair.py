"""Missing copies, from the node that joins to the entry that names its copy."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from unit.cluster.control.world import World, leading, of_kind, rid_of

from cluster.control.events import (
    AskCopies,
    Asked,
    CasAsked,
    CopiesFailed,
    CopiesMade,
    Disconnected,
    Effect,
    Propose,
    Publish,
    Reply,
    Ticked,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import ClusterStatus, ClusterView
from cluster.control.repair import SCAN_S
from cluster.control.settings import ControlSettings
from kvstore.map_values import Entry, Rid

ALONE = ControlSettings(initial_nodes=1, partitions=4)


def tick(world: World) -> list[Effect]:
    world.now_s += SCAN_S
    return world.send(Ticked())


def ask_to_lead(world: World, node: str, connection: int, boot: int = 1) -> None:
    mine = [entry for entry in world.stored.entries.values() if entry.replicas[0].node == node]
    world.send(CasAsked(node, connection, 1, tuple(leading(entry, node, boot) for entry in mine)))
    world.report(node, connection)


def in_sync_with(world: World, pid: int, *rids: Rid) -> Entry:
    """What the leader asks for when these copies are to be in sync."""
    entry = world.stored.entries[pid]
    placed = tuple(rid for rid in entry.adding if rid in rids)
    return msgspec.structs.replace(
        entry,
        ver=entry.ver + 1,
        in_sync=rids,
        replicas=(*entry.replicas, *placed),
        adding=tuple(rid for rid in entry.adding if rid not in placed),
    )


def state(world: World) -> str:
    (reply,) = of_kind(world.send(Asked(99, ClusterStatus())), Reply)
    assert isinstance(reply.answer, ClusterView)
    return reply.answer.state


@pytest.fixture
def world() -> Iterator[World]:
    """One node that leads everything alone; `n2` may join."""
    world = World(ALONE)
    connection = world.join("n1")["n1"]
    ask_to_lead(world, "n1", connection)
    world.effects.clear()
    yield world
    assert all(len({rid.node for rid in (*one.replicas, *one.adding)}) == 2 for one in world.stored.entries.values())


def join_second(world: World) -> int:
    world.ask_admission("n2", 7002)
    return world.connect("n2")


def test_a_node_that_joins_late_gets_the_missing_copies_and_the_cluster_gets_healthy(world: World) -> None:
    assert state(world) == "degraded"
    second = join_second(world)
    effects = tick(world)
    assert [(ask.node, ask.pids) for ask in of_kind(effects, AskCopies)] == [("n2", (1, 2, 3, 4))]
    assert len(of_kind(effects, Propose)) == 1
    for pid, entry in world.stored.entries.items():
        assert (entry.ver, entry.epoch, entry.in_sync) == (3, 1, (rid_of("n1", pid),))
        assert (entry.replicas, entry.adding) == ((rid_of("n1", pid),), (rid_of("n2", pid),))
    entries = list(world.stored.entries.values())
    assert [update.entries for update in world.told("n1")][-1] == entries
    assert [update.entries for update in world.told("n2")][-1] == entries
    assert of_kind(world.effects, Publish)[-1].update.entries == entries
    assert state(world) == "degraded"

    asked = tuple(in_sync_with(world, pid, rid_of("n1", pid), rid_of("n2", pid)) for pid in (1, 2, 3, 4))
    world.send(CasAsked("n1", 1, 2, asked))
    world.report("n2", second)
    assert tuple(world.stored.entries.values()) == asked
    assert state(world) == "healthy"
    assert not of_kind(tick(world), AskCopies)


def test_a_node_that_comes_back_with_a_wiped_disk_gets_new_copies_once_the_old_ones_are_out_of_sync() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=2))
    connections = world.join("n1", "n2")
    for node in connections:
        ask_to_lead(world, node, connections[node])
    entry = next(one for one in world.stored.entries.values() if one.leader == rid_of("n1", one.pid))
    pid, old = entry.pid, rid_of("n2", entry.pid)
    world.send(Disconnected("n2", connections["n2"]))
    assert not of_kind(tick(world), AskCopies)

    world.makes_copies = False
    wiped = world.connect("n2", boot=world.controller.boot_floor("n2") + 1)
    assert world.stored.nodes["n2"].boot == 2
    world.report("n2", wiped, lost=[(pid, old.store)])
    assert not of_kind(tick(world), AskCopies)
    assert not of_kind(tick(world), Propose)
    world.send(CasAsked("n1", connections["n1"], 2, (in_sync_with(world, pid, rid_of("n1", pid)),)))

    assert [(ask.node, ask.pids) for ask in of_kind(tick(world), AskCopies)] == [("n2", (pid,))]
    assert world.stored.entries[pid].holds("n2") is None
    new = Rid("n2", b"a new store.....")
    world.send(CopiesMade("n2", wiped, ((pid, new),)))
    tick(world)
    standing = world.stored.entries[pid]
    assert (standing.replicas, standing.adding) == ((rid_of("n1", pid),), (new,))
    assert standing.in_sync == (rid_of("n1", pid),)


def test_what_an_earlier_process_reported_as_lost_is_not_held_against_the_next_one() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=1))
    connections = world.join("n1", "n2")
    leader, other = (rid.node for rid in world.stored.entries[1].replicas)
    ask_to_lead(world, leader, connections[leader])
    world.report(other, connections[other], lost=[(1, rid_of(other, 1).store)])
    world.send(Disconnected(other, connections[other]))
    returned = world.connect(other, boot=2)
    world.send(CasAsked(leader, connections[leader], 2, (in_sync_with(world, 1, rid_of(leader, 1)),)))
    assert not of_kind(tick(world), Propose)
    world.report(other, returned, lost=[(1, rid_of(other, 1).store)])
    assert of_kind(tick(world), Propose)


def test_copies_of_a_node_that_was_lost_before_it_answered_count_only_once_they_are_made_anew(world: World) -> None:
    world.makes_copies = False
    first = join_second(world)
    tick(world)
    world.send(Disconnected("n2", first))
    world.send(CopiesMade("n2", first, tuple((pid, rid_of("n2", pid)) for pid in (1, 2, 3, 4))))
    assert not of_kind(tick(world), Propose)
    world.connect("n2")
    world.makes_copies = True
    assert len(of_kind(tick(world), AskCopies)) == 1


def test_copies_that_a_node_could_not_make_are_asked_for_again(world: World) -> None:
    world.makes_copies = False
    second = join_second(world)
    tick(world)
    world.send(CopiesFailed("n2", second, (1, 2, 3, 4), "no answer before the deadline"))
    world.makes_copies = True
    assert len(of_kind(tick(world), AskCopies)) == 1


def test_a_change_of_the_leaders_that_lands_first_is_kept_and_the_copy_added_to_it(world: World) -> None:
    join_second(world)
    world.store_is_held = True
    leaders = in_sync_with(world, 2, rid_of("n1", 2))
    world.send(CasAsked("n1", 1, 2, (leaders,)))
    tick(world)
    world.release()
    assert world.stored.entries[2] == leaders
    assert all(world.stored.entries[pid].adding for pid in (1, 3, 4))
    assert not of_kind(tick(world), AskCopies)
    assert world.stored.entries[2] == msgspec.structs.replace(leaders, ver=leaders.ver + 1, adding=(rid_of("n2", 2),))


@pytest.mark.parametrize("lands_first", [True, False])
def test_an_unknown_outcome_is_repeated_and_nothing_else_is_proposed_meanwhile(world: World, lands_first: bool) -> None:
    join_second(world)
    world.store_is_held = True
    tick(world)
    (proposal,) = world.held
    world.held.clear()
    before = world.stored
    world.store(proposal, outcome=Outcome.UNKNOWN)
    if not lands_first:
        world.stored = before
    for _ in range(2):
        assert [one.changes for one in of_kind(tick(world), Propose)] == [proposal.changes]
        world.store(world.held.pop(), outcome=Outcome.UNKNOWN)
    assert [one.changes for one in of_kind(tick(world), Propose)] == [proposal.changes]
    world.release()
    assert [change.entry for change in proposal.changes] == list(world.stored.entries.values())
    assert not of_kind(tick(world), Propose)
