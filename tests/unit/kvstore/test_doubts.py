"""Nodes settle transactions among themselves: decisions that were missed, ends that were not reported, and nothing
stays locked for long. PROTOCOL "Transactions"."""

from __future__ import annotations

from typing import Any

import pytest
from unit.kvstore.story import PID, TICK_MS, Story, StoryNode, code, plain
from unit.kvstore.txn.coordinating import (
    ELSEWHERE,
    abort,
    finish,
    named,
    part,
    prepare,
    prepared,
    put,
    transact,
    ver,
    vote_of,
)

from kvstore.messages import (
    AskFinished,
    Done,
    FinishTxn,
    ForceFinish,
    InDoubt,
    ListPrepared,
    PartsFinished,
    ReadOne,
    ResolveTxns,
    TxnName,
    TxnsFinished,
    TxnsResolved,
    Vote,
)
from kvstore.replication.answers import LATER
from kvstore.replication.leader import Leader
from kvstore.txn.participant import ASK_AFTER_MS, ASK_AGAIN_MS
from kvstore.txn.primary import UNDONE_ASK_AFTER_MS
from kvstore.txn.records import Finished, payload_of
from kvstore.txn.transactions import KEY_WAIT_MS

TXN = named("t", primary=PID)
TTL_MS = 5000


@pytest.fixture
def story() -> Story:
    """n1 leads the primary, n2 the participant; neither is told who leads the other."""
    story = Story(pids=(PID, ELSEWHERE))
    story.lead()
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


@pytest.fixture
def n2(story: Story) -> StoryNode:
    return story.n2


def leader_of(node: StoryNode, pid: int) -> Leader:
    leader = node.partitions.by_pid[pid].leader
    assert leader is not None
    return leader


def both_prepared(story: Story) -> Vote:
    return prepared(story, story.n2, TXN, part(put(b"theirs")), ELSEWHERE)


def committed(story: Story) -> Vote:
    """The decision is durable, and the coordinator dies before it tells the participant."""
    vote = both_prepared(story)
    transact(story.n1, "t", TXN, part(put(b"ours")), vote)
    story.settle()
    return vote


