"""A coordinator among partitions that answer when a test says so.

The key `a…` is in partition 1, `b…` in partition 2, and so on; partition N is led by node `nN`.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from cluster.txn.coordinator import Coordinator
from cluster.txn.effects import AllFinished, Answer, Effect
from cluster.txn.exchange import Ask, Exchanges
from cluster.txn.parts import parts_of
from cluster.txn.transaction import Transaction, TxnOutcome
from kvstore.errors import KvError
from kvstore.map_values import Entry, Rid
from kvstore.messages import (
    AbortTxn,
    Body,
    Done,
    Failed,
    Fault,
    FinishTxn,
    OpKind,
    Prepare,
    ResolveTxns,
    Transact,
    Transacted,
    TxnBranch,
    TxnIf,
    TxnName,
    TxnOp,
    TxnPart,
    TxnResult,
    Vote,
    Voted,
)

Kind = TypeVar("Kind", bound=Body)

OWN = TxnName(1, b"own-".ljust(16, b"."), 1)
CLIENTS = TxnName(1, b"clients-".ljust(32, b"."), 1)
PRIMARY = 1
BYTES_MAX = 1000


def pid_of(key: bytes) -> int:
    return key[0] - ord("a") + 1


def led_by(pid: int, node: str | None, ver: int = 1) -> Entry:
    leader = None if node is None else Rid(node, node.encode().ljust(16, b"."))
    copies = (leader or Rid("n1", b"1" * 16),)
    return Entry(pid, "default", ver, ver, leader, copies, copies)


def puts(*keys: str) -> tuple[TxnOp, ...]:
    return tuple(TxnOp(index, OpKind.PUT, key.encode(), b"v") for index, key in enumerate(keys))


def exists(*keys: str) -> tuple[TxnIf, ...]:
    return tuple(TxnIf(key.encode(), exists=True) for key in keys)


def transaction(*keys: str, conditions: tuple[str, ...] = (), otherwise: tuple[str, ...] = ()) -> Transaction:
    return Transaction("default", exists(*conditions), puts(*keys), puts(*otherwise))


def results_of(pid: int, operations: list[TxnOp] | tuple[TxnOp, ...], text: str = "") -> list[TxnResult]:
    """Those of the operations that are in the partition."""
    return [
        TxnResult(operation.index, 200, etag=text + operation.key.decode())
        for operation in operations
        if pid_of(operation.key) == pid
    ]


def vote_on(part: TxnPart, pid: int, *, holds: bool = True, seq: int = 9, **changes: TxnBranch) -> Vote:
    branches = {"then": results_of(pid, part.then), "otherwise": results_of(pid, part.otherwise)}
    vote = Vote(pid, 1, seq, holds, TxnBranch(branches["then"]), TxnBranch(branches["otherwise"]))
    return msgspec.structs.replace(vote, **changes)


class Story:
    """`asks` are the calls under way, `results` what the client was told, `complete` what the primary is to hear of."""

    def __init__(self, asked: Transaction, name: TxnName = OWN, *, timeout_s: float = 5.0) -> None:
        self.asked = asked
        self.end_s = 100.0 + timeout_s
        self.entries = {pid: led_by(pid, f"n{pid}") for pid in range(1, 6)}
        self.away: set[str] = set()
        self.now_s = 100.0
        self.asks: list[Ask] = []
        self.results: list[TxnOutcome | KvError] = []
        self.complete: list[TxnName] = []
        self.coordinator = Coordinator(
            asked,
            name,
            parts_of(asked, lambda _, key: self.entries[pid_of(key)]),
            Exchanges(self.entries.get, self.away.__contains__, lambda: 0.5, dict.fromkeys(self.entries, 0)),
            timeout_s=timeout_s,
            answer_bytes_max=BYTES_MAX,
        )

    def start(self) -> Story:
        self._carry_out(self.coordinator.start(self.now_s))
        return self

    # ---- what is under way --------------------------------------------------------------------------------------

    def asked_of(self, kind: type[Kind]) -> dict[int, Kind]:
        """The questions of a kind under way, by partition."""
        return {ask.exchange.pid: ask.body for ask in self.asks if isinstance(ask.body, kind)}

    @property
    def under_way(self) -> list[str]:
        return sorted(f"{type(ask.body).__name__} {ask.exchange.pid}" for ask in self.asks)

    @property
    def result(self) -> TxnOutcome | KvError | None:
        assert len(self.results) <= 1, "a client is told once"
        return self.results[0] if self.results else None

    @property
    def committed(self) -> TxnOutcome:
        assert isinstance(self.result, TxnOutcome), self.result
        return self.result

    @property
    def code(self) -> str:
        assert isinstance(self.result, KvError), self.result
        return self.result.code

    # ---- what happens -------------------------------------------------------------------------------------------

    def answer(self, kind: type[Body], pid: int, body: Body) -> None:
        ask = self._taken(kind, pid)
        self._carry_out(self.coordinator.answered(ask, body, self.now_s))

    def refuse(self, kind: type[Body], pid: int, code: str) -> None:
        self.answer(kind, pid, Failed(Fault(code, f"partition {pid}: {code}")))

    def lose(self, kind: type[Body], pid: int) -> None:
        ask = self._taken(kind, pid)
        self._carry_out(self.coordinator.lost(ask, "lost", self.now_s))

    def fail_to_send(self, kind: type[Body], pid: int) -> None:
        ask = self._taken(kind, pid)
        self._carry_out(self.coordinator.not_sent(ask, "no connection", self.now_s))

    def vote(self, pid: int, *, holds: bool = True, seq: int = 9, **changes: TxnBranch) -> None:
        part = self.asked_of(Prepare)[pid].part
        self.answer(Prepare, pid, Voted(vote_on(part, pid, holds=holds, seq=seq, **changes)))

    def told(self, *, commits: bool, then: bool = True, is_new: bool = True, **changes: object) -> Transacted:
        """What the primary says to the question that is under way."""
        (question,) = (self.asked_of(Transact) | self.asked_of(AbortTxn)).values()
        branch = self.asked.then if then else self.asked.otherwise
        told = Transacted(question.txn, commits, then, is_new, results_of(PRIMARY, branch) if commits else [])
        return msgspec.structs.replace(told, **changes)

    def decide(self, *, commits: bool, then: bool = True, is_new: bool = True, **changes: object) -> None:
        kind = Transact if self.asked_of(Transact) else AbortTxn
        self.answer(kind, PRIMARY, self.told(commits=commits, then=then, is_new=is_new, **changes))

    def finish_all(self) -> None:
        for pid in self.asked_of(FinishTxn):
            self.answer(FinishTxn, pid, Done())

    def pass_time(self, seconds: float) -> None:
        """Time goes by, and nothing happens but pauses that end."""
        end_s = self.now_s + seconds
        while (wake_s := self.coordinator.wake_s) is not None and wake_s <= end_s:
            self.now_s = max(self.now_s, wake_s)
            self._carry_out(self.coordinator.tick(self.now_s))
        self.now_s = end_s

    def lead(self, pid: int, node: str | None) -> None:
        """The map has a newer entry."""
        self.entries[pid] = led_by(pid, node, self.entries[pid].ver + 1)
        self.hear_of(pid)

    def hear_of(self, *pids: int) -> None:
        """News of these entries, at once."""
        self._carry_out(self.coordinator.entries_changed(pids, self.now_s))

    def _taken(self, kind: type[Body], pid: int) -> Ask:
        (ask,) = [ask for ask in self.asks if isinstance(ask.body, kind) and ask.exchange.pid == pid]
        self.asks.remove(ask)
        return ask

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Ask):
                assert effect.node == f"n{effect.exchange.pid}" or effect.node in self.away or "x" in effect.node
                assert effect.timeout_s > 0
                if not isinstance(effect.body, FinishTxn | ResolveTxns):
                    assert self.now_s + effect.timeout_s <= self.end_s
                self.asks.append(effect)
            elif isinstance(effect, Answer):
                self.results.append(effect.result)
            else:
                assert isinstance(effect, AllFinished)
                self.complete.append(effect.txn)
