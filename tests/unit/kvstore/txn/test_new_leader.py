"""A new leader has all that is prepared and decided before it serves, whatever of it was applied. PROTOCOL
"Transactions"."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code, taken_over
from unit.kvstore.txn.coordinating import (
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

from kvstore.messages import AskFinished, FinishTxn, ResolveTxns, Transacted
from kvstore.replication.answers import LATER
from kvstore.txn.participant import TAKEN_OVER_MS
from kvstore.txn.primary import UNDONE_ASK_AFTER_MS

TXN, OTHER = named("t"), named("u")
OURS = named("o", primary=PID)


@pytest.fixture
def story() -> Story:
    story = Story()
    n1 = story.lead()
    n1.put("w0", b"k", b"old")
    n1.put("w1", b"x", b"old")
    story.settle(apply=True)
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


@pytest.mark.parametrize("applied", ["all", "one", "none"])
def test_locks_and_hidden_keys_are_there_before_it_serves(story: Story, n1: StoryNode, applied: str) -> None:
    prepared(story, n1, TXN, part(put(b"k"), get(b"r", 1)))
    if applied == "one":
        story.settle(apply=True)
    prepared(story, n1, OTHER, part(put(b"x")))
    if applied == "all":
        story.settle(apply=True)
    n2 = taken_over(story)
    assert n2.read("hidden", b"k") is LATER
    assert n2.read("hidden too", b"x") is LATER
    assert n2.read("read only", b"r") is None
    for key in (b"k", b"r", b"x"):
        assert n2.put(f"w {key!r}", key) is LATER
    assert set(n2.leader.txns.participant.held) == {TXN, OTHER}
    n2.batch()
    assert not n2.replies, "nothing of them was carried out"


@pytest.mark.parametrize("is_applied", [False, True])
def test_it_finds_the_vote_and_carries_the_decision_out(story: Story, n1: StoryNode, is_applied: bool) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    if is_applied:
        story.settle(apply=True)
    n2 = taken_over(story)
    assert prepare(n2, "again", TXN, part(put(b"k"))) is not LATER
    assert vote_of(n2, "again") == vote
    n2.read("r", b"k")
    finish(n2, "f", vote, TXN)
    n2.batch()
    assert n2.read("now", b"k") == b"new"
    assert not n2.leader.txns.locks


def test_a_prepare_record_of_which_nobody_was_told_counts_for_the_new_leader(story: Story, n1: StoryNode) -> None:
    prepare(n1, "p", TXN, part(put(b"k")))
    n1.batch()
    story.deliver(n1)
    story.n2.batch()
    story.drop()
    n2 = taken_over(story)
    assert TXN in n2.leader.txns.participant.held
    assert n2.read("hidden", b"k") is LATER


@pytest.mark.parametrize("is_applied", [False, True])
def test_an_end_that_was_not_told_of_as_committed_counts_too(story: Story, n1: StoryNode, is_applied: bool) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    if is_applied:
        story.settle(apply=True)
    finish(n1, "f", vote, TXN)
    n1.batch()
    story.deliver(n1)
    story.n2.batch()
    story.drop()
    n2 = taken_over(story)
    assert n2.read("r", b"k") == b"new"
    assert not n2.leader.txns.locks
    assert finish(n2, "again", vote, TXN) is not LATER


def test_a_decision_is_found_by_the_new_leader_whether_applied_or_not(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", OURS, part(put(b"k")), elsewhere())
    story.settle()
    n2 = taken_over(story)
    for name in ("not applied", "applied"):
        transact(n2, name, OURS, part(put(b"k", b"other")), elsewhere())
        n2.batch(apply=True)
        n2.batch()
        told = n2.replies[name]
        assert isinstance(told, Transacted)
        assert told.commits
        assert not told.is_new
    assert n2.read("r", b"k") == b"new"


def test_at_takeover_the_decision_is_asked_for_at_once_and_given_up_two_seconds_later(
    story: Story, n1: StoryNode
) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    n2 = taken_over(story)
    n2.tick()
    (asked,) = {ask for send in n2.sent if isinstance(send.body, ResolveTxns) for ask in send.body.asks}
    assert not asked.gives_up
    story.drop()
    story.pass_ms(TAKEN_OVER_MS)
    n2.tick()
    (asked,) = {ask for send in n2.sent if isinstance(send.body, ResolveTxns) for ask in send.body.asks}
    assert asked.gives_up


def test_the_new_leader_asks_who_has_not_finished(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", OURS, part(put(b"k")), elsewhere())
    story.settle()
    n2 = taken_over(story)
    story.drop()
    story.pass_ms(UNDONE_ASK_AFTER_MS)
    n2.tick()
    (part_,) = {part for send in n2.sent if isinstance(send.body, AskFinished) for part in send.body.parts}
    assert part_.txn == OURS


def test_a_tombstone_refuses_a_late_prepare_at_the_new_leader(story: Story, n1: StoryNode) -> None:
    n1.call("f", FinishTxn(PID, n1.partition.ver, TXN, 0, 0, False, False))
    story.settle(apply=True)
    n2 = taken_over(story)
    assert code(prepare(n2, "late", TXN, part(put(b"k")))) == "txn_conflict"


def test_a_record_that_no_copy_in_sync_had_is_no_vote(story: Story, n1: StoryNode) -> None:
    prepare(n1, "p", TXN, part(put(b"k")))
    n1.batch()
    story.drop()
    n2 = taken_over(story)
    assert "p" not in n1.replies
    assert TXN not in n2.leader.txns.participant.held
    n1.on_entry(story.entry)
    assert code(n1.replies["p"]) == "outcome_unknown"
    assert n2.read("r", b"k") == b"old"


def test_an_overdue_key_that_is_locked_stays_through_a_change_of_leader(story: Story, n1: StoryNode) -> None:
    n1.put("brief", b"t", ttl_ms=60_000)
    story.settle()
    vote = prepared(story, n1, TXN, part(get(b"t")))
    wall_passes(story, 120_000)
    n2 = taken_over(story)
    n2.tick()
    n2.batch()
    assert n2.read("r", b"t") is LATER
    finish(n2, "f", vote, TXN, commits=False)
    for _ in range(3):
        n2.batch()
    assert n2.replies["r"] is None
