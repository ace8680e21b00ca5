"""Placement, leadership, and who is told what."""

from __future__ import annotations

import msgspec
import pytest
from unit.cluster.control.world import World, leading, of_kind, rid_of

from cluster.control.events import (
    AnswerCas,
    AskCopies,
    Asked,
    CasAsked,
    Complain,
    CopiesFailed,
    CopiesMade,
    Disconnected,
    Effect,
    Propose,
    Publish,
    Reply,
    Tell,
    Ticked,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import Admitted, ClusterStatus, ClusterView, Readiness, Ready
from cluster.control.settings import ControlSettings
from kvstore.map_values import Entry
from kvstore.messages import CasResult, Failed


def cas(world: World, node: str, connection: int, *entries: Entry, call: int = 1) -> list[Effect]:
    return world.send(CasAsked(node, connection, call, entries))


def of_leader(world: World, node: str) -> list[Entry]:
    """The entries whose preferred leader is `node`."""
    return [entry for entry in world.stored.entries.values() if entry.replicas[0].node == node]


def lead_everything(world: World, connections: dict[str, int]) -> None:
    for node, connection in connections.items():
        cas(world, node, connection, *(leading(entry, node) for entry in of_leader(world, node)))
        world.report(node, connection)


# ---- placement ------------------------------------------------------------------------------------------------------


def test_a_new_cluster_creates_the_default_keyspace_once() -> None:
    world = World()
    keyspace = world.stored.keyspaces["default"]
    assert (keyspace.strategy, keyspace.pids) == ("consistent", tuple(range(1, 9)))
    assert (keyspace.replicas, keyspace.min_in_sync) == (2, 1)
    assert not of_kind(World(stored=world.stored).effects, Propose)


def test_partitions_are_placed_when_the_initial_nodes_have_joined() -> None:
    world = World(ControlSettings(initial_nodes=3, partitions=8))
    world.join("n1", "n2")
    assert not of_kind(world.effects, AskCopies)
    world.ask_admission("n3", 7003)
    world.connect("n3")
    assert sorted(world.stored.entries) == list(range(1, 9))
    for pid, entry in world.stored.entries.items():
        assert (entry.ver, entry.epoch, entry.leader) == (1, 0, None)
        assert entry.in_sync == entry.replicas == tuple(rid_of(rid.node, pid) for rid in entry.replicas)
        assert len({rid.node for rid in entry.replicas}) == 2


def test_entries_are_proposed_in_one_change_after_every_copy_was_confirmed() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8), makes_copies=False)
    connections = world.join("n1", "n2")
    asks = of_kind(world.effects, AskCopies)
    assert [(ask.node, ask.pids) for ask in asks] == [("n1", tuple(range(1, 9))), ("n2", tuple(range(1, 9)))]
    made = {node: tuple((pid, rid_of(node, pid)) for pid in range(1, 9)) for node in connections}
    world.send(CopiesMade("n1", connections["n1"], made["n1"]))
    world.send(CopiesMade("n2", connections["n2"], made["n2"][:-1]))
    assert not world.stored.entries
    before = world.stored.map_ver
    world.send(CopiesMade("n2", connections["n2"], made["n2"]))
    assert len(world.stored.entries) == 8
    assert world.stored.map_ver == before + 1


def test_a_placement_under_way_is_not_proposed_again() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8))
    world.join("n1")
    unplaced = World(ControlSettings(initial_nodes=1, partitions=8), world.stored, store_is_held=True)
    unplaced.connect("n1")
    for _ in range(3):
        unplaced.send(Ticked())
    assert len(unplaced.held) == 1


def test_a_copy_in_another_nodes_name_is_not_counted() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=1, replicas=1), makes_copies=False)
    connection = world.join("n1")["n1"]
    world.send(CopiesMade("n1", connection, ((1, rid_of("n2", 1)),)))
    assert not world.stored.entries


