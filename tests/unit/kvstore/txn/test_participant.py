"""A participant: votes, locks, and the end of what is prepared. PROTOCOL "Transactions"."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code, version
from unit.kvstore.txn.coordinating import (
    delete,
    elsewhere,
    finish,
    get,
    named,
    part,
    prepare,
    prepared,
    put,
    transact,
    vote_of,
    wall_passes,
)

from kvstore.messages import Done, FinishTxn, ForceFinish, Resolved, Transacted, TxnIf
from kvstore.replication.answers import LATER
from kvstore.storage.engine import Table
from kvstore.storage.records import RecordType
from kvstore.txn.log_end import LOCK_WAIT_MS
from kvstore.txn.state import TOMBSTONE_KEEP_MS
from kvstore.txn.transactions import KEY_WAIT_MS
from kvstore.versions import etag

TXN, OTHER = named("t"), named("u")


@pytest.fixture
def story() -> Story:
    story = Story()
    n1 = story.lead()
    n1.put("w0", b"k", b"old")
    story.settle(apply=True)
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


def kinds(node: StoryNode) -> list[int]:
    """The records of transactions in its log, as far as it is in memory."""
    records = [record.type for held in node.partition.copy.log.held_after(0) for _, record, _ in held.changes]
    return [kind for kind in records if kind >= RecordType.PREPARE]


# ---- voting -----------------------------------------------------------------------------------------------------


def test_a_vote_leaves_only_when_its_record_is_durable_on_the_whole_in_sync_set(story: Story, n1: StoryNode) -> None:
    assert prepare(n1, "p", TXN, part(put(b"k"))) is LATER
    n1.batch()
    assert "p" not in n1.replies, "durable here alone"
    story.settle()
    vote = vote_of(n1, "p")
    assert (vote.pid, vote.epoch, vote.seq) == (PID, n1.leader.epoch, n1.partition.copy.commit_seq)


def test_a_vote_says_what_holds_and_what_each_branch_would_read(story: Story, n1: StoryNode) -> None:
    asked = part(get(b"k"), put(b"k", index=1), conditions=[TxnIf(b"k", value=b"old")], otherwise=[get(b"x")])
    vote = prepared(story, n1, TXN, asked)
    assert vote.holds
    assert [one.value for one in vote.then.results] == [b"old", None]
    assert vote.then.results[1].etag == etag(PID, vote.epoch, vote.seq)
    assert [one.status for one in vote.otherwise.results] == [404]


def test_keys_that_are_only_read_are_locked_too_and_those_of_the_other_branch(story: Story, n1: StoryNode) -> None:
    asked = part(get(b"r"), conditions=[TxnIf(b"c", exists=False)], otherwise=[delete(b"k")])
    prepared(story, n1, TXN, asked)
    for key in (b"r", b"c", b"k"):
        assert n1.put(f"w {key!r}", key) is LATER
        assert prepare(n1, f"p {key!r}", named(str(key)[2]), part(get(key))) is LATER
    story.settle()
    assert not [ticket for ticket in n1.replies if ticket.startswith(("w b", "p b"))]


def test_who_waits_for_locks_goes_on_in_the_order_of_coming(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    prepare(n1, "first", OTHER, part(get(b"k")))
    n1.put("second", b"k", b"by a write")
    prepare(n1, "third", named("v"), part(get(b"k")))
    finish(n1, "f", vote, TXN)
    story.settle()
    first = vote_of(n1, "first")
    assert first.then.results[0].value == b"new"
    assert "second" not in n1.replies
    finish(n1, "f2", first, OTHER, commits=False)
    story.settle()
    assert version(n1.replies["second"]) == (n1.leader.epoch, n1.replies["third"].vote.seq - 1)
    assert vote_of(n1, "third").then.results[0].value == b"by a write"


def test_after_50_ms_it_votes_no_and_nothing_is_left(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    before = n1.partition.copy.log.end
    prepare(n1, "p", OTHER, part(put(b"k"), put(b"free", index=1)))
    story.pass_ms(LOCK_WAIT_MS - 1)
    n1.retry()
    assert "p" not in n1.replies
    story.pass_ms(1)
    n1.retry()
    assert code(n1.replies["p"]) == "txn_conflict"
    assert n1.partition.copy.log.end == before
    assert set(n1.leader.txns.participant.held) == {TXN}
    assert n1.put("w", b"free") is LATER
    story.settle()
    assert "w" in n1.replies


def test_a_prepare_that_is_sent_again_finds_its_vote(story: Story, n1: StoryNode) -> None:
    prepare(n1, "p", TXN, part(put(b"k")))
    prepare(n1, "again", TXN, part(put(b"k")))
    story.settle()
    assert n1.replies["again"] == n1.replies["p"]
    prepare(n1, "and again", TXN, part(put(b"k")))
    assert n1.replies["and again"] == n1.replies["p"]
    assert kinds(n1).count(RecordType.PREPARE) == 1


def test_a_participant_without_enough_copies_votes_no(story: Story, n1: StoryNode) -> None:
    n1.leader.followers.is_blocked = True
    assert code(prepare(n1, "p", TXN, part(put(b"k")))) == "not_enough_copies"
    assert n1.leader.txns.locks.is_free([b"k"])


# ---- the end ----------------------------------------------------------------------------------------------------


def test_a_commit_carries_the_branch_out_with_the_version_of_the_prepare_record(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k"), put(b"x", b"y", 1), otherwise=[delete(b"k")]))
    finish(n1, "f", vote, TXN)
    assert "f" not in n1.replies
    story.settle(apply=True)
    assert n1.replies["f"] == Done()
    assert n1.read("r", b"k") == b"new"
    assert story.n2.rows_equal(n1)
    assert n1.put("cas", b"k", b"v", if_match=etag(PID, vote.epoch, vote.seq)) is LATER
    story.settle()
    assert version(n1.replies["cas"])


def test_a_commit_leaves_nothing_to_be_kept(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    story.settle(apply=True)
    assert len(n1.rows(Table.TXN)) == 1
    finish(n1, "f", vote, TXN)
    story.settle(apply=True)
    assert not n1.rows(Table.TXN)


def test_an_answer_about_another_record_ends_nothing(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    outcome = Resolved(TXN, PID, vote.epoch, vote.seq - 1, True, True)
    n1.leader.txns.participant.resolve(outcome, n1.engine.snapshot(), story.now)
    assert not n1.leader.txns.participant.held[TXN].finish_seq


def test_nobody_asks_for_the_decision_on_a_record_that_is_not_durable(story: Story, n1: StoryNode) -> None:
    prepare(n1, "p", TXN, part(put(b"k")))
    n1.batch()
    story.pass_ms(60_000)
    assert n1.leader.txns.participant.due(story.now) == []
    story.settle()
    assert [one.txn for one in n1.leader.txns.participant.due(story.now)] == [TXN]


def test_the_other_branch_is_carried_out_where_that_was_decided(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k"), otherwise=[delete(b"k")]))
    finish(n1, "f", vote, TXN, then=False)
    story.settle()
    assert n1.read("r", b"k") is None


def test_an_abort_changes_nothing_and_gives_the_locks_up(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k"), delete(b"x", 1)))
    finish(n1, "f", vote, TXN, commits=False)
    story.settle()
    assert n1.read("r", b"k") == b"old"
    assert not n1.leader.txns.locks


def test_a_decision_that_is_told_again_is_carried_out_once(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    finish(n1, "f", vote, TXN)
    finish(n1, "again", vote, TXN)
    story.settle()
    n1.put("w", b"k", b"newer")
    story.settle()
    finish(n1, "late", vote, TXN)
    assert n1.replies["f"] == n1.replies["again"] == n1.replies["late"] == Done()
    assert kinds(n1).count(RecordType.FINISH) == 1
    assert n1.read("r", b"k") == b"newer"


def test_a_commit_on_another_record_is_not_carried_out(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    other = FinishTxn(PID, n1.partition.ver, TXN, vote.epoch, vote.seq - 1, True, True)
    assert code(n1.call("f", other)) == "conflict"
    assert TXN in n1.leader.txns.participant.held


def test_an_abort_ahead_of_its_prepare_leaves_a_tombstone_that_refuses_it(story: Story, n1: StoryNode) -> None:
    told = FinishTxn(PID, n1.partition.ver, TXN, 0, 0, False, False)
    assert n1.call("f", told) is LATER
    story.settle(apply=True)
    assert n1.replies["f"] == Done()
    assert code(prepare(n1, "late", TXN, part(put(b"k")))) == "txn_conflict"
    wall_passes(story, TOMBSTONE_KEEP_MS - 1)
    assert code(prepare(n1, "later", TXN, part(put(b"k")))) == "txn_conflict"
    assert n1.call("again", told) == Done(), "nor does it leave a second one"


def test_a_tombstone_is_forgotten_after_five_minutes_of_the_logs_time(story: Story, n1: StoryNode) -> None:
    n1.call("f", FinishTxn(PID, n1.partition.ver, TXN, 0, 0, False, False))
    story.settle(apply=True)
    assert len(n1.rows(Table.TXN)) == 2, "the row and its place in the index"
    wall_passes(story, TOMBSTONE_KEEP_MS)
    for number in range(2):
        n1.put(f"sweep {number}", b"any")
        story.settle(apply=True)
    assert not n1.rows(Table.TXN)
    assert story.n2.rows_equal(n1)


def test_the_next_attempt_ends_the_one_before_and_none_comes_after_a_later_one(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, named("t", 1), part(put(b"k")))
    prepared(story, n1, named("t", 2), part(put(b"k", b"second")))
    assert set(n1.leader.txns.participant.held) == {named("t", 2)}
    assert code(prepare(n1, "late", named("t", 1), part(put(b"k")))) == "txn_conflict"


def test_an_earlier_attempt_that_was_never_here_comes_too_late(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, named("t", 2), part(put(b"k")))
    assert code(prepare(n1, "late", named("t", 1), part(put(b"k")))) == "txn_conflict"
    assert set(n1.leader.txns.participant.held) == {named("t", 2)}


# ---- single keys ------------------------------------------------------------------------------------------------


def test_a_write_of_a_locked_key_waits_its_turn_or_is_refused_as_locked(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert n1.put("w", b"k", b"newer") is LATER
    story.pass_ms(KEY_WAIT_MS - 1)
    story.settle()
    assert "w" not in n1.replies
    n1.delete("d", b"k")
    story.pass_ms(1)
    n1.retry()
    assert code(n1.replies["w"]) == "locked"
    finish(n1, "f", vote, TXN)
    story.settle()
    assert n1.read("r", b"k") is None, "it waited and was carried out"


def test_a_condition_of_a_write_that_waited_is_judged_by_what_the_transaction_left(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    n1.put("w", b"k", b"newer", if_match=etag(PID, vote.epoch, vote.seq))
    finish(n1, "f", vote, TXN)
    story.settle()
    assert version(n1.replies["w"])
    assert n1.read("r", b"k") == b"newer"


def test_a_transaction_of_this_partition_alone_waits_for_locks_too(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert transact(n1, "t", named("v", primary=PID), part(get(b"k"))) is LATER
    finish(n1, "f", vote, TXN)
    story.settle()
    told = n1.replies["t"]
    assert isinstance(told, Transacted)
    assert told.results[0].value == b"new"


def test_who_loses_a_lock_to_one_that_is_stuck_has_its_decision_asked_for(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    prepare(n1, "p", OTHER, part(put(b"k")))
    story.pass_ms(LOCK_WAIT_MS)
    n1.retry()
    story.settle()
    assert n1.leader.txns.participant.held[TXN].asked_ms == story.now.mono_ms


def test_a_leader_that_hands_over_prepares_nothing(story: Story, n1: StoryNode) -> None:
    n1.leader.is_passing_on = True
    assert code(prepare(n1, "p", TXN, part(put(b"k")))) == "no_leader"
    assert code(transact(n1, "t", named("v", primary=PID), part(put(b"k")), elsewhere())) == "no_leader"


def test_an_abort_by_one_who_never_heard_the_vote_gives_the_locks_up(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    n1.call("f", FinishTxn(PID, n1.partition.ver, TXN, 0, 0, False, False))
    story.settle()
    assert n1.replies["f"] == Done()
    assert kinds(n1) == [RecordType.PREPARE, RecordType.FINISH]
    assert not n1.leader.txns.locks


@pytest.mark.parametrize(("commits", "value"), [(True, b"new"), (False, b"old")])
def test_what_an_operator_decides_is_done_once(story: Story, n1: StoryNode, commits: bool, value: bytes) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    for ticket in ("first", "second"):
        assert n1.call(ticket, ForceFinish(PID, n1.partition.ver, TXN, commits, True)) is LATER
    story.settle()
    assert n1.replies["first"] == n1.replies["second"] == Done()
    assert kinds(n1) == [RecordType.PREPARE, RecordType.FINISH]
    story.beat()
    assert n1.call("late", ForceFinish(PID, n1.partition.ver, TXN, not commits, True)) == Done()
    assert n1.read("r", b"k") == value
