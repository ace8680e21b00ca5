"""A follower: rows of the epoch it promised only, in order, and answers that tell what is durable."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID

from kvstore.effects import Send
from kvstore.map_values import Rid
from kvstore.messages import Acked, Append, CutTail, EpochVector, Reconcile, Refused
from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import CopyName
from kvstore.replication.follower import Follower
from kvstore.replication.log import Held, Log
from kvstore.storage.engine import Batch
from kvstore.storage.records import DamagedRow, Record, RecordType, decode_log_row, encode_log_row

RID = Rid("n2", b"follower........")


class Rows:
    """A leader's log, to cut appends from."""

    def __init__(self, *epochs: int) -> None:
        self.log = Log(0, 0, 0, [], [])
        self.held: list[Held] = []
        for epoch in epochs:
            record = Record(RecordType.PUT, b"k%d" % self.log.end, b"v")
            row, _ = encode_log_row(epoch, self.log.end + 1, 0, self.log.end_checksum, [record])
            self.held.append(Held(row, decode_log_row(row)))
            self.log.append(self.held[-1])

    def append(self, epoch: int, prev_seq: int, end: int | None = None, commit_seq: int = 0) -> Append:
        """The rows after `prev_seq` up to `end`; each row is one record."""
        previous = self.held[prev_seq - 1].head.checksum if prev_seq else 0
        rows = [held.row for held in self.held[prev_seq:end]]
        return Append(PID, RID, epoch, prev_seq, previous, commit_seq, rows)


@pytest.fixture
def copy() -> Copy:
    return Copy(1, CopyName(PID, RID))


@pytest.fixture
def follower(copy: Copy) -> Follower:
    return Follower(copy)


def batch(follower: Follower, copy: Copy, apply: bool = False, full: bool = False) -> list[Send]:
    """One batch; returns what leaves after it."""
    copy.save(Batch(), apply, None)
    follower.prepare_answers(full)
    copy.saved()
    return follower.release_answers()


def following(follower: Follower, copy: Copy, rows: Rows, epoch: int = 1) -> None:
    """It has promised `epoch` and holds `rows`."""
    follower.on_reconcile("n1", Reconcile(PID, RID, epoch, 1))
    batch(follower, copy)
    follower.on_append("n1", rows.append(epoch, 0))
    batch(follower, copy)


def test_a_follower_tells_where_its_log_stands_once_its_promise_is_durable(follower: Follower, copy: Copy) -> None:
    assert follower.on_reconcile("n1", Reconcile(PID, RID, 5, 1)) == []
    assert copy.promised == 5
    assert copy.has_changes
    assert batch(follower, copy) == [Send("n1", EpochVector(PID, RID, 5, [], 0))]
    assert batch(follower, copy) == []


def test_rows_are_acknowledged_after_the_batch_that_holds_them(follower: Follower, copy: Copy) -> None:
    rows = Rows(1, 1, 1)
    following(follower, copy, Rows())
    follower.on_append("n1", rows.append(1, 0, 2))
    copy.save(Batch(), apply=False, journal=None)
    follower.prepare_answers(full=False)
    follower.on_append("n1", rows.append(1, 2))
    copy.saved()
    assert follower.release_answers() == [Send("n1", Acked(PID, RID, 1, 2, 0, False))]
    assert batch(follower, copy) == [Send("n1", Acked(PID, RID, 1, 3, 0, False))]


def test_an_acknowledgement_tells_whether_the_store_is_full(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows())
    follower.on_append("n1", Rows(1).append(1, 0))
    (send,) = batch(follower, copy, full=True)
    assert isinstance(send.body, Acked)
    assert send.body.full


def test_a_lower_epoch_is_refused_in_every_way(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1), epoch=3)
    end = copy.log.end
    refusal = [Send("n9", Refused(PID, RID, 3))]
    assert follower.on_reconcile("n9", Reconcile(PID, RID, 2, 9)) == refusal
    assert follower.on_append("n9", Rows(1, 2).append(2, 1)) == refusal
    assert follower.on_cut("n9", CutTail(PID, RID, 2, 0)) == []
    assert (copy.log.end, copy.promised) == (end, 3)
    assert not follower.has_answer


def test_rows_of_a_higher_epoch_wait_for_its_reconciliation(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1))
    assert follower.on_append("n1", Rows(1, 2).append(2, 1)) == []
    assert follower.on_cut("n1", CutTail(PID, RID, 2, 0)) == []
    assert (copy.log.end, copy.promised, follower.has_answer) == (1, 1, False)


def test_a_gap_is_answered_by_where_the_log_stands(follower: Follower, copy: Copy) -> None:
    rows = Rows(1, 1, 1)
    following(follower, copy, Rows())
    follower.on_append("n1", rows.append(1, 1))
    assert batch(follower, copy) == [Send("n1", EpochVector(PID, RID, 1, [], 0))]
    assert copy.log.end == 0


def test_rows_that_came_twice_are_taken_once(follower: Follower, copy: Copy) -> None:
    rows = Rows(1, 1, 1)
    following(follower, copy, Rows())
    follower.on_append("n1", rows.append(1, 0, 2))
    follower.on_append("n1", rows.append(1, 0, 2))
    follower.on_append("n1", rows.append(1, 1))
    assert batch(follower, copy) == [Send("n1", Acked(PID, RID, 1, 3, 0, False))]
    assert [held.row for held in copy.log.held_after(0)] == [held.row for held in rows.held]


