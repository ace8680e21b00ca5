"""Log rows that stand in the journal first: restarts, cuts, damage, and what leaves before its batch."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode

from kvstore.apply_round import HELD_BYTES_MAX, WAITING_RECORDS_MAX
from kvstore.effects import Send
from kvstore.messages import Append, CutTail, Reconcile
from kvstore.replication.copy import JOURNALED_ROW_BYTES_MAX
from kvstore.replication.copy_rows import PROMISE
from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal
from kvstore.storage.records import decode_log_row

ALL = b"\xff" * 9


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def journaled_seqs(node: StoryNode) -> list[int]:
    rows = Journal().load(node.engine.snapshot()).get(node.partition.copy.number, [])
    return [decode_log_row(row).first_seq for row in rows]


def logged_seqs(node: StoryNode) -> list[int]:
    prefix = node.partition.copy.prefix
    rows = node.engine.snapshot().scan(Table.LOG, prefix, prefix + ALL)
    return [decode_log_row(row).first_seq for _, row in rows]


def stream(node: StoryNode, story: Story) -> list[Send]:
    return node.partitions.stream(node.engine.snapshot(), story.now)


def damage_journal(node: StoryNode) -> None:
    (key, row), *_ = node.engine.snapshot().scan(Table.JOURNAL, b"", ALL)
    batch = Batch()
    batch.put(Table.JOURNAL, key, row[:-1] + bytes([row[-1] ^ 1]))
    node.engine.commit(batch)


def test_what_is_only_journaled_outlives_a_restart_of_everything(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"kept")
    story.settle()
    assert [journaled_seqs(node) for node in (n1, story.n2)] == [[1, 2], [1, 2]]
    assert [logged_seqs(node) for node in (n1, story.n2)] == [[], []]
    story.restart(story.n2)
    story.restart(n1)
    story.settle()
    assert n1.read("r", b"k") == b"kept"


def test_what_is_applied_stands_in_the_logs_table_and_the_journal_is_empty(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k")
    story.settle()
    n1.put("w2", b"k")
    n1.batch(apply=True)
    assert (journaled_seqs(n1), logged_seqs(n1)) == ([], [1, 2, 3])


def test_a_large_row_is_written_once_and_found_between_its_neighbours(story: Story, n1: StoryNode) -> None:
    for ticket, value in (("a", b"small"), ("b", bytes(JOURNALED_ROW_BYTES_MAX)), ("c", b"last")):
        n1.put(ticket, b"k", value)
        n1.batch()
    assert (journaled_seqs(n1), logged_seqs(n1)) == ([1, 2, 4], [3])
    n1.restart()
    assert n1.partition.copy.log.end == 4
    assert n1.alarms == []


def test_a_cut_empties_the_journal_so_that_no_dropped_row_comes_back(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"lost")
    n1.begin_batch()
    story.deliver(n1)
    story.n2.batch()
    story.drop()
    assert journaled_seqs(story.n2) == [1, 2]
    story.n2.receive("n1", Reconcile(PID, story.n2.rid, 2, story.entry.ver))
    story.n2.receive("n1", CutTail(PID, story.n2.rid, 2, 1))
    story.n2.batch()
    assert (journaled_seqs(story.n2), logged_seqs(story.n2)) == ([], [1])
    story.n2.restart()
    assert story.n2.alarms == []
    assert story.n2.partition.copy.log.end == 1


def test_rows_that_are_not_committed_leave_the_journal_with_those_that_are(story: Story, n1: StoryNode) -> None:
    story.settle(apply=True)
    n1.put("w", b"k")
    n1.batch()
    story.deliver(n1)
    story.n2.batch()
    story.n2.batch(apply=True)
    assert (journaled_seqs(story.n2), logged_seqs(story.n2)) == ([], [1, 2])


def test_a_copy_that_applies_by_itself_takes_its_rows_out_of_the_journal(story: Story, n1: StoryNode) -> None:
    for number in range(WAITING_RECORDS_MAX + 1):
        n1.put(f"w{number}", b"k%d" % number)
        n1.begin_batch()
        n1.end_batch()
    story.settle()
    n1.put("next", b"k")
    n1.batch()
    assert n1.partition.copy.applied_seq > WAITING_RECORDS_MAX
    assert journaled_seqs(n1)
    n1.restart()
    assert n1.alarms == []


def test_a_copy_that_stops_keeps_the_rows_it_acked(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    n1.partition.quarantine("played")
    n1.batch(apply=True)
    assert (journaled_seqs(n1), logged_seqs(n1)) == ([], [1, 2])


def test_a_copy_that_is_found_damaged_at_the_start_keeps_its_journaled_rows(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    batch = Batch()
    batch.put(Table.META, n1.partition.copy.prefix + PROMISE, b"\xc1")
    n1.engine.commit(batch)
    n1.restart()
    assert len(n1.alarms) == 1
    n1.batch(apply=True)
    n1.batch(apply=True)
    assert journaled_seqs(n1) == [1, 2]


def test_after_damage_to_the_journal_every_copy_is_made_anew(story: Story, n1: StoryNode) -> None:
    rid = n1.rid
    n1.put("w", b"k")
    story.settle()
    damage_journal(n1)
    n1.restart()
    assert len(n1.alarms) == 1
    assert n1.partitions.get(PID) is None
    n1.on_entry(story.entry)
    n1.batch()
    assert n1.partitions.report().lost == [(PID, rid.store)]
    ((_, fresh),) = n1.partitions.create_copies([PID])
    n1.batch()
    assert fresh != rid
    n1.restart()
    assert len(n1.alarms) == 1, "damage is told of once"
    assert n1.rid == fresh


def test_a_write_leaves_for_the_followers_before_its_batch_is_formed(story: Story, n1: StoryNode) -> None:
    n1.put("w0", b"k")
    n1.begin_batch()
    n1.put("w1", b"k")
    assert stream(n1, story) == [], "what follows a row that is under way waits"
    n1.end_batch()
    story.settle()
    n1.put("w2", b"k")
    (sent,) = stream(n1, story)
    assert isinstance(sent.body, Append)
    assert sent.body.prev_seq + 1 == decode_log_row(sent.body.rows[0]).first_seq
    assert stream(n1, story) == []
    n1.perform([sent])
    story.deliver(n1)
    story.n2.batch()
    story.deliver(story.n2)
    assert "w2" not in n1.replies, "the leader's own disk counts too"
    n1.batch()
    assert "w2" in n1.replies


def test_a_follower_streams_nothing(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    n1.receive("n2", Reconcile(PID, n1.rid, 2, story.entry.ver))
    assert stream(n1, story) == []


def test_a_node_that_holds_much_in_large_rows_asks_for_an_apply(story: Story, n1: StoryNode) -> None:
    large = HELD_BYTES_MAX // 4
    for number in range(3):
        n1.put(f"w{number}", b"k%d" % number, bytes(large))
        story.settle()
    assert not n1.partitions.applies.is_due
    n1.put("last", b"k", bytes(large))
    story.settle()
    assert n1.partitions.applies.is_due
    n1.batch(apply=True)
    assert not n1.partitions.applies.is_due
