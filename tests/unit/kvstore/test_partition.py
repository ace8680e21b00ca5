"""One copy's role: when it asks, when it leads, when it stops."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code, version

from kvstore.candidate import ASK_AGAIN_MS
from kvstore.map_values import Entry, Rid
from kvstore.messages import Append, CutTail, EpochVector, Fault, ReadOne, Reconcile, Refused, WriteOne, Written
from kvstore.replication.answers import LATER
from kvstore.storage.engine import Batch, Table


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def changed(entry: Entry, **fields: object) -> Entry:
    return msgspec.structs.replace(entry, **fields)


# ---- becoming leader ------------------------------------------------------------------------------------------------


def test_the_first_in_the_list_takes_a_partition_without_leader(story: Story) -> None:
    story.push()
    assert story.n2.asks == []
    assert story.n1.asks == [changed(story.entry, ver=2, epoch=1, leader=story.n1.rid, leader_boot=1)]


def test_leadership_begins_when_the_compare_and_set_is_known_to_have_landed(story: Story) -> None:
    n1 = story.n1
    story.push()
    assert n1.partition.leader is None
    story.land(n1)
    assert n1.leader.epoch == 1
    assert not n1.leader.is_serving
    story.settle()
    assert n1.leader.is_serving


def test_a_compare_and_set_answered_twice_changes_nothing_the_second_time(story: Story) -> None:
    n1 = story.n1
    story.push()
    entry = story.land(n1)
    leader = n1.leader
    story.settle()
    n1.put("w", b"k")
    n1.on_entry(entry)
    assert n1.leader is leader
    assert n1.asks == []
    story.settle()
    assert version(n1.replies["w"]) == (1, 2)


def test_a_compare_and_set_without_answer_is_asked_again_and_found_to_have_landed(story: Story) -> None:
    n1 = story.n1
    story.push()
    asked = n1.asks.pop()
    story.entry = asked
    story.pass_ms(ASK_AGAIN_MS - 1)
    n1.tick()
    assert n1.asks == []
    story.pass_ms(1)
    n1.tick()
    assert n1.asks == [asked]
    assert story.land(n1) == asked
    story.settle()
    assert (n1.leader.epoch, n1.leader.is_serving) == (1, True)


def test_an_equal_entry_of_another_process_is_not_led(story: Story) -> None:
    n1 = story.n1
    story.push()
    asked = n1.asks.pop()
    story.entry = changed(asked, leader_boot=asked.leader_boot - 1)
    n1.on_entry(story.entry)
    assert n1.partition.leader is None
    assert (n1.asks[0].ver, n1.asks[0].epoch) == (3, 2)


def test_a_compare_and_set_that_lost_is_asked_again_on_what_stands(story: Story) -> None:
    n1 = story.n1
    story.push()
    story.entry = changed(story.entry, ver=2, min_in_sync=2)
    story.land(n1)
    assert n1.partition.leader is None
    assert (n1.asks[0].ver, n1.asks[0].epoch, n1.asks[0].min_in_sync) == (3, 1, 2)
    story.settle()
    assert n1.leader.is_serving


def test_a_restarted_leader_asks_for_the_next_epoch_and_never_resumes(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    story.settle()
    story.restart(n1)
    assert n1.partition.leader is None
    assert code(n1.read("r", b"k")) == code(n1.put("w2", b"k")) == "no_leader"
    assert (n1.asks[0].ver, n1.asks[0].epoch, n1.asks[0].leader_boot) == (3, 2, 2)
    story.settle()
    assert n1.leader.epoch == 2
    assert n1.read("r", b"k") == b"v"


def test_an_acknowledged_write_outlives_a_restart_of_everything(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    story.settle()
    assert n1.rows(Table.DATA) == {}, "it stands in the logs only"
    story.restart(story.n2)
    story.restart(n1)
    story.settle()
    assert n1.read("r", b"k") == b"v"


def test_the_barrier_commits_what_a_restarted_leader_finds_in_its_log(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    n1.batch()
    story.drop()
    story.restart(n1)
    assert code(n1.read("r", b"k")) == "no_leader"
    story.settle()
    assert n1.read("r", b"k") == b"v"
    assert story.n2.partition.copy.log.end == n1.partition.copy.log.end


def test_a_followers_tail_that_the_restarted_leader_lost_is_cut(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"lost")
    n1.begin_batch()
    story.deliver(n1)
    story.n2.batch()
    story.drop()
    assert story.n2.partition.copy.log.end == 2
    story.restart(n1)
    story.settle(apply=True)
    assert n1.read("r", b"k") is None
    assert n1.rows(Table.LOG) == story.n2.rows(Table.LOG)
    assert story.n2.rows(Table.DATA) == {}
    assert n1.alarms == story.n2.alarms == []


# ---- losing leadership ----------------------------------------------------------------------------------------------


def test_an_older_entry_is_ignored(story: Story, n1: StoryNode) -> None:
    old = changed(story.entry, ver=1, epoch=0, leader=None)
    n1.on_entry(old)
    assert n1.leader.is_serving
    assert n1.partition.ver == story.entry.ver
    assert n1.asks == []


def test_the_newest_entry_is_remembered_over_a_restart(story: Story, n1: StoryNode) -> None:
    n1.batch()
    n1.restart()
    n1.on_entry(changed(story.entry, ver=1, epoch=0, leader=None))
    assert n1.partition.ver == 2
    assert n1.asks == []


def test_an_entry_that_names_another_leader_ends_leadership(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    n1.on_entry(changed(story.entry, ver=3, epoch=2, leader=story.n2.rid))
    assert n1.partition.leader is None
    assert code(n1.replies["w"]) == "outcome_unknown"
    assert n1.partition.copy.promised == 2


def test_a_refusal_of_a_higher_epoch_ends_leadership_and_a_lower_one_does_not(story: Story, n1: StoryNode) -> None:
    for epoch in (0, 1):
        n1.receive("n2", Refused(PID, story.n2.rid, epoch))
        assert n1.leader.is_serving
    n1.receive("n2", Refused(PID, story.n2.rid, 2))
    assert n1.partition.leader is None


def test_a_leader_does_not_follow_its_own_epoch_or_a_lower_one(story: Story, n1: StoryNode) -> None:
    end = n1.partition.copy.log.end
    for epoch in (0, 1):
        n1.receive("n2", Reconcile(PID, n1.rid, epoch, story.entry.ver))
        n1.receive("n2", CutTail(PID, n1.rid, epoch, 0))
        n1.receive("n2", Append(PID, n1.rid, epoch, 0, 0, 0, []))
    assert n1.leader.is_serving
    assert n1.partition.copy.log.end == end


def test_a_leader_of_a_higher_epoch_is_followed(story: Story, n1: StoryNode) -> None:
    n1.receive("n2", Reconcile(PID, n1.rid, 2, story.entry.ver + 1))
    assert n1.partition.leader is None
    n1.batch()
    (send,) = n1.sent
    assert isinstance(send.body, EpochVector)
    assert n1.partition.copy.promised == 2


def test_a_leader_that_went_by_an_older_entry_is_refused(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    n2.on_entry(changed(story.entry, ver=9))
    n2.receive("n1", Reconcile(PID, n2.rid, 5, 8))
    (send,) = n2.sent
    assert isinstance(send.body, Refused)
    assert n2.partition.copy.promised == 1


def test_a_leader_that_control_does_not_reach_is_followed_in_its_epoch_though_the_entry_has_moved_on(
    story: Story, n1: StoryNode
) -> None:
    n2 = story.n2
    n2.on_entry(changed(story.entry, ver=story.entry.ver + 1))
    for node, other in ((n1, n2), (n2, n1)):
        node.partitions.unreachable(other.node_id, story.now)
        node.perform(node.partitions.reachable(other.node_id, story.now))
    n1.put("w", b"k")
    story.settle()
    assert isinstance(n1.replies["w"], Written)


def test_messages_for_another_copy_are_not_taken(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    other = Rid("n2", b"wiped...........")
    for message in (Reconcile(PID, other, 9, 9), CutTail(PID, other, 1, 0), Append(PID, other, 1, 0, 0, 0, [])):
        n2.receive("n1", message)
    assert n2.sent == []
    assert not n2.partition.needs_batch
    assert n2.partition.copy.promised == 1


# ---- requests by another version of the map -------------------------------------------------------------------------


def test_a_request_by_an_older_entry_is_told_the_newer_one(story: Story, n1: StoryNode) -> None:
    view = n1.engine.snapshot()
    old = story.entry.ver - 1
    told = Fault("wrong_leader", "the partition's map entry has changed", story.entry)
    assert n1.partitions.reads.plain("r", ReadOne(PID, old, b"k"), view, story.now) == told
    assert n1.partitions.write("w", WriteOne(PID, old, b"k", b"v"), view, story.now) == told
    assert not n1.partition.needs_batch


def test_a_request_by_a_newer_entry_is_to_try_again(story: Story, n1: StoryNode) -> None:
    view = n1.engine.snapshot()
    newer = story.entry.ver + 1
    assert code(n1.partitions.reads.plain("r", ReadOne(PID, newer, b"k"), view, story.now)) == "no_leader"
    assert code(n1.partitions.write("w", WriteOne(PID, newer, b"k", b"v"), view, story.now)) == "no_leader"


def test_a_follower_serves_nobody(story: Story, n1: StoryNode) -> None:
    assert code(story.n2.read("r", b"k")) == code(story.n2.put("w", b"k")) == "no_leader"


# ---- quarantine -----------------------------------------------------------------------------------------------------


def test_a_cut_below_what_is_applied_stops_the_copy_with_an_alarm(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle(apply=True)
    n2 = story.n2
    rows = n2.rows(Table.LOG)
    n2.receive("n1", Reconcile(PID, n2.rid, 2, story.entry.ver))
    n2.batch()
    n2.receive("n1", CutTail(PID, n2.rid, 2, 1))
    assert len(n2.alarms) == 1
    assert "below what is applied" in n2.alarms[0]
    n2.sent.clear()
    n2.receive("n1", Reconcile(PID, n2.rid, 3, story.entry.ver))
    n2.on_entry(changed(story.entry, ver=9, epoch=8, leader=n2.rid))
    n2.tick()
    n2.batch()
    assert n2.sent == n2.asks == []
    assert n2.rows(Table.LOG) == rows
    assert code(n2.read("r", b"k")) == "no_leader"


def damage(node: StoryNode, table: Table, key: bytes) -> None:
    """Flip one bit of a row on its disk."""
    row_key = node.partition.copy.prefix + key
    row = node.engine.snapshot().get(table, row_key)
    assert row
    batch = Batch()
    batch.put(table, row_key, row[:20] + bytes([row[20] ^ 1]) + row[21:])
    node.engine.commit(batch)


def applied_story() -> tuple[Story, StoryNode]:
    """n1 leads and has applied three rows."""
    story = Story()
    n1 = story.lead()
    for number in range(3):
        n1.put(f"w{number}", b"k%d" % number)
        story.settle(apply=True)
    return story, n1


def ask_for_the_whole_log(story: Story, n1: StoryNode) -> None:
    """A third copy is added and has nothing yet."""
    rid = Rid("n3", b"a third store...")
    n1.on_entry(changed(story.entry, ver=story.entry.ver + 1, adding=(rid,)))
    n1.receive("n3", EpochVector(PID, rid, 1, [], 0))


def test_a_leader_that_finds_a_damaged_row_in_its_log_stops_itself_and_not_its_process() -> None:
    story, n1 = applied_story()
    damage(n1, Table.LOG, (3).to_bytes(8, "big"))
    ask_for_the_whole_log(story, n1)
    n1.tick()
    n1.batch(apply=True)
    assert len(n1.alarms) == 1
    assert n1.partition.is_quarantined
    assert code(n1.read("r", b"k0")) == "no_leader"


def test_what_waits_at_a_leader_that_stops_itself_is_unknown() -> None:
    story, n1 = applied_story()
    damage(n1, Table.LOG, (3).to_bytes(8, "big"))
    n1.put("w", b"k")
    ask_for_the_whole_log(story, n1)
    n1.batch()
    assert code(n1.replies["w"]) == "outcome_unknown"


def test_waiting_answers_are_given_once_when_leadership_ends_in_a_batch() -> None:
    story, n1 = applied_story()
    assert n1.put("w", b"k") is LATER
    n1.begin_batch()
    story.deliver(n1)
    story.n2.batch()
    story.deliver(story.n2)
    n1.on_entry(changed(story.entry, ver=9, epoch=8, leader=story.n2.rid))
    n1.end_batch()
    assert code(n1.replies["w"]) == "outcome_unknown"
