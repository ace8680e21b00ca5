"""Messages of transactions that come twice, by two gateways or late."""

from __future__ import annotations

from typing import Any

import pytest
from unit.kvstore.story import PID, Story, StoryNode

from kvstore.doubts import TxnCall
from kvstore.effects import Effect
from kvstore.messages import (
    Done,
    FinishTxn,
    OpKind,
    Prepare,
    Transact,
    Transacted,
    TxnBranch,
    TxnName,
    TxnOp,
    TxnPart,
    Vote,
    Voted,
)
from kvstore.replication.answers import LATER
from kvstore.storage.records import RecordType
from kvstore.txn.log_end import HAS_ENDED, LOCK_WAIT_MS

ELSEWHERE = 2
PART = TxnPart([], [TxnOp(0, OpKind.PUT, b"a", b"new")], [])
OURS = TxnName(PID, b"t" * 32, 1)
VOTES = [Vote(ELSEWHERE, 1, 5, True, TxnBranch([]), TxnBranch([]))]


@pytest.fixture
def n1() -> StoryNode:
    return Story(nodes=1).lead()


def ask(node: StoryNode, ticket: str, asked: TxnCall) -> Any:
    story = node._story
    return node.partitions.doubts.call(ticket, asked, node.engine.snapshot(), story.now, False)


def go_on(node: StoryNode) -> None:
    """Those who wait for locks do, where they can."""
    effects: list[Effect] = node.partitions.doubts.retry(node.engine.snapshot(), node._story.now, False)
    node.perform(effects)


def prepare(node: StoryNode, ticket: str, name: TxnName) -> Any:
    return ask(node, ticket, Prepare(PID, node.partition.ver, name, PART))


def finish(node: StoryNode, ticket: str, name: TxnName, commits: bool) -> Any:
    epoch, seq = node.leader.txns.participant.held[name].prepared.at
    return ask(node, ticket, FinishTxn(PID, node.partition.ver, name, epoch, seq, commits, commits))


def records(node: StoryNode, kind: RecordType) -> int:
    return sum(record.type == kind for held in node.partition.copy.log.held_after(0) for _, record, _ in held.changes)


def test_who_asks_again_is_told_of_the_commit_when_others_took_the_locks_meanwhile(n1: StoryNode) -> None:
    holder, other = (TxnName(ELSEWHERE, bytes([letter]) * 16, 1) for letter in b"ho")
    prepare(n1, "holder", holder)
    n1.batch()
    transact = Transact(PID, n1.partition.ver, OURS, PART, VOTES)
    ask(n1, "one gateway", transact)
    prepare(n1, "other", other)
    ask(n1, "another gateway", transact)
    finish(n1, "finish", holder, commits=False)
    go_on(n1)
    n1._story.pass_ms(LOCK_WAIT_MS)
    go_on(n1)
    n1.batch()
    told = n1.replies["one gateway"], n1.replies["another gateway"]
    assert all(isinstance(one, Transacted) and one.commits for one in told)
    assert records(n1, RecordType.DECIDE) == 1


def test_a_vote_is_told_to_who_waited_for_the_locks_that_it_holds(n1: StoryNode) -> None:
    holder, other = (TxnName(ELSEWHERE, bytes([letter]) * 16, 1) for letter in b"ho")
    prepare(n1, "holder", holder)
    n1.batch()
    prepare(n1, "one", other)
    prepare(n1, "again", other)
    finish(n1, "finish", holder, commits=False)
    go_on(n1)
    n1._story.pass_ms(LOCK_WAIT_MS)
    go_on(n1)
    n1.batch()
    assert isinstance(n1.replies["one"], Voted)
    assert n1.replies["again"] == n1.replies["one"]


def test_an_attempt_that_is_being_ended_is_not_ended_again_by_the_next_one(n1: StoryNode) -> None:
    first, second = (TxnName(ELSEWHERE, b"t" * 32, attempt) for attempt in (1, 2))
    prepare(n1, "first", first)
    n1.batch()
    finish(n1, "finish", first, commits=False)
    prepare(n1, "second", second)
    n1.batch()
    assert isinstance(n1.replies["second"], Voted)
    assert records(n1, RecordType.FINISH) == 1


def test_a_prepare_that_comes_right_behind_the_word_of_the_abort_is_not_prepared(n1: StoryNode) -> None:
    name = TxnName(ELSEWHERE, b"t" * 16, 1)
    ask(n1, "abort", FinishTxn(PID, n1.partition.ver, name, 0, 0, False, False))
    assert prepare(n1, "prepare", name) == HAS_ENDED
    n1.batch()
    assert n1.replies["abort"] == Done()
    assert records(n1, RecordType.PREPARE) == 0


def test_who_asks_again_for_the_end_hears_of_it_when_it_is_durable(n1: StoryNode) -> None:
    finish_txn = FinishTxn(PID, n1.partition.ver, TxnName(ELSEWHERE, b"t" * 16, 1), 0, 0, False, False)
    ask(n1, "first", finish_txn)
    assert ask(n1, "again", finish_txn) is LATER
    n1.batch()
    assert n1.replies["again"] == Done()
    assert records(n1, RecordType.FINISH) == 1
