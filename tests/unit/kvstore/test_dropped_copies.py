"""A copy that the map names no more: who may delete it, and when."""

from __future__ import annotations

from unittest.mock import Mock

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code
from unit.kvstore.txn.coordinating import named, part, put, transact

from kvstore.messages import BeginBackfill, Reconcile
from kvstore.replication.gone import GoneCopies
from kvstore.replication.peer import Role
from kvstore.storage.engine import Batch, Table


@pytest.fixture
def story() -> Story:
    story = Story()
    story.lead().put("w", b"k", b"v")
    story.settle(apply=True)
    return story


def without_n2(story: Story, *, later: int = 1) -> None:
    """The map gives up the copy on n2."""
    mine = (story.n1.rid,)
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + later, in_sync=mine, replicas=mine)


def drop(story: Story, node: StoryNode) -> None:
    node.perform(node.partitions.drop_copies([story.entry]))


def sweep(node: StoryNode) -> None:
    for _ in range(10):
        node.tick()
        node.batch()


def test_what_it_knows_of_transactions_is_deleted_with_it(story: Story) -> None:
    transact(story.n1, "t", named("t", primary=PID), part(put(b"k")))
    story.settle(apply=True)
    prefix = story.n2.partition.copy.prefix
    assert story.n2.rows(Table.TXN)
    without_n2(story)
    drop(story, story.n2)
    sweep(story.n2)
    assert not story.n2.engine.snapshot().keys(Table.TXN, prefix, prefix + b"\xff" * 500, 1)


def test_sweeping_reads_no_values(story: Story) -> None:
    without_n2(story)
    drop(story, story.n2)
    story.n2.batch()
    view = Mock(wraps=story.n2.engine.snapshot(), scan=Mock(side_effect=AssertionError("a value may be large")))
    gone = GoneCopies()
    gone.add(story.n2.partitions.state.next_copy - 1)
    gone.save(Batch())
    gone.sweep(view)
    assert gone.has_changes


def test_its_rows_are_deleted_and_it_is_not_there_after_a_restart_nor_any_other_harmed(story: Story) -> None:
    (other,) = (rid for _, rid in story.n2.partitions.create_copies([PID + 1]))
    story.n2.batch()
    prefix = story.n2.partition.copy.prefix
    without_n2(story)
    drop(story, story.n2)
    assert story.n2.partitions.get(PID) is None
    sweep(story.n2)
    view = story.n2.engine.snapshot()
    assert not [key for table in Table for key, _ in view.scan(table, prefix, prefix + b"\xff" * 500)]
    story.n2.restart()
    assert story.n2.partitions.get(PID) is None
    standing = story.n2.partitions.get(PID + 1)
    assert standing is not None
    assert standing.copy.name.rid == other


def test_a_crash_before_the_word_is_durable_leaves_it_whole_and_the_next_word_takes_it(story: Story) -> None:
    without_n2(story)
    drop(story, story.n2)
    story.n2.restart()
    assert story.n2.rows(Table.DATA)
    drop(story, story.n2)
    story.n2.batch()
    story.n2.restart()
    assert story.n2.partitions.get(PID) is None


def test_a_crash_between_the_word_and_the_last_row_is_made_up_for(story: Story) -> None:
    prefix = story.n2.partition.copy.prefix
    without_n2(story)
    drop(story, story.n2)
    story.n2.batch()
    story.n2.restart()
    sweep(story.n2)
    view = story.n2.engine.snapshot()
    assert not list(view.scan(Table.DATA, prefix, prefix + b"\xff" * 500))


def test_another_copy_that_is_made_there_later_begins_empty_under_a_new_name(story: Story) -> None:
    former = story.n2.rid
    without_n2(story)
    drop(story, story.n2)
    ((_, rid),) = story.n2.partitions.create_copies([PID])
    story.n2.batch()
    assert rid != former
    assert story.n2.partition.copy.log.end == 0


def test_a_copy_that_the_entry_names_stays(story: Story) -> None:
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1)
    drop(story, story.n2)
    assert story.n2.partition.copy.log.end


def test_a_word_that_is_older_than_what_the_copy_knows_says_nothing(story: Story) -> None:
    named = story.entry
    without_n2(story)
    late = story.entry
    story.n2.on_entry(msgspec.structs.replace(named, ver=late.ver + 1))
    story.n2.perform(story.n2.partitions.drop_copies([late]))
    assert story.n2.partition.copy.log.end


@pytest.mark.parametrize("restarts", [False, True])
def test_a_word_that_is_older_than_what_a_leader_said_says_nothing_even_after_a_restart(
    story: Story, restarts: bool
) -> None:
    n2, named = story.n2, story.entry
    without_n2(story)
    n2.receive("n1", Reconcile(PID, n2.rid, named.epoch, story.entry.ver + 1))
    if restarts:
        n2.batch()
        n2.restart()
    drop(story, n2)
    assert n2.partition.copy.log.end


