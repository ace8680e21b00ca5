"""A partition's part in transactions that another one decides: the locks, the vote, and the end.

Guarantees: a vote of yes leaves when its record is committed, and from then on all keys stay locked until the record of
the end is appended, and those that may change hidden until it is committed; what is prepared ends by the primary's
decision alone (I9), for the very record it rests on; a new leader has all of it before it serves. Leaves to others: who
waits and for how long (`transactions`), the decision (`primary`). Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Callable

from kvstore.instant import Instant
from kvstore.messages import Done, Fault, FinishTxn, InDoubt, Prepare, PreparedTxn, Resolved, TxnName, Vote, Voted
from kvstore.replication.answers import Later
from kvstore.replication.copy import Copy
from kvstore.storage.engine import Snapshot
from kvstore.txn.evaluate import Evaluation, keys_of, reads_much, writes_of
from kvstore.txn.locks import Locks
from kvstore.txn.log_end import HAS_ENDED, LogEnd
from kvstore.txn.records import Ended, Finished, Prepared
from kvstore.txn.state import tombstone_until

ASK_AFTER_MS = 1000
ASK_AGAIN_MS = 250
TAKEN_OVER_MS = 2000
RECENT_MAX = 4096

Latest = Callable[[bytes, Snapshot, Instant], Ended | None]

OTHER_RECORD = Fault("conflict", "the decision is about another prepare record")


class Held:
    """A prepared transaction at the log's end: from `seq` on, until the record `finish_seq` (0: none) is committed.

    Attributes:
        due_ms: when the primary is to give it up.
        asked_ms: when the decision was last asked for, None for never.
        is_wanted: somebody waits for one of its keys, or a former leader may have missed the decision.
    """

    __slots__ = ("asked_ms", "due_ms", "finish_seq", "is_wanted", "prepared")

    def __init__(self, prepared: Prepared, now: Instant) -> None:
        self.prepared = prepared
        self.due_ms = now.mono_ms + prepared.ttl_ms + ASK_AFTER_MS
        self.finish_seq = 0
        self.asked_ms: int | None = None
        self.is_wanted = False

    @property
    def seq(self) -> int:
        return self.prepared.vote.seq


class Participant:
    """Args: copy: the leader's own; end: its log's end; locks: of the partition; latest: what is known of a token."""

    def __init__(self, copy: Copy, end: LogEnd, locks: Locks, latest: Latest, now: Instant) -> None:
        self.held: dict[TxnName, Held] = {}
        self.hidden: dict[bytes, TxnName] = {}
        self._copy = copy
        self._end = end
        self._locks = locks
        self._latest = latest
        self._recent: dict[TxnName, int] = {}
        for prepared in copy.txns.prepared.values():
            self.take_prepared(prepared, now)
            self.hide(prepared)

    # ---- the log ------------------------------------------------------------------------------------------------

    def take_over(self, now: Instant) -> None:
        """All that a former leader left is here: it may have missed decisions, and nobody knows how long ago. In the
        time that a change of leader takes a coordinator that lives has decided, or soon will."""
        for held in self.held.values():
            held.is_wanted = True
            held.due_ms = min(held.due_ms, now.mono_ms + TAKEN_OVER_MS)

    def take_prepared(self, prepared: Prepared, now: Instant) -> None:
        """A prepare record joined the log's end."""
        self.held[prepared.txn] = Held(prepared, now)
        self._locks.take(prepared.txn, prepared.keys)

    def hide(self, prepared: Prepared) -> None:
        """A prepare record is committed: from now on it may be decided what becomes of its keys."""
        for key in prepared.written:
            self.hidden[key] = prepared.txn

    def take_finished(self, finished: Finished, seq: int) -> None:
        """A finish record joined the log's end."""
        self._recent[finished.txn] = seq
        if len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]
        held = self.held.get(finished.txn)
        if held is not None:
            held.finish_seq = seq
            self._locks.release(finished.txn, held.prepared.keys)

    def end(self, finished: Finished) -> None:
        """A finish record is committed: its keys may be shown again."""
        held = self.held.pop(finished.txn, None)
        for key in () if held is None else held.prepared.written:
            if self.hidden.get(key) == finished.txn:
                del self.hidden[key]

    # ---- prepare ------------------------------------------------------------------------------------------------

    def known(self, ticket: object, asked: Prepare, view: Snapshot, now: Instant) -> Voted | Fault | Later | None:
        """The answer to a transaction that came before, None for one that is new."""
        name = asked.txn
        held = self.held.get(name)
        if held is not None:
            return HAS_ENDED if held.finish_seq else self._end.answer(ticket, held.seq, Voted(held.prepared.vote), now)
        if self._has_ended(name, view, now):
            return HAS_ENDED
        for former in [one for one in self.held if one.token == name.token]:
            if former.attempt > name.attempt:
                return HAS_ENDED
            # Whoever makes an attempt has seen that the one before is durably aborted. One under another primary, from
            # before keys changed their partition, may be committed: its locks have to be waited for.
            if former.primary == name.primary and not self.held[former].finish_seq:
                self._finish(former, False, False, view, now)
        return None

    def prepare(
        self, ticket: object, asked: Prepare, view: Snapshot, now: Instant, full: bool
    ) -> Voted | Fault | Later:
        """Vote; the keys are free."""
        end = self._end
        refusal = end.refusal(writes_of(asked.part), full)
        if refusal is not None:
            return refusal
        keys = keys_of(asked.part)
        rows = {key: end.live_row(key, view, now) for key in keys}
        pid, seq, time_ms = self._copy.name.pid, end.next_seq, end.time_ms(now)
        evaluation = Evaluation(asked.part, rows.__getitem__, (pid, end.epoch, seq), time_ms)
        then, then_branch = evaluation.branch(True)
        otherwise, other_branch = evaluation.branch(False)
        refusal = end.refusal(reads_much(then_branch, other_branch), full)
        if refusal is not None:
            return refusal
        vote = Vote(pid, end.epoch, seq, evaluation.holds, then_branch, other_branch)
        end.propose_txn(Prepared(asked.txn, keys, then, otherwise, vote, time_ms, asked.ttl_ms), now)
        return end.answer_at(seq, ticket, Voted(vote))

    # ---- the end ------------------------------------------------------------------------------------------------

    def finish(self, ticket: object, asked: FinishTxn, view: Snapshot, now: Instant) -> Done | Fault | Later:
        """The coordinator tells the decision."""
        held = self.held.get(asked.txn)
        if held is None:
            return self._finish_unknown(ticket, asked, view, now)
        if asked.commits and held.prepared.at != (asked.epoch, asked.seq):
            return OTHER_RECORD
        seq = held.finish_seq or self._finish(asked.txn, asked.commits, asked.then, view, now)
        return self._end.answer(ticket, seq, Done(), now)

    def _finish_unknown(self, ticket: object, asked: FinishTxn, view: Snapshot, now: Instant) -> Done | Fault | Later:
        """An abort that may be ahead of its PREPARE leaves a tombstone."""
        end, name = self._end, asked.txn
        if asked.commits or self._has_ended(name, view, now):
            return end.answer(ticket, self._recent.get(name, 0), Done(), now)
        until_ms = tombstone_until(name, self._latest(name.token, view, now), end.time_ms(now))
        return end.answer_at(end.propose_txn(Finished(name, 0, 0, False, until_ms=until_ms), now), ticket, Done())

    def _has_ended(self, name: TxnName, view: Snapshot, now: Instant) -> bool:
        """Whether nothing is prepared any more under this name: it has ended, or any attempt was committed."""
        ended = self._latest(name.token, view, now)
        is_over = ended is not None and (ended.commits or ended.txn.attempt >= name.attempt)
        return name in self._recent or is_over

    def resolve(self, outcome: Resolved, view: Snapshot, now: Instant) -> None:
        """The primary tells what becomes of a record."""
        held = self.held.get(outcome.txn)
        if held is not None and not held.finish_seq and held.prepared.at == (outcome.epoch, outcome.seq):
            self._finish(outcome.txn, outcome.commits, outcome.then, view, now)

    def force(
        self, ticket: object, name: TxnName, commits: bool, then: bool, view: Snapshot, now: Instant
    ) -> Done | Fault | Later:
        """An operator decides."""
        held = self.held.get(name)
        if held is None:
            return self._end.answer(ticket, 0, Done(), now)
        seq = held.finish_seq or self._finish(name, commits, then, view, now, by_operator=True)
        return self._end.answer(ticket, seq, Done(), now)

    def _finish(
        self, name: TxnName, commits: bool, then: bool, view: Snapshot, now: Instant, by_operator: bool = False
    ) -> int:
        prepared, end = self.held[name].prepared, self._end
        effects = prepared.effects(then) if commits else []
        until_ms = 0 if commits else tombstone_until(name, self._latest(name.token, view, now), end.time_ms(now))
        return end.propose_txn(Finished(name, *prepared.at, commits, effects, by_operator, until_ms), now)

    # ---- in doubt -----------------------------------------------------------------------------------------------

    def want(self, names: set[TxnName]) -> None:
        """Somebody waits for these."""
        for name in names:
            held = self.held.get(name)
            if held is not None:
                held.is_wanted = True

    def due(self, now: Instant) -> list[InDoubt]:
        """The decisions to ask for now."""
        asks = []
        for name, held in self.held.items():
            prepared = held.prepared
            if held.finish_seq or held.seq > self._copy.commit_seq:
                continue
            is_due = now.mono_ms >= held.due_ms
            is_rested = held.asked_ms is None or now.mono_ms - held.asked_ms >= ASK_AGAIN_MS
            if (is_due or held.is_wanted) and is_rested:
                held.asked_ms, held.is_wanted = now.mono_ms, False
                asks.append(InDoubt(name, self._copy.name.pid, *prepared.at, is_due))
        return asks

    def has_finished(self, part: InDoubt) -> bool:
        """Whether that prepare record, on which a decision to commit rests, is carried out: nothing else ends it."""
        held = self.held.get(part.txn)
        return held is None or held.prepared.at != (part.epoch, part.seq)

    @property
    def changing(self) -> set[bytes]:
        """The keys that what is prepared at the log's end may change."""
        return {key for held in self.held.values() for key in held.prepared.written}

    def listed(self, now: Instant) -> list[PreparedTxn]:
        """What is prepared."""
        pid, time_ms = self._copy.name.pid, self._end.time_ms(now)
        return [
            PreparedTxn(name, pid, *held.prepared.at, max(0, time_ms - held.prepared.time_ms), held.prepared.keys)
            for name, held in self.held.items()
            if not held.finish_seq
        ]
