"""Applies of a round are spread over batches, and a round ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from unit.kvstore.story import Story, StoryNode

from kvstore.apply_round import HELD_BYTES_MAX, WAITING_RECORDS_MAX, ApplyRound, waits_no_longer
from kvstore.messages import WriteOne
from kvstore.replication.copy import JOURNALED_ROW_BYTES_MAX
from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal

PIDS = (1, 2, 3)


class Held:
    """A partition whose copy has so many records to apply."""

    def __init__(self, unapplied: int) -> None:
        self.copy = SimpleNamespace(unapplied=unapplied)


def held(*unapplied: int) -> dict[int, Any]:
    """Partitions 1, 2, 3, ..."""
    return {pid: Held(records) for pid, records in enumerate(unapplied, 1)}


def turns(applies: ApplyRound, partitions: dict[int, Any]) -> tuple[list[int], bool]:
    taken, is_last = applies.take_turns(is_beside=False)
    return [pid for pid, one in partitions.items() if one in taken], is_last


def test_each_copy_that_has_something_to_apply_has_one_turn_and_then_the_round_is_over() -> None:
    copies = held(3, 0, 3, 3)
    applies = ApplyRound(copies)
    applies.share_records = 5
    applies.begin()
    assert applies.is_open
    assert turns(applies, copies) == ([3, 4], False)
    copies[4].copy.unapplied = 9
    applies.begin()
    assert turns(applies, copies) == ([1], True)
    assert not applies.is_open
    assert turns(applies, copies) == ([], False)


def test_a_round_in_which_nobody_has_anything_to_apply_ends_with_its_first_batch() -> None:
    copies = held(0)
    applies = ApplyRound(copies)
    applies.begin()
    assert not applies.is_open
    assert turns(applies, copies) == ([], True)


def test_a_batch_that_somebody_waits_for_is_left_alone_after_one_that_was_not() -> None:
    copies = held(1, 1, 1, 1)
    applies = ApplyRound(copies)
    applies.share_records = 1
    applies.begin()
    counts = [len(applies.take_turns(is_beside)[0]) for is_beside in (True, True, False, False, True)]
    assert counts == [1, 0, 1, 1, 0]


def test_a_copy_that_is_gone_has_no_turn() -> None:
    copies = held(1, 1)
    applies = ApplyRound(copies)
    applies.begin()
    del copies[2]
    assert turns(applies, copies) == ([1], True)


def test_a_copy_with_much_to_apply_does_not_wait_for_its_turn() -> None:
    assert waits_no_longer(held(WAITING_RECORDS_MAX)[1])
    assert not waits_no_longer(held(WAITING_RECORDS_MAX - 1)[1])


@pytest.mark.parametrize(("row_bytes", "is_due"), [(JOURNALED_ROW_BYTES_MAX, False), (HELD_BYTES_MAX, True)])
def test_large_rows_alone_make_a_round_due(row_bytes: int, is_due: bool) -> None:
    applies, batch = ApplyRound({}), Batch()
    for number in range(2):
        batch.put(Table.LOG, b"%d" % number, bytes(row_bytes))
    batch.delete(Table.LOG, b"gone")
    for _ in range(HELD_BYTES_MAX // JOURNALED_ROW_BYTES_MAX):
        applies.note(batch)
    assert applies.is_due is is_due
    applies.begin()
    assert not applies.is_due


@pytest.fixture
def n1() -> StoryNode:
    """Leads three partitions, each with a record that is committed and not applied."""
    story = Story(nodes=1, pids=PIDS)
    node = story.lead()
    view = node.engine.snapshot()
    for pid in PIDS:
        node.partitions.write(
            f"w{pid}", WriteOne(pid, node.partitions.by_pid[pid].ver, b"k", b"v%d" % pid), view, story.now
        )
    story.settle()
    node.partitions.applies.share_records = 1
    return node


def applied(node: StoryNode) -> list[int]:
    return [one.pid for one in node.partitions if one.copy.applied_seq == one.copy.commit_seq]


def test_the_journal_is_emptied_with_the_last_turn(n1: StoryNode) -> None:
    assert applied(n1) == []
    n1.batch(apply=True)
    assert len(applied(n1)) == 1
    assert n1.partitions.needs_batch
    n1.batch()
    assert Journal().load(n1.engine.snapshot())
    n1.batch()
    assert applied(n1) == [*PIDS]
    assert not Journal().load(n1.engine.snapshot())
    assert not n1.partitions.needs_batch


def test_a_node_that_ends_within_a_round_has_everything_afterwards(n1: StoryNode) -> None:
    ends = [one.copy.log.end for one in n1.partitions]
    n1.batch(apply=True)
    n1.batch()
    n1.restart()
    copies = [one.copy for one in n1.partitions]
    assert [copy.log.end for copy in copies] == [copy.durable_end for copy in copies] == ends
    assert [copy.applied_seq == copy.log.end for copy in copies].count(True) == 2
