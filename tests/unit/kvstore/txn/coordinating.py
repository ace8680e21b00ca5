"""What a coordinator says, word by word, for stories of nodes.

Partition `PID` takes part in transactions whose primary is `ELSEWHERE`, or decides those whose primary it is.
"""

from __future__ import annotations

from typing import Any

from unit.kvstore.story import PID, Story, StoryNode

from kvstore.instant import Instant
from kvstore.messages import (
    AbortTxn,
    AskTxn,
    FinishTxn,
    OpKind,
    Prepare,
    Transact,
    TxnBranch,
    TxnIf,
    TxnName,
    TxnOp,
    TxnPart,
    Vote,
    Voted,
)

ELSEWHERE = 2
BOTH = (PID, ELSEWHERE)


def named(letter: str, attempt: int = 1, primary: int = ELSEWHERE, is_clients: bool = False) -> TxnName:
    """A transaction; a client's token is scope and fingerprint."""
    return TxnName(primary, letter.encode() * (32 if is_clients else 16), attempt)


def put(key: bytes, value: bytes = b"new", index: int = 0, **fields: Any) -> TxnOp:
    return TxnOp(index, OpKind.PUT, key, value, **fields)


def get(key: bytes, index: int = 0) -> TxnOp:
    return TxnOp(index, OpKind.GET, key)


def delete(key: bytes, index: int = 0) -> TxnOp:
    return TxnOp(index, OpKind.DELETE, key)


def incr(key: bytes, by: int = 1, index: int = 0) -> TxnOp:
    return TxnOp(index, OpKind.INCR, key, by=by)


def part(*then: TxnOp, conditions: list[TxnIf] | None = None, otherwise: list[TxnOp] | None = None) -> TxnPart:
    return TxnPart(conditions or [], list(then), otherwise or [])


def prepare(node: StoryNode, ticket: str, txn: TxnName, asked: TxnPart, pid: int = PID) -> Any:
    return node.call(ticket, Prepare(pid, ver(node, pid), txn, asked))


def vote_of(node: StoryNode, ticket: str) -> Vote:
    voted = node.replies[ticket]
    assert isinstance(voted, Voted), voted
    return voted.vote


def transact(node: StoryNode, ticket: str, txn: TxnName, asked: TxnPart, *votes: Vote, pid: int = PID) -> Any:
    return node.call(ticket, Transact(pid, ver(node, pid), txn, asked, list(votes)))


def abort(node: StoryNode, ticket: str, txn: TxnName, pid: int = PID) -> Any:
    return node.call(ticket, AbortTxn(pid, ver(node, pid), txn))


def ask(node: StoryNode, ticket: str, txn: TxnName, pid: int = PID) -> Any:
    return node.call(ticket, AskTxn(pid, ver(node, pid), txn))


def finish(node: StoryNode, ticket: str, vote: Vote, txn: TxnName, commits: bool = True, then: bool = True) -> Any:
    told = FinishTxn(vote.pid, ver(node, vote.pid), txn, vote.epoch, vote.seq, commits, then)
    return node.call(ticket, told)


def prepared(story: Story, node: StoryNode, txn: TxnName, asked: TxnPart, pid: int = PID) -> Vote:
    """The transaction is prepared, and its record committed."""
    ticket = f"prepare {txn.token.hex()[:2]} {txn.attempt}"
    prepare(node, ticket, txn, asked, pid)
    story.settle()
    return vote_of(node, ticket)


def elsewhere(seq: int = 7, holds: bool = True) -> Vote:
    """The vote of another participant."""
    return Vote(ELSEWHERE, 1, seq, holds, TxnBranch([]), TxnBranch([]))


def wall_passes(story: Story, ms: int) -> None:
    """So much time of the log, and none by which leases and graces end."""
    story.now = Instant(story.now.mono_ms, story.now.wall_ms + ms)


def ver(node: StoryNode, pid: int = PID) -> int:
    partition = node.partitions.get(pid)
    assert partition is not None
    return partition.ver