def test_fewer_nodes_than_copies_asked_for_get_what_there_is() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=8, replicas=3))
    world.join("n1")
    assert all(len(entry.replicas) == 1 for entry in world.stored.entries.values())
    assert world.stored.keyspaces["default"].replicas == 3


def test_a_node_that_is_lost_while_copies_are_made_is_asked_again_when_it_returns() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8), makes_copies=False)
    connections = world.join("n1", "n2")
    world.send(Disconnected("n2", connections["n2"]))
    made = tuple((pid, rid_of("n1", pid)) for pid in range(1, 9))
    world.send(CopiesMade("n1", connections["n1"], made))
    world.makes_copies = True
    world.effects.clear()
    world.connect("n2")
    assert sorted(ask.node for ask in of_kind(world.effects, AskCopies)) == ["n1", "n2"]
    assert len(world.stored.entries) == 8


def test_copies_that_a_node_could_not_make_are_asked_for_again_later() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=8), makes_copies=False)
    connection = world.join("n1")["n1"]
    effects = world.send(CopiesFailed("n1", connection, tuple(range(1, 9)), "no answer before the deadline"))
    assert of_kind(effects, Complain)
    assert not of_kind(effects, AskCopies)
    assert len(of_kind(world.send(Ticked()), AskCopies)) == 1
    world.send(CopiesFailed("n1", connection, (99,), "of another question"))
    assert not of_kind(world.send(Ticked()), AskCopies)
    world.send(CopiesFailed("n1", connection, (8,), "no answer before the deadline"))
    world.makes_copies = True
    world.send(Ticked())
    assert len(world.stored.entries) == 8


def test_a_node_that_joins_later_changes_no_placement() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8))
    world.join("n1", "n2")
    placed = world.stored.entries
    world.ask_admission("n3", 7003)
    world.connect("n3")
    assert world.stored.entries == placed


# ---- who is told what -----------------------------------------------------------------------------------------------


def test_a_node_is_told_the_members_and_only_the_entries_that_name_it() -> None:
    world = World(ControlSettings(initial_nodes=3, partitions=16))
    connections = world.join("n1", "n2", "n3")
    world.effects.clear()
    world.send(Disconnected("n2", connections["n2"]))
    world.connect("n2")
    (update,) = world.told("n2")
    assert {node.id for node in update.nodes} == {"n1", "n2", "n3"}
    assert {entry.pid for entry in update.entries} == {
        pid for pid, entry in world.stored.entries.items() if entry.holds("n2")
    }
    assert 0 < len(update.entries) < 16


def test_news_of_members_reaches_connected_nodes_and_subscribers() -> None:
    world = World(ControlSettings(initial_nodes=9))
    world.join("n1")
    world.effects.clear()
    world.ask_admission("n2", 7002)
    world.connect("n2")
    assert [[node.id for node in update.nodes] for update in world.told("n1")] == [["n2"]]
    assert [[node.id for node in one.update.nodes] for one in of_kind(world.effects, Publish)] == [["n2"]]


def test_a_store_that_has_no_news_causes_no_message() -> None:
    world = World(ControlSettings(initial_nodes=1))
    connection = world.join("n1")["n1"]
    entry = leading(world.stored.entries[1], "n1")
    cas(world, "n1", connection, entry)
    world.effects.clear()
    cas(world, "n1", connection, entry)
    assert not of_kind(world.effects, Tell)
    assert not of_kind(world.effects, Publish)


# ---- leadership -----------------------------------------------------------------------------------------------------


def test_a_leadership_that_landed_is_answered_first_and_then_told_to_the_others() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8))
    connections = world.join("n1", "n2")
    asked = [leading(entry, "n1") for entry in of_leader(world, "n1")]
    world.effects.clear()
    cas(world, "n1", connections["n1"], *asked, call=7)
    (answer,) = of_kind(world.effects, AnswerCas)
    assert (answer.call, answer.answer) == (7, CasResult(asked))
    assert [update.entries for update in world.told("n2")] == [asked]
    assert world.told("n1") == []
    (published,) = of_kind(world.effects, Publish)
    assert published.update.entries == asked
    kinds = [type(effect) for effect in world.effects]
    assert kinds.index(AnswerCas) < kinds.index(Tell) < kinds.index(Publish)


