"""The decisions of a partition on transactions whose smallest key it holds.

Guarantees: a transaction is decided once, by the first record that says how; what was decided is told when that record
is committed, and is found again as long as it is kept; who asks for a record that a commit does not rest on is told
that it is aborted. Leaves to others: who waits for locks (`transactions`), what participants do (`participant`).
Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections import deque

from kvstore.instant import Instant
from kvstore.messages import (
    SCOPE_BYTES,
    Fault,
    InDoubt,
    Resolved,
    Transact,
    Transacted,
    TxnBranch,
    TxnKnown,
    TxnName,
    TxnResult,
)
from kvstore.replication.answers import REUSED, Later
from kvstore.replication.copy import Copy
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.storage.engine import Snapshot
from kvstore.txn.evaluate import TOO_MUCH, VALUES_BYTES_MAX, Evaluation, keys_of, reads_much, writes_of
from kvstore.txn.log_end import LogEnd
from kvstore.txn.records import Decided, Ended, Forgotten
from kvstore.txn.state import ended_of, joined, single_until

UNDONE_ASK_AFTER_MS = 10_000
UNDONE_ASK_AGAIN_MS = 5000
FORGET_MAX = 1000

GIVEN_UP_CODE = "given_up"
GIVEN_UP = Fault("txn_conflict", "the transaction's time was over")
OVER = Fault("txn_conflict", "a later attempt at the transaction was aborted")


class Primary:
    """Args: copy: the leader's own; end: its log's end; shared: by the node's leaders."""

    def __init__(self, copy: Copy, end: LogEnd, shared: NodeLeaders, now: Instant) -> None:
        self._shared = shared
        self._copy = copy
        self._end = end
        self._at_end: dict[bytes, tuple[int, Ended]] = {}
        self._unapplied: deque[tuple[int, bytes]] = deque()
        self._undone: dict[bytes, tuple[int, Ended]] = {}
        self._finished: dict[bytes, set[int]] = {}
        self._forgettable: dict[bytes, None] = {}
        for token, ended in copy.txns.undone.items():
            self._undone[token] = now.mono_ms, ended

    # ---- the log ------------------------------------------------------------------------------------------------

    def take_decided(self, decided: Decided, seq: int, now: Instant, time_ms: int) -> None:
        """A decide record joined the log's end."""
        token = decided.txn.token
        ended = ended_of(decided, time_ms)
        self._at_end[token] = seq, ended
        self._unapplied.append((seq, token))
        if not ended.until_ms:
            self._undone[token] = now.mono_ms, ended

    def take_remembered(self, seq: int, ended: Ended) -> None:
        """The record `seq`, which joined the log's end, brings what another partition has decided, or leaves a
        tombstone."""
        self._at_end[ended.txn.token] = seq, ended
        self._unapplied.append((seq, ended.txn.token))

    def latest(self, token: bytes, view: Snapshot, now: Instant) -> Ended | None:
        """What is known of a token at the log's end: a decision, or the tombstone of an abort."""
        _, known = self._at_end.get(token, (0, None))
        return known or self._copy.txns.ended(token, view, self._end.time_ms(now))

    def news(self, ended: Ended, view: Snapshot, now: Instant) -> Ended | None:
        """What is to be remembered of a transaction as another partition remembers that; None where it is known."""
        known = self.latest(ended.txn.token, view, now)
        both = ended if known is None else joined(known, ended)
        return None if both == known else both

    def take_forgotten(self, forgotten: Forgotten) -> None:
        """A forget record joined the log's end."""
        for token in forgotten.tokens:
            self._undone.pop(token, None)
            self._finished.pop(token, None)
            self._forgettable.pop(token, None)

    def forget_applied(self, applied_seq: int) -> None:
        """Drop what the copy's own state now holds."""
        unapplied = self._unapplied
        while unapplied and unapplied[0][0] <= applied_seq:
            seq, token = unapplied.popleft()
            if self._at_end.get(token, (0, None))[0] == seq:
                del self._at_end[token]

    def _found(self, name: TxnName, view: Snapshot, now: Instant) -> tuple[int, Ended] | None:
        """What was decided under the token, at this attempt or a later one, or that any was committed, which no attempt
        comes after; and the record that says so, 0 where that is applied."""
        found = self._at_end.get(name.token)
        if found is None:
            ended = self._copy.txns.ended(name.token, view, self._end.time_ms(now))
            found = None if ended is None else (0, ended)
        if found is None or not (found[1].commits or found[1].txn.attempt >= name.attempt):
            return None
        return found

    # ---- deciding -----------------------------------------------------------------------------------------------

    def known(self, ticket: object, asked: Transact, view: Snapshot, now: Instant) -> Transacted | Fault | Later | None:
        """The answer to a transaction that is decided, or whose token stands for another one; None for one that is
        new."""
        found = self._found(asked.txn, view, now)
        if found is not None:
            return self._told(ticket, found, now)
        other = self._other(asked.txn, view, now) if asked.txn.is_clients else None
        if other is None:
            return None
        # That other one is forgotten some day: nothing may then come of what is prepared, which others finish by this.
        if asked.votes:
            return self._abort(ticket, asked.txn, REUSED, now)
        return self._end.answer(ticket, other, REUSED, now)

    def _other(self, name: TxnName, view: Snapshot, now: Instant) -> int | None:
        """The record by which another request committed under the same client's token."""
        scope = name.token[:SCOPE_BYTES]
        for token, (seq, ended) in self._at_end.items():
            if token[:SCOPE_BYTES] == scope and token != name.token and ended.commits:
                return seq
        stored = self._copy.txns.ended_in_scope(scope, view, self._end.time_ms(now))
        return 0 if any(one.commits and one.txn.token != name.token for one in stored) else None

    def _told(self, ticket: object, found: tuple[int, Ended], now: Instant) -> Transacted | Fault | Later:
        seq, ended = found
        # A tombstone does not say why.
        reason = Fault(ended.code, ended.detail) if ended.code else OVER
        fault = None if ended.commits else reason
        answer = Transacted(ended.txn, ended.commits, ended.then, False, ended.results, fault)
        return self._end.answer(ticket, seq, answer, now)

    def decide(self, ticket: object, asked: Transact, view: Snapshot, now: Instant, full: bool) -> Later | Fault:
        """Decide, and carry the primary's own part out; its keys are free."""
        end, part = self._end, asked.part
        refusal = end.refusal(writes_of(part), full)
        if refusal is not None:
            return refusal
        rows = {key: end.live_row(key, view, now) for key in keys_of(part)}
        seq = end.next_seq
        evaluation = Evaluation(part, rows.__getitem__, (self._copy.name.pid, end.epoch, seq), end.time_ms(now))
        then = evaluation.holds and all(vote.holds for vote in asked.votes)
        effects, branch = evaluation.branch(then)
        others = [vote.branch(then) for vote in asked.votes]
        fault = next((one.fault for one in (branch, *others) if one.fault is not None), None) or _too_much(
            others, branch
        )
        if fault is not None:
            return self.refuse(ticket, asked, fault, now)
        results = self._kept(asked.txn, branch.results, [result for one in others for result in one.results])
        refusal = end.refusal(reads_much(TxnBranch(results)), full)
        if refusal is not None:
            return refusal
        prepares = [(vote.pid, vote.epoch, vote.seq) for vote in asked.votes]
        until_ms = 0 if prepares else single_until(self.latest(asked.txn.token, view, now), end.time_ms(now))
        end.propose_txn(Decided(asked.txn, True, then, effects, prepares, results, until_ms=until_ms), now)
        return end.answer_at(seq, ticket, Transacted(asked.txn, True, then, True, branch.results))

    @staticmethod
    def _kept(name: TxnName, own: list[TxnResult], others: list[TxnResult]) -> list[TxnResult]:
        """Only a client may ask again without having the votes."""
        return sorted((*own, *others), key=lambda one: one.index) if name.is_clients else own

    def refuse(self, ticket: object, asked: Transact, fault: Fault, now: Instant) -> Later | Fault:
        """Abort: with a record where others are prepared."""
        return self._abort(ticket, asked.txn, fault, now) if asked.votes else fault

    def abort(self, ticket: object, name: TxnName, view: Snapshot, now: Instant) -> Transacted | Fault | Later:
        """The coordinator wants it aborted, unless it is decided."""
        found = self._found(name, view, now)
        if found is not None:
            return self._told(ticket, found, now)
        return self._abort(ticket, name, Fault("txn_conflict", "its coordinator aborted it"), now)

    def _abort(self, ticket: object, name: TxnName, fault: Fault, now: Instant) -> Later:
        seq = self._propose_abort(name, fault, now)
        return self._end.answer_at(seq, ticket, Transacted(name, False, False, True, [], fault))

    def _propose_abort(self, name: TxnName, fault: Fault, now: Instant) -> int:
        self._shared.aborted(GIVEN_UP_CODE if fault is GIVEN_UP else fault.code)
        return self._end.propose_txn(Decided(name, False, code=fault.code, detail=fault.detail), now)

    # ---- being asked --------------------------------------------------------------------------------------------

    def ask(self, ticket: object, name: TxnName, view: Snapshot, now: Instant) -> TxnKnown | Fault | Later:
        """What is known of a transaction; changes nothing."""
        found = self._found(name, view, now)
        seq, known = 0, TxnKnown(False)
        if found is not None and found[1].txn.attempt >= name.attempt:
            seq, ended = found
            known = TxnKnown(True, ended.commits and ended.txn == name, ended.then)
        return self._end.answer(ticket, seq, known, now)

    def resolve(self, ask: InDoubt, view: Snapshot, now: Instant) -> Resolved | None:
        """What becomes of a prepare record, where that is committed; None else, and where there is no decision yet."""
        found = self._found(ask.txn, view, now)
        if found is None:
            if ask.gives_up:
                self._propose_abort(ask.txn, GIVEN_UP, now)
            return None
        seq, ended = found
        if seq > self._copy.commit_seq:
            return None
        rests_on_it = (ask.pid, ask.epoch, ask.seq) in ended.prepares and ended.txn == ask.txn
        commits = ended.commits and rests_on_it
        return Resolved(ask.txn, ask.pid, ask.epoch, ask.seq, commits, ended.then and commits)

    # ---- until all have finished --------------------------------------------------------------------------------

    def all_finished(self, name: TxnName) -> None:
        """The coordinator says that all participants have carried the decision out."""
        known = self._undone.get(name.token)
        if known is not None and known[1].txn == name:
            self._forgettable[name.token] = None

    def part_finished(self, part: InDoubt) -> None:
        """A participant says so of itself."""
        known = self._undone.get(part.txn.token)
        if known is None or known[1].txn != part.txn:
            return
        finished = self._finished.setdefault(part.txn.token, set())
        finished.add(part.pid)
        if finished >= {pid for pid, _, _ in known[1].prepares}:
            self._forgettable[part.txn.token] = None

    def unfinished(self, now: Instant) -> list[InDoubt]:
        """The parts to ask about: of decisions that nobody reported for long."""
        asks = []
        for token, (since_ms, ended) in self._undone.items():
            if now.mono_ms - since_ms < UNDONE_ASK_AFTER_MS:
                break
            if token not in self._forgettable:
                asks += [InDoubt(ended.txn, *prepare, False) for prepare in ended.prepares]
        for token in {ask.txn.token for ask in asks}:
            ended = self._undone.pop(token)[1]
            self._undone[token] = now.mono_ms - UNDONE_ASK_AFTER_MS + UNDONE_ASK_AGAIN_MS, ended
        return asks

    def forget(self, now: Instant) -> None:
        """Note which decisions need not be kept for their participants."""
        tokens = [token for token in self._forgettable if self._is_committed(token)][:FORGET_MAX]
        if tokens:
            self._end.propose_txn(Forgotten(tokens), now)

    def _is_committed(self, token: bytes) -> bool:
        seq, _ = self._at_end.get(token, (0, None))
        return seq <= self._copy.commit_seq


def _too_much(others: list[TxnBranch], own: TxnBranch) -> Fault | None:
    """Whether the values that were read, of all partitions together, are more than one answer holds."""
    size = sum(len(result.value or b"") for branch in (own, *others) for result in branch.results)
    return TOO_MUCH if size > VALUES_BYTES_MAX else None