def test_rows_that_do_not_continue_the_chain_are_not_taken(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1))
    other = Rows(2, 2)
    assert other.held[0].row != Rows(1).held[0].row
    follower.on_append("n1", other.append(1, 1))
    (send,) = batch(follower, copy)
    assert isinstance(send.body, EpochVector)
    assert copy.log.end == 1


@pytest.mark.parametrize("offset", [0, 9, 30, -9, -1])
def test_a_damaged_row_is_not_taken_and_asked_for_again(follower: Follower, copy: Copy, offset: int) -> None:
    following(follower, copy, Rows())
    rows = Rows(1, 1)
    damaged = bytearray(rows.held[1].row)
    damaged[offset] ^= 4
    append = rows.append(1, 0)
    follower.on_append("n1", Append(PID, RID, 1, 0, 0, 0, [append.rows[0], bytes(damaged)]))
    assert batch(follower, copy) == [Send("n1", EpochVector(PID, RID, 1, [(1, 1)], 1))]
    follower.on_append("n1", rows.append(1, 1))
    assert batch(follower, copy) == [Send("n1", Acked(PID, RID, 1, 2, 0, False))]


def test_nothing_is_committed_on_a_log_that_is_not_proven_equal(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1, 1))
    follower.on_reconcile("n1", Reconcile(PID, RID, 2, 1))
    batch(follower, copy)
    follower.on_append("n1", Append(PID, RID, 2, 1, Rows(1).log.end_checksum, 2, []))
    (send,) = batch(follower, copy)
    assert isinstance(send.body, EpochVector)
    assert copy.commit_seq == 0


def test_a_log_of_equal_length_and_another_chain_is_not_proven_equal(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1, 1))
    follower.on_reconcile("n1", Reconcile(PID, RID, 3, 1))
    batch(follower, copy)
    follower.on_append("n1", Append(PID, RID, 3, 2, Rows(1, 2).log.end_checksum, 2, []))
    assert (copy.reconciled, copy.commit_seq) == (1, 0)
    follower.on_append("n1", Append(PID, RID, 3, 2, Rows(1, 1).log.end_checksum, 2, []))
    assert (copy.reconciled, copy.commit_seq) == (3, 2)


def test_what_is_committed_is_taken_as_far_as_the_log_goes(follower: Follower, copy: Copy) -> None:
    rows = Rows(1, 1, 1)
    following(follower, copy, Rows())
    follower.on_append("n1", rows.append(1, 0, 2, commit_seq=3))
    assert copy.commit_seq == 2
    (send,) = batch(follower, copy, apply=True)
    assert send.body == Acked(PID, RID, 1, 2, 2, False)
    assert copy.applied_seq == 2


def test_a_tail_that_the_leader_does_not_have_is_cut_once(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1, 1, 1))
    follower.on_reconcile("n1", Reconcile(PID, RID, 2, 1))
    assert batch(follower, copy) == [Send("n1", EpochVector(PID, RID, 2, [(1, 1)], 3))]
    follower.on_cut("n1", CutTail(PID, RID, 2, 1))
    assert batch(follower, copy) == [Send("n1", Acked(PID, RID, 2, 1, 0, False))]
    assert copy.log.end == 1


def test_a_late_cut_after_reconciliation_cuts_nothing(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1, 1, 1))
    follower.on_reconcile("n1", Reconcile(PID, RID, 2, 1))
    batch(follower, copy)
    follower.on_cut("n1", CutTail(PID, RID, 2, 1))
    follower.on_append("n1", Rows(1, 2, 2).append(2, 1))
    batch(follower, copy)
    follower.on_cut("n1", CutTail(PID, RID, 2, 1))
    assert batch(follower, copy) == [Send("n1", Acked(PID, RID, 2, 3, 0, False))]
    assert copy.log.end == 3


def test_a_restarted_follower_knows_that_it_was_reconciled(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1, 1))
    assert (copy.promised, copy.reconciled) == (1, 1)
    again = Follower(copy)
    again.on_cut("n1", CutTail(PID, RID, 1, 0))
    assert copy.log.end == 2


def test_a_cut_below_what_is_applied_is_an_alarm_and_not_a_repair(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1, 1, 1))
    copy.commit(2)
    batch(follower, copy, apply=True)
    follower.on_reconcile("n1", Reconcile(PID, RID, 2, 1))
    with pytest.raises(DamagedRow, match="below what is applied"):
        follower.on_cut("n1", CutTail(PID, RID, 2, 1))
    assert copy.log.end == 3


def test_no_acknowledgement_leaves_in_an_epoch_that_is_not_reconciled(follower: Follower, copy: Copy) -> None:
    following(follower, copy, Rows(1))
    follower.on_append("n1", Rows(1, 1).append(1, 1))
    follower.on_reconcile("n3", Reconcile(PID, RID, 2, 1))
    sent = batch(follower, copy)
    assert [type(send.body) for send in sent] == [EpochVector]