def test_leaderships_asked_for_at_once_share_a_proposal() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=64, replicas=1))
    connection = world.join("n1")["n1"]
    world.effects.clear()
    cas(world, "n1", connection, *(leading(entry, "n1") for entry in of_leader(world, "n1")))
    (proposal,) = of_kind(world.effects, Propose)
    assert len(proposal.changes) == 64


def test_of_two_nodes_that_ask_for_the_same_version_one_wins_and_both_learn_who() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=1))
    connections = world.join("n1", "n2")
    first = world.stored.entries[1]
    world.store_is_held = True
    cas(world, "n1", connections["n1"], leading(first, "n1"), call=1)
    cas(world, "n2", connections["n2"], leading(first, "n2"), call=2)
    world.effects.clear()
    world.release()
    answers = {answer.node: answer.answer for answer in of_kind(world.effects, AnswerCas)}
    assert answers == {"n1": CasResult([leading(first, "n1")]), "n2": CasResult([leading(first, "n1")])}


def test_an_entry_of_an_old_version_is_answered_by_what_stands() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=1, replicas=1))
    connection = world.join("n1")["n1"]
    first = world.stored.entries[1]
    cas(world, "n1", connection, leading(first, "n1"))
    effects = cas(world, "n1", connection, leading(first, "n1", boot=2))
    assert [answer.answer for answer in of_kind(effects, AnswerCas)] == [CasResult([leading(first, "n1")])]
    assert not of_kind(effects, Propose)


def test_an_entry_that_breaks_a_rule_does_not_land_and_the_others_of_its_call_do() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=2))
    connection = world.join("n1", "n2")["n1"]
    good = leading(world.stored.entries[1], "n1")
    bad = msgspec.structs.replace(leading(world.stored.entries[2], "n1"), epoch=5)
    effects = cas(world, "n1", connection, good, bad)
    assert [complaint.what for complaint in of_kind(effects, Complain)] == ["compare_and_set_refused"]
    (answer,) = of_kind(effects, AnswerCas)
    assert answer.answer == CasResult([good, world.stored.entries[2]])
    assert world.stored.entries[2].ver == 1


def test_a_connection_that_is_not_admitted_may_ask_for_nothing() -> None:
    world = World(ControlSettings(initial_nodes=1))
    old = world.join("n1")["n1"]
    entry = leading(world.stored.entries[1], "n1")
    world.connect("n1")
    for connection in (old, 99):
        (answer,) = of_kind(cas(world, "n1", connection, entry), AnswerCas)
        assert isinstance(answer.answer, Failed)
    assert world.stored.entries[1].ver == 1


def test_a_partition_that_does_not_exist_fails_the_call() -> None:
    world = World(ControlSettings(initial_nodes=1))
    connection = world.join("n1")["n1"]
    unknown = msgspec.structs.replace(leading(world.stored.entries[1], "n1"), pid=999)
    (answer,) = of_kind(cas(world, "n1", connection, unknown), AnswerCas)
    assert isinstance(answer.answer, Failed)
    assert answer.answer.fault.code == "not_found"


def test_a_control_whose_map_is_behind_what_a_node_knows_fails_the_call_so_that_another_one_is_asked() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=2, replicas=1))
    connection = world.join("n1")["n1"]
    unseen = leading(world.stored.entries[1], "n1")
    effects = cas(
        world, "n1", connection, msgspec.structs.replace(unseen, ver=3), leading(world.stored.entries[2], "n1")
    )
    (answer,) = of_kind(effects, AnswerCas)
    assert isinstance(answer.answer, Failed)
    assert answer.answer.fault.code == "conflict"
    assert not of_kind(effects, Propose)


