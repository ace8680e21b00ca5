"""Promotion by force: what is refused, which copy is taken, and what the map says afterwards."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from unit.cluster.control.repair_story import led, rid
from unit.cluster.control.world import World, leading, of_kind, rid_of

from cluster.cluster_map import ClusterMap, PutEntry
from cluster.control.events import (
    Asked,
    CasAsked,
    Complain,
    Disconnected,
    DropOrphans,
    Refuse,
    Reply,
    Reported,
    Ticked,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import ClusterStatus, ClusterView, ForcePromote, ForcePromoted
from cluster.control.promotion import Promotion, outcome, plan_promotion, still_allowed
from cluster.control.settings import ControlSettings
from cluster.control.view import NodeStatus
from kvstore.candidate import PASSED_ON
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.map_values import Entry, NodeInfo
from kvstore.messages import CopyReport, NodeReport

# ---- planning -------------------------------------------------------------------------------------------------------


class Story:
    """Nodes `a` to `d`: `a` is dead; partition 1 was in sync there alone, `b` and `c` have copies that fell behind."""

    def __init__(self) -> None:
        self.entries = {1: led(1, "abc", in_sync="a", adding="d"), 2: led(2, "bc"), 3: led(3, "ab")}
        self.ends: dict[str, tuple[int, int]] = {"b": (2, 10), "c": (2, 11), "d": (1, 99)}
        self.incomplete: set[str] = set()
        self.lost: set[str] = set()
        self.up = {"b", "c", "d"}
        self.connected = set(self.up)

    def plan(self, *stopped: str, **fields: Any) -> Promotion:
        nodes = {name: NodeInfo(name, "127.0.0.1:1", "default", 1.0, 1) for name in "abcd"}
        cluster = ClusterMap(b"cluster1", 9, nodes, {}, self.entries)
        status = {name: self.status(name) for name in "abcd"}
        asked = ForcePromote(confirmed_stopped=stopped, **(fields or {"partition": 1}))
        return plan_promotion(asked, cluster, status, self.connected)

    def status(self, name: str) -> NodeStatus:
        epoch, end = self.ends.get(name, (9, 99))
        copies = {pid: CopyReport(pid, 2, False, 1, 1, 5, epoch, end, name not in self.incomplete) for pid in (1, 2, 3)}
        lost = frozenset((pid, rid(name, pid).store) for pid in (1, 2, 3)) if name in self.lost else frozenset()
        return NodeStatus(name in self.up, copies, lost)


@pytest.fixture
def story() -> Story:
    return Story()


def test_the_copy_whose_log_has_come_furthest_leads_alone_and_the_dead_one_is_out_of_the_map(story: Story) -> None:
    (change,) = story.plan("a").changes
    assert change.entry == Entry(
        1, "default", 6, 3, rid("c"), (rid("c"),), (rid("c"), rid("b")), (rid("d"),), (), 1, 1, PASSED_ON
    )


def test_a_later_epoch_counts_for_more_than_a_longer_log(story: Story) -> None:
    story.ends["b"] = (3, 1)
    (change,) = story.plan("a").changes
    assert change.entry.leader == rid("b")


def test_a_copy_that_was_being_added_or_given_up_may_lead_and_is_placed(story: Story) -> None:
    story.up = story.connected = {"d"}
    story.entries[1] = msgspec.structs.replace(story.entries[1], removing=(rid("d"), rid("b")))
    (change,) = story.plan("a").changes
    entry = change.entry
    assert (entry.replicas, entry.adding) == ((rid("d"), rid("b"), rid("c")), ())
    assert entry.removing == (rid("b"),)


def test_nothing_of_the_former_leadership_is_left_in_the_entry(story: Story) -> None:
    story.entries[1] = msgspec.structs.replace(story.entries[1], leader_boot=7, removing=(rid("a"),))
    (change,) = story.plan("a").changes
    assert (change.entry.leader_boot, change.entry.removing) == (PASSED_ON, ())


def test_of_copies_that_have_come_equally_far_the_first_in_the_entry_leads(story: Story) -> None:
    story.ends["b"] = story.ends["c"]
    (change,) = story.plan("a").changes
    assert change.entry.leader == rid("b")


def test_it_counts_how_often(story: Story) -> None:
    story.entries[1] = msgspec.structs.replace(story.entries[1], unclean_count=4)
    (change,) = story.plan("a").changes
    assert change.entry.unclean_count == 5


@pytest.mark.parametrize("reason", ["incomplete", "lost", "down"])
def test_a_copy_that_is_incomplete_lost_or_away_is_not_taken(story: Story, reason: str) -> None:
    if reason == "down":
        story.up.discard("c")
    else:
        getattr(story, reason).add("c")
    (change,) = story.plan("a").changes
    assert change.entry.leader == rid("b")


def test_without_another_copy_there_is_nothing_to_promote(story: Story) -> None:
    story.up = story.connected = set()
    with pytest.raises(Conflict, match="no other copy"):
        story.plan("a")


def test_each_node_with_an_in_sync_copy_must_be_named(story: Story) -> None:
    story.entries[1] = led(1, "abc", in_sync="ab")
    story.up = story.connected = {"c"}
    with pytest.raises(Conflict, match="node b has an in-sync copy of it and was not confirmed"):
        story.plan("a")
    (change,) = story.plan("a", "b").changes
    assert change.entry.leader == rid("c")
    with pytest.raises(BadParameter, match="confirmed_stopped"):
        story.plan()


def test_while_an_in_sync_copy_is_connected_nothing_is_promoted_whatever_is_confirmed(story: Story) -> None:
    story.connected.add("a")
    with pytest.raises(Conflict, match="node a has an in-sync copy of it and is connected"):
        story.plan("a")


def test_a_connected_node_that_lost_its_in_sync_copy_is_no_obstacle(story: Story) -> None:
    story.connected.add("a")
    story.up.add("a")
    story.lost.add("a")
    (change,) = story.plan("a").changes
    assert change.entry.leader == rid("c")


def test_all_of_a_node_are_the_partitions_whose_last_copies_in_sync_were_there(story: Story) -> None:
    promotion = story.plan("a", all_of="a")
    assert [change.entry.pid for change in promotion.changes] == [1]
    assert promotion.refused == (), "another copy in sync of partition 3 is connected"
    story.up = story.connected = {"c", "d"}
    promotion = story.plan("a", "b", all_of="a")
    assert [change.entry.pid for change in promotion.changes] == [1]
    assert [(one.partition, one.detail) for one in promotion.refused] == [
        (3, "no other copy of it is there that could lead")
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({}, BadParameter),
        ({"partition": 1, "all_of": "a"}, BadParameter),
        ({"all_of": "x"}, BadParameter),
        ({"partition": 9}, NotFound),
        ({"all_of": "d"}, NotFound),
    ],
)
def test_what_names_nothing_or_something_unknown_is_refused(story: Story, fields: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        story.plan("a", **{"all_of": "", **fields})


def test_a_node_that_is_confirmed_must_exist(story: Story) -> None:
    with pytest.raises(BadParameter):
        story.plan("a", "x")


def test_an_entry_that_changed_before_the_store_was_met_is_told_as_refused(story: Story) -> None:
    promotion = story.plan("a")
    other = ClusterMap(b"cluster1", 9, {}, {}, {1: msgspec.structs.replace(story.entries[1], ver=6)})
    assert [one.partition for one in outcome(promotion, other).refused] == [1]
    landed, _ = other.changed([PutEntry(msgspec.structs.replace(promotion.changes[0].entry, ver=7))])
    assert [one.unclean_count for one in outcome(promotion, landed).promoted] == [1]


# ---- from the question to the map -----------------------------------------------------------------------------------


@pytest.fixture
def world() -> World:
    """`n1` led the one partition alone in sync, and is gone; `n2` has a copy that fell behind."""
    world = World(ControlSettings(initial_nodes=2, partitions=1))
    connections = world.join("n1", "n2")
    first = world.stored.entries[1].replicas[0].node
    asked = leading(world.stored.entries[1], first)
    asked = msgspec.structs.replace(asked, in_sync=(rid_of(first, 1),))
    world.send(CasAsked(first, connections[first], 1, (leading(world.stored.entries[1], first),)))
    world.send(CasAsked(first, connections[first], 2, (msgspec.structs.replace(asked, ver=3),)))
    assert world.stored.entries[1].in_sync == (rid_of(first, 1),)
    world.send(Disconnected(first, connections[first]))
    world.report("n2" if first == "n1" else "n1", connections["n2" if first == "n1" else "n1"])
    world.effects.clear()
    return world


def dead(world: World) -> str:
    return world.stored.entries[1].in_sync[0].node


def promote(world: World, node: str) -> list[Any]:
    return world.send(Asked(7, ForcePromote(partition=1, confirmed_stopped=(node,))))


def test_the_answer_comes_when_the_map_has_it_and_the_log_and_every_status_say_it(world: World) -> None:
    former = dead(world)
    world.store_is_held = True
    assert not of_kind(promote(world, former), Reply)
    effects = world.release()
    (reply,) = of_kind(effects, Reply)
    assert isinstance(reply.answer, ForcePromoted)
    (promoted,) = reply.answer.promoted
    assert promoted.leader != former
    (complaint,) = of_kind(effects, Complain)
    assert complaint.what == "force_promoted_and_writes_may_be_lost"
    (reply,) = of_kind(world.send(Asked(8, ClusterStatus())), Reply)
    assert isinstance(reply.answer, ClusterView)
    assert [one.unclean_count for one in reply.answer.partitions] == [1]


def test_while_the_store_does_not_say_what_became_of_it_it_is_asked_again_and_told_once(world: World) -> None:
    world.store_is_held = True
    promote(world, dead(world))
    (proposal,) = world.held
    world.store(proposal, outcome=Outcome.UNKNOWN)
    assert not of_kind(world.effects, Reply)
    world.store_is_held = False
    (reply,) = of_kind(world.send(Ticked()), Reply)
    assert isinstance(reply.answer, ForcePromoted)
    assert len(reply.answer.promoted) == 1
    assert world.stored.entries[1].unclean_count == 1


def test_one_whose_outcome_is_open_is_taken_back_when_an_in_sync_copy_is_there_again_and_stays_so(
    world: World,
) -> None:
    former, before = dead(world), world.stored.entries[1]
    world.store_is_held = True
    promote(world, former)
    never = world.held.pop()
    stored = world.stored
    world.store(never, outcome=Outcome.UNKNOWN)
    world.stored = stored
    connection = world.connect(former, boot=2)
    world.held.clear()
    world.send(Ticked())
    (asked,) = world.held
    world.store(asked, outcome=Outcome.UNKNOWN)
    world.stored = stored
    world.held.clear()
    world.send(Disconnected(former, connection))
    world.send(Ticked())
    (reply,) = of_kind(world.release(), Reply)
    assert isinstance(reply.answer, ForcePromoted)
    assert [one.partition for one in reply.answer.refused] == [1]
    assert world.stored.entries[1] == msgspec.structs.replace(before, ver=before.ver + 1)
    _, landed = world.stored.changed(never.changes)
    assert landed == (False,), "what was under way all the time cannot land any more"


def test_a_second_word_is_refused_because_the_copy_that_leads_is_connected(world: World) -> None:
    former = dead(world)
    promote(world, former)
    (refusal,) = of_kind(promote(world, dead(world)), Refuse)
    assert isinstance(refusal.error, Conflict)
    assert world.stored.entries[1].unclean_count == 1


def test_a_node_that_joins_is_connected_even_before_the_map_says_so(world: World) -> None:
    world.store_is_held = True
    former = dead(world)
    world.connect(former, boot=2)
    assert of_kind(promote(world, former), Refuse)


def test_the_node_that_was_given_up_deletes_its_copy_when_it_is_back_though_copies_are_missing(world: World) -> None:
    former = dead(world)
    promote(world, former)
    connection = world.connect(former, boot=2)
    report = NodeReport([CopyReport(1, 2, False, 1, 1, 3)])
    (drop,) = of_kind(world.send(Reported(former, connection, report)), DropOrphans)
    assert drop.entries == (world.stored.entries[1],)


def test_one_whose_outcome_is_open_is_asked_for_again_as_it_was_while_no_in_sync_copy_is_there(story: Story) -> None:
    asked = story.plan("a").changes
    cluster = ClusterMap(b"cluster1", 9, {}, {}, story.entries)
    status = {name: story.status(name) for name in "abcd"}
    assert still_allowed(asked, cluster, status, story.connected) == asked
    (taken_back,) = still_allowed(asked, cluster, {**status, "a": story.status("a")}, {*story.connected, "a"})
    assert isinstance(taken_back, PutEntry)
    assert taken_back.entry == msgspec.structs.replace(story.entries[1], ver=asked[0].entry.ver)