def test_a_copy_that_begins_anew_still_knows_what_its_leader_said(story: Story) -> None:
    n2, named = story.n2, story.entry
    n2.on_entry(msgspec.structs.replace(named, ver=named.ver + 1, in_sync=(story.n1.rid,)))
    without_n2(story, later=2)
    n2.receive("n1", Reconcile(PID, n2.rid, named.epoch, story.entry.ver + 1))
    n2.receive("n1", BeginBackfill(PID, n2.rid, named.epoch, 99, 0, [], 0))
    n2.batch()
    n2.restart()
    assert n2.partition.copy.backfill is not None
    drop(story, n2)
    assert n2.partitions.get(PID) is not None


def test_a_copy_that_was_never_named_stays_for_it_may_be_about_to_be(story: Story) -> None:
    story.n2.partitions.create_copies([PID + 1])
    story.n2.batch()
    entry = msgspec.structs.replace(story.entry, pid=PID + 1, replicas=(story.n1.rid,), in_sync=(story.n1.rid,))
    story.n2.perform(story.n2.partitions.drop_copies([entry]))
    assert story.n2.partitions.get(PID + 1) is not None


def test_a_leader_that_is_dropped_tells_its_clients_that_their_writes_are_unknown(story: Story) -> None:
    story.n1.put("late", b"k")
    others = (story.n2.rid,)
    story.entry = msgspec.structs.replace(
        story.entry,
        ver=story.entry.ver + 1,
        epoch=story.entry.epoch + 1,
        leader=others[0],
        in_sync=others,
        replicas=others,
    )
    drop(story, story.n1)
    assert code(story.n1.replies["late"]) == "outcome_unknown"


def test_a_leader_serves_no_more_as_soon_as_it_sees_an_entry_without_it(story: Story) -> None:
    n1 = story.n1
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,))
    story.push()
    n1.put("late", b"k")
    before, others = story.entry, (story.n2.rid,)
    changes = {"epoch": before.epoch + 1, "leader": others[0], "in_sync": others, "replicas": others}
    story.entry = msgspec.structs.replace(before, ver=before.ver + 1, **changes)
    story.push()
    n1.on_entry(before)
    assert code(n1.replies["late"]) == "outcome_unknown"
    assert code(n1.read("r", b"k")) == "no_leader"
    assert n1.rows(Table.DATA), "what becomes of the copy is said later"


def test_a_batch_that_is_under_way_when_a_copy_is_dropped_ends_well(story: Story) -> None:
    story.n1.put("w2", b"k2")
    story.n1.batch()
    story.deliver(story.n1)
    story.n2.begin_batch()
    without_n2(story)
    drop(story, story.n2)
    story.n2.end_batch()
    sweep(story.n2)
    assert story.n2.partitions.get(PID) is None
    assert story.n2.partitions.report().copies == []


# ---- on the way out -------------------------------------------------------------------------------------------------


def role(story: Story) -> Role:
    return dict(iter(story.n1.leader.followers))["n2"].role


def test_a_copy_that_is_to_be_given_up_never_gets_in_sync_again(story: Story) -> None:
    n1, n2 = story.n1, story.n2
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,), removing=(n2.rid,))
    story.push()
    for _ in range(10):
        story.beat()
    assert role(story) is Role.LEARNER
    assert story.entry.in_sync == (n1.rid,)
    n1.put("w2", b"k2")
    story.settle(apply=True)
    assert n2.partition.copy.log.end == n1.partition.copy.log.end

    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, removing=())
    story.push()
    for _ in range(10):
        story.beat()
    assert story.entry.in_sync == (n1.rid, n2.rid)


def test_a_copy_that_begins_to_join_stops_when_it_is_to_be_given_up(story: Story) -> None:
    n1, n2 = story.n1, story.n2
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,))
    story.push()
    peer = dict(iter(n1.leader.followers))["n2"]
    peer.begin_join(n1.partition.copy)
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, removing=(n2.rid,))
    n1.on_entry(story.entry)
    assert role(story) is Role.LEARNER


def test_nothing_of_it_is_written_any_more_although_it_had_something_to_write(story: Story) -> None:
    n2 = story.n2
    prefix = n2.partition.copy.prefix
    story.n1.put("w2", b"k2", b"v")
    story.n1.batch()
    story.deliver(story.n1)
    assert n2.partition.needs_batch
    without_n2(story)
    drop(story, n2)
    sweep(n2)
    view = n2.engine.snapshot()
    assert not [table for table in Table if view.keys(table, prefix, prefix + b"\xff" * 500, 1)]
    assert not n2.partitions.needs_batch


def test_its_rows_go_although_nothing_else_is_written(story: Story) -> None:
    n2, prefix = story.n2, story.n2.partition.copy.prefix
    story.beat()
    assert not n2.partitions.needs_batch
    without_n2(story)
    drop(story, n2)
    for _ in range(10):
        if n2.partitions.needs_batch:
            n2.batch()
        n2.tick()
    view = n2.engine.snapshot()
    assert not [table for table in Table if view.keys(table, prefix, prefix + b"\xff" * 500, 1)]