def test_an_asker_that_reconnected_meanwhile_learns_by_an_update_what_landed() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=1, replicas=1))
    connection = world.join("n1")["n1"]
    asked = leading(world.stored.entries[1], "n1")
    world.store_is_held = True
    cas(world, "n1", connection, asked)
    world.send(Disconnected("n1", connection))
    world.connect("n1")
    world.effects.clear()
    world.release()
    assert not of_kind(world.effects, AnswerCas)
    assert [update.entries for update in world.told("n1")] == [[asked]]


@pytest.mark.parametrize("lands_first", [True, False])
def test_a_node_is_told_that_an_outcome_is_unknown_and_learns_more_when_it_asks_again(lands_first: bool) -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=1, replicas=1))
    connection = world.join("n1")["n1"]
    asked = leading(world.stored.entries[1], "n1")
    world.store_is_held = True
    cas(world, "n1", connection, asked)
    (proposal,) = world.held
    world.held.clear()
    before = world.stored
    effects = world.store(proposal, outcome=Outcome.UNKNOWN)
    if not lands_first:
        world.stored = before
    (answer,) = of_kind(effects, AnswerCas)
    assert isinstance(answer.answer, Failed)
    assert answer.answer.fault.code == "outcome_unknown"
    assert not of_kind(effects, Publish)
    assert not of_kind(world.send(Ticked()), Propose)
    world.store_is_held = False
    effects = cas(world, "n1", connection, asked)
    assert [one.answer for one in of_kind(effects, AnswerCas)] == [CasResult([asked])]
    assert world.stored.entries[1] == asked


@pytest.mark.parametrize("lands_first", [True, False])
def test_a_members_record_whose_outcome_is_unknown_is_proposed_again(lands_first: bool) -> None:
    world = World(ControlSettings(initial_nodes=9))
    world.store_is_held = True
    ask = world.ask_admission("n1")
    world.connect("n1")
    proposal = world.held.pop()
    before = world.stored
    world.store(proposal, outcome=Outcome.UNKNOWN)
    if not lands_first:
        world.stored = before
    assert [one.changes for one in of_kind(world.send(Ticked()), Propose)] == [proposal.changes]
    assert of_kind(world.release(), Reply) == [Reply(ask, Admitted(created=True))]
    assert not of_kind(world.send(Ticked()), Propose)


# ---- what is shown --------------------------------------------------------------------------------------------------


def test_ready_means_that_every_leader_reported_that_it_serves() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8))

    def ready() -> Ready:
        (reply,) = of_kind(world.send(Asked(99, Readiness())), Reply)
        assert isinstance(reply.answer, Ready)
        return reply.answer

    assert ready().reason.endswith("0 of 2 nodes have joined")
    connections = world.join("n1", "n2")
    assert not ready().ready
    lead_everything(world, connections)
    assert ready().ready
    world.report("n1", connections["n1"], serving=False)
    assert not ready().ready
    world.report("n1", connections["n1"])
    world.send(Disconnected("n2", connections["n2"]))
    assert not ready().ready


def test_the_view_tells_who_leads_and_follows() -> None:
    world = World(ControlSettings(initial_nodes=2, partitions=8))
    connections = world.join("n1", "n2")
    lead_everything(world, connections)
    (reply,) = of_kind(world.send(Asked(99, ClusterStatus())), Reply)
    assert isinstance(reply.answer, ClusterView)
    assert reply.answer.state == "healthy"
    assert [(node.id, node.state, node.leads, node.follows, node.keys) for node in reply.answer.nodes] == [
        ("n1", "up", 4, 4, 8),
        ("n2", "up", 4, 4, 8),
    ]
    assert all(one.leader == one.replicas[0] for one in reply.answer.partitions)