def pass_by(story: Story, ms: int) -> None:
    """Time passes, and all goes its way."""
    for _ in range(ms // TICK_MS):
        story.pass_ms(TICK_MS)
        for node in story.nodes.values():
            node.tick()
        story.settle()


def read(node: StoryNode, key: bytes, ticket: str = "r") -> Any:
    asked = ReadOne(ELSEWHERE, ver(node, ELSEWHERE), key)
    return plain(node.partitions.reads.plain(ticket, asked, node.engine.snapshot(), node._story.now))


def in_doubt(node: StoryNode) -> set[TxnName]:
    return set(leader_of(node, ELSEWHERE).txns.participant.held)


# ---- decisions that were missed ---------------------------------------------------------------------------------


def test_a_participant_in_doubt_asks_a_second_after_the_transactions_time(story: Story, n2: StoryNode) -> None:
    committed(story)
    pass_by(story, TTL_MS + ASK_AFTER_MS - 200)
    assert in_doubt(n2) == {TXN}
    pass_by(story, 400)
    assert not in_doubt(n2)
    assert read(n2, b"theirs") == b"new"


def test_where_nobody_decided_the_primary_decides_abort(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = both_prepared(story)
    pass_by(story, TTL_MS + ASK_AFTER_MS + 2 * ASK_AGAIN_MS + 200)
    assert not in_doubt(n2)
    assert read(n2, b"theirs") is None
    transact(n1, "late", TXN, part(put(b"ours")), vote)
    story.settle()
    assert not n1.replies["late"].commits, "a coordinator that comes later finds that"


def test_no_lock_is_older_than_ten_seconds(story: Story, n2: StoryNode) -> None:
    both_prepared(story)
    pass_by(story, 3000)
    assert n2.partitions.doubts.ages_ms() == [3000]
    pass_by(story, 7000)
    assert n2.partitions.doubts.ages_ms() == []


def test_a_question_that_is_lost_is_asked_again(story: Story, n2: StoryNode) -> None:
    committed(story)
    for _ in range((TTL_MS + ASK_AFTER_MS) // TICK_MS):
        story.pass_ms(TICK_MS)
        n2.tick()
        story.n1.tick()
        n2.sent = [send for send in n2.sent if not isinstance(send.body, ResolveTxns)]
        story.settle()
    assert in_doubt(n2) == {TXN}
    pass_by(story, ASK_AGAIN_MS + TICK_MS)
    assert not in_doubt(n2)


def test_who_waits_to_read_has_the_decision_asked_for_long_before(story: Story, n2: StoryNode) -> None:
    committed(story)
    assert read(n2, b"theirs") is LATER
    n2.retry()
    story.pass_ms(KEY_WAIT_MS // 2)
    n2.retry()
    story.settle()
    assert plain(n2.replies["r"]) == b"new"


def test_before_its_time_is_over_who_waits_ends_no_transaction(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = both_prepared(story)
    read(n2, b"theirs")
    n2.retry()
    story.pass_ms(KEY_WAIT_MS // 2)
    n2.retry()
    story.settle()
    assert in_doubt(n2) == {TXN}
    transact(n1, "t", TXN, part(put(b"ours")), vote)
    story.settle()
    assert n1.replies["t"].commits


def test_a_prepare_that_was_held_up_beyond_the_end_is_aborted_never_carried_out_again(
    story: Story, n1: StoryNode, n2: StoryNode
) -> None:
    vote = committed(story)
    finish(n2, "f", vote, TXN)
    story.settle(apply=True)
    story.restart(n2)  # what it remembers without a record is gone
    pass_by(story, 8000)
    late = n2 if n2.partitions.by_pid[ELSEWHERE].leader is not None else n1
    prepare(late, "late", TXN, part(put(b"theirs", b"again")), ELSEWHERE)
    story.settle()
    assert vote_of(late, "late").seq != vote.seq
    pass_by(story, TTL_MS + ASK_AFTER_MS + 2 * ASK_AGAIN_MS + 200)
    assert not in_doubt(late)
    assert read(late, b"theirs") == b"new"


def test_a_decision_that_is_not_durable_is_not_told(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = both_prepared(story)
    transact(n1, "t", TXN, part(put(b"ours")), vote)
    ask = ResolveTxns([InDoubt(TXN, ELSEWHERE, vote.epoch, vote.seq, False)])
    n1.receive("n2", ask)
    assert not [send for send in n1.sent if isinstance(send.body, TxnsResolved)]
    story.settle()
    n1.receive("n2", ask)
    assert [send.body for send in n1.sent if isinstance(send.body, TxnsResolved)]


def test_primary_and_participant_on_one_node_settle_without_a_message(story: Story, n1: StoryNode) -> None:
    alone = Story(nodes=1, pids=(PID, ELSEWHERE))
    alone.lead()
    committed_alone(alone)
    pass_by(alone, TTL_MS + ASK_AFTER_MS + 200)
    assert not in_doubt(alone.n1)
    assert read(alone.n1, b"theirs") == b"new"


def committed_alone(story: Story) -> None:
    vote = prepared(story, story.n1, TXN, part(put(b"theirs")), ELSEWHERE)
    transact(story.n1, "t", TXN, part(put(b"ours")), vote)
    story.settle()


def test_a_node_that_leads_neither_says_nothing(story: Story, n2: StoryNode) -> None:
    vote = both_prepared(story)
    story.drop()
    n2.receive("n1", ResolveTxns([InDoubt(TXN, ELSEWHERE, vote.epoch, vote.seq, True)]))
    n2.receive("n1", AskFinished([InDoubt(TXN, PID, 1, 1, False)]))
    assert not n2.sent


# ---- ends that were not reported --------------------------------------------------------------------------------


def test_a_commit_is_forgotten_when_the_coordinator_reports(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = committed(story)
    finish(n2, "f", vote, TXN)
    story.settle()
    n1.receive("gateway", TxnsFinished([TXN]))
    n1.tick()
    story.settle(apply=True)
    assert not leader_of(n1, PID).txns.primary._undone


def test_a_primary_asks_who_has_finished_when_nobody_reports(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = committed(story)
    finish(n2, "f", vote, TXN)
    pass_by(story, UNDONE_ASK_AFTER_MS - 200)
    assert leader_of(n1, PID).txns.primary._undone
    pass_by(story, 600)
    assert not leader_of(n1, PID).txns.primary._undone


def test_who_has_not_finished_durably_does_not_say_so(story: Story, n2: StoryNode) -> None:
    vote = committed(story)
    asked = AskFinished([InDoubt(TXN, ELSEWHERE, vote.epoch, vote.seq, False)])
    story.drop()
    n2.receive("n1", asked)
    finish(n2, "f", vote, TXN)
    n2.receive("n1", asked)
    n2.batch()
    n2.receive("n1", asked)
    assert not [send for send in n2.sent if isinstance(send.body, PartsFinished)]
    story.settle()
    n2.receive("n1", asked)
    assert [send.body for send in n2.sent] == [PartsFinished(asked.parts)]


# ---- operators --------------------------------------------------------------------------------------------------


def test_what_is_prepared_is_listed_with_its_age_and_its_keys(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = both_prepared(story)
    story.pass_ms(700)
    (one,) = n2.partitions.doubts.listed(ListPrepared(), story.now).txns
    assert (one.txn, one.pid, one.age_ms, one.keys) == (TXN, ELSEWHERE, 700, [b"theirs"])
    assert (one.epoch, one.seq) == (vote.epoch, vote.seq)
    assert n1.partitions.doubts.listed(ListPrepared(), story.now).txns == []
    assert n2.partitions.doubts.listed(ListPrepared(named("other")), story.now).txns == []


@pytest.mark.parametrize("commits", [True, False])
def test_an_operators_word_stands_in_for_a_decision_that_is_lost(story: Story, n2: StoryNode, commits: bool) -> None:
    both_prepared(story)
    forced = ForceFinish(ELSEWHERE, ver(n2, ELSEWHERE), TXN, commits, commits)
    assert n2.call("force", forced) is LATER
    story.settle()
    assert n2.replies["force"] == Done()
    assert read(n2, b"theirs") == (b"new" if commits else None)
    finished = [
        payload
        for held in n2.partitions.by_pid[ELSEWHERE].copy.log.held_after(0)
        for _, record, _ in held.changes
        if isinstance(payload := payload_of(record), Finished)
    ]
    assert [one.by_operator for one in finished] == [True]
    assert n2.call("again", forced) == Done()


# ---- leaders that are none --------------------------------------------------------------------------------------


def test_calls_are_refused_by_who_does_not_lead(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    assert code(prepare(n1, "p", TXN, part(put(b"k")), ELSEWHERE)) == "no_leader"
    assert code(abort(n2, "a", TXN)) == "no_leader"
    assert code(n1.call("f", FinishTxn(99, 1, TXN, 1, 1, True, True))) == "no_leader"


def test_who_waits_for_a_lock_is_sent_away_when_the_leadership_ends(story: Story, n2: StoryNode) -> None:
    both_prepared(story)
    prepare(n2, "waits", named("u", primary=PID), part(put(b"theirs")), ELSEWHERE)
    n2.perform(n2.partitions.by_pid[ELSEWHERE].resign())
    assert code(n2.replies["waits"]) == "no_leader"
    n2.retry()
    assert not n2.partitions.doubts.are_waiting
