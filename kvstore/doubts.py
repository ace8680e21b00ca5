"""Transactions of all partitions that a node leads: requests, who waits for locks, and how what is in doubt ends.

Guarantees: whoever waits is gone on with in the turn in which a lock is given up, or sent away in time; what is
prepared here and not decided is asked for, of all nodes, until somebody who leads the primary tells; no map is needed
for it. Leaves to others: what one partition does (`txn`). Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kvstore.effects import Effect, Send, SendAll, Wake
from kvstore.heat.node_heat import NodeHeat
from kvstore.instant import Instant
from kvstore.messages import (
    AbortTxn,
    AskFinished,
    AskTxn,
    Done,
    Fault,
    FinishTxn,
    ForceFinish,
    InDoubt,
    ListPrepared,
    PartsFinished,
    Prepare,
    PreparedTxns,
    Resolved,
    ResolveTxns,
    Transact,
    Transacted,
    TxnKnown,
    TxnsFinished,
    TxnsResolved,
    Voted,
)
from kvstore.partition import Partition, by_number
from kvstore.reads import find_leader
from kvstore.replication.answers import LATER, NO_LEADER, Later
from kvstore.replication.leader import Leader
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import DamagedRow
from kvstore.txn.evaluate import keys_of
from kvstore.txn.fences import Fence

TxnCall = Prepare | Transact | AbortTxn | FinishTxn | AskTxn | ForceFinish
TxnNews = ResolveTxns | TxnsResolved | AskFinished | PartsFinished | TxnsFinished
TxnAnswer = Voted | Transacted | TxnKnown | Done | Fault


class Doubts:
    """Args: partitions: all copies of this node, by partition; dirty: of those, the ones with something for the next
    batch; waiting: those where somebody waits for a lock; overdue: those where reads wait for the end of a key; heat:
    counts what is served."""

    def __init__(
        self,
        partitions: Mapping[int, Partition],
        dirty: set[Partition],
        waiting: set[Partition],
        overdue: set[Partition],
        heat: NodeHeat,
    ) -> None:
        self._partitions = partitions
        self._dirty = dirty
        self._waiting = waiting
        self._overdue = overdue
        self._heat = heat
        self._wake_ms: int | None = None
        self._now = Instant(0, 0)

    # ---- requests -----------------------------------------------------------------------------------------------

    def call(self, ticket: object, asked: TxnCall, view: Snapshot, now: Instant, full: bool) -> TxnAnswer | Later:
        """Answer one call of a coordinator, or `LATER`."""
        found = find_leader(self._partitions, asked.pid, asked.ver)
        if isinstance(found, Fault):
            return found
        partition, leader = found
        refusal = leader.closed or _refused_key(leader, asked)
        if refusal is not None:
            return refusal
        self._dirty.add(partition)
        if isinstance(asked, Prepare | Transact):
            self._heat.transact(asked.pid, asked.part)
        try:
            answer = self._ask(leader, ticket, asked, view, now, full)
        except DamagedRow as error:
            partition.stop(error)
            return NO_LEADER
        if leader.txns.has_waiting:
            self._waiting.add(partition)
        return answer

    @staticmethod
    def _ask(
        leader: Leader, ticket: object, asked: TxnCall, view: Snapshot, now: Instant, full: bool
    ) -> TxnAnswer | Later:
        txns = leader.txns
        if isinstance(asked, Prepare):
            return txns.prepare(ticket, asked, view, now, full)
        if isinstance(asked, Transact):
            return txns.transact(ticket, asked, view, now, full)
        if isinstance(asked, FinishTxn):
            return txns.participant.finish(ticket, asked, view, now)
        if isinstance(asked, AbortTxn):
            return txns.primary.abort(ticket, asked.txn, view, now)
        if isinstance(asked, AskTxn):
            return txns.primary.ask(ticket, asked.txn, view, now)
        return txns.participant.force(ticket, asked.txn, asked.commits, asked.then, view, now)

    def listed(self, asked: ListPrepared, now: Instant) -> PreparedTxns:
        """What is prepared in what this node leads."""
        listed = [one for _, leader in self._serving() for one in leader.txns.participant.listed(now)]
        return PreparedTxns([one for one in listed if asked.txn is None or one.txn == asked.txn])

    def ages_ms(self) -> list[int]:
        """How long each transaction has been prepared, as of the last tick."""
        return [one.age_ms for one in self.listed(ListPrepared(), self._now).txns]

    def _serving(self) -> list[tuple[Partition, Leader]]:
        return [
            (partition, partition.leader)
            for partition in self._partitions.values()
            if partition.leader is not None and partition.leader.closed is None
        ]

    # ---- waiting ------------------------------------------------------------------------------------------------

    @property
    def are_waiting(self) -> bool:
        """Whether anybody waits for a lock, or for the end of a transaction."""
        return bool(self._waiting)

    def wait(self, partition: Partition) -> None:
        """Somebody does in this partition."""
        self._waiting.add(partition)

    def fence(self, fence: Fence, pid: int, ver: int) -> Later | None:
        """Have a scan wait until no transaction may change keys within its fence, which stays until it is lifted, or
        its time is over.

        Returns:
            `LATER` where its ticket is told: None when it need not wait any more, `LOCKED` when its time is over. None
            where nobody leads here whom it could wait for.
        """
        found = find_leader(self._partitions, pid, ver)
        if isinstance(found, Fault) or found[1].closed is not None:
            return None
        found[1].txns.hold_scan(fence)
        self._waiting.add(found[0])
        return LATER

    def lift(self, owner: object, pids: Iterable[int]) -> None:
        """Take the fences of this owner away."""
        for pid in pids:
            partition = self._partitions.get(pid)
            if partition is not None and partition.leader is not None:
                partition.leader.txns.locks.fences.lift(owner)

    def forget(self, partition: Partition) -> None:
        """The copy is gone, and its leadership has ended."""
        self._waiting.discard(partition)

    def retry(self, view: Snapshot, now: Instant, full: bool) -> list[Effect]:
        """Go on with those who need not wait any more."""
        effects: list[Effect] = []
        asks: list[InDoubt] = []
        ends_ms = []
        for partition in sorted(self._waiting, key=by_number):
            leader = partition.leader
            closed = None if leader is None else leader.closed
            if leader is not None and leader.is_serving and closed is not None:
                effects += leader.txns.send_away(closed)
            elif leader is not None and leader.is_serving:
                try:
                    effects += leader.txns.retry(view, now, full)
                except DamagedRow as error:
                    effects += partition.quarantine(str(error))
                asks += leader.txns.participant.due(now)
                if leader.has_queue:
                    self._dirty.add(partition)
                if leader.has_reads_waiting:
                    self._overdue.add(partition)
            end_ms = None if leader is None else leader.txns.next_end_ms(now)
            if end_ms is None:
                self._waiting.discard(partition)
            else:
                ends_ms.append(end_ms)
        return [*effects, *self._ask_for(asks, view, now), *self._wake(min(ends_ms, default=None), now)]

    def _wake(self, end_ms: int | None, now: Instant) -> list[Effect]:
        """Have a turn when the first wait ends."""
        if self._wake_ms is not None and self._wake_ms <= now.mono_ms:
            self._wake_ms = None
        if end_ms is None or (self._wake_ms is not None and self._wake_ms <= end_ms):
            return []
        self._wake_ms = max(end_ms, now.mono_ms + 1)
        return [Wake(self._wake_ms - now.mono_ms)]

    # ---- in doubt -----------------------------------------------------------------------------------------------

    def tick(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Time has passed: ask for what is in doubt, and for what nobody reported."""
        self._now = now
        asks: list[InDoubt] = []
        unfinished: list[InDoubt] = []
        for partition, leader in self._serving():
            txns = leader.txns
            asks += txns.participant.due(now)
            unfinished += txns.primary.unfinished(now)
            txns.primary.forget(now)
            if leader.has_queue:
                self._dirty.add(partition)
        return [*self._ask_for(asks, view, now), *self._ask_about(unfinished)]

    def _ask_for(self, asks: list[InDoubt], view: Snapshot, now: Instant) -> list[Effect]:
        if not asks:
            return []
        self._resolve(self.decisions(asks, view, now), view, now)
        return [SendAll(ResolveTxns(asks))]

    def _ask_about(self, parts: list[InDoubt]) -> list[Effect]:
        if not parts:
            return []
        self._note_finished(self._finished(parts))
        return [SendAll(AskFinished(parts))]

    def on_news(self, node: str, news: TxnNews, view: Snapshot, now: Instant) -> list[Effect]:
        """Another node, or a coordinator, asks or tells."""
        if isinstance(news, ResolveTxns):
            outcomes = self.decisions(news.asks, view, now)
            return [Send(node, TxnsResolved(outcomes))] if outcomes else []
        if isinstance(news, AskFinished):
            parts = self._finished(news.parts)
            return [Send(node, PartsFinished(parts))] if parts else []
        if isinstance(news, TxnsResolved):
            self._resolve(news.outcomes, view, now)
        elif isinstance(news, PartsFinished):
            self._note_finished(news.parts)
        else:
            for name in news.txns:
                found = self._leader(name.primary)
                if found is not None:
                    found[1].txns.primary.all_finished(name)
        return []

    def _leader(self, pid: int) -> tuple[Partition, Leader] | None:
        partition = self._partitions.get(pid)
        leader = None if partition is None else partition.leader
        if partition is None or leader is None or leader.closed is not None:
            return None
        return partition, leader

    def decisions(self, asks: list[InDoubt], view: Snapshot, now: Instant) -> list[Resolved]:
        """What becomes of those whose primary is led here, and durably decided."""
        outcomes = []
        for ask in asks:
            found = self._leader(ask.txn.primary)
            if found is not None:
                outcome = self._decision(*found, ask, view, now)
                self._dirty.add(found[0])
                if outcome is not None:
                    outcomes.append(outcome)
        return outcomes

    def _decision(
        self, partition: Partition, leader: Leader, ask: InDoubt, view: Snapshot, now: Instant
    ) -> Resolved | None:
        try:
            return leader.txns.primary.resolve(ask, view, now)
        except DamagedRow as error:
            partition.stop(error)
            return None

    def _resolve(self, outcomes: list[Resolved], view: Snapshot, now: Instant) -> None:
        for outcome in outcomes:
            found = self._leader(outcome.pid)
            if found is None:
                continue
            self._dirty.add(found[0])
            try:
                found[1].txns.participant.resolve(outcome, view, now)
            except DamagedRow as error:
                found[0].stop(error)

    def _finished(self, parts: list[InDoubt]) -> list[InDoubt]:
        finished = []
        for part in parts:
            found = self._leader(part.pid)
            if found is not None and found[1].txns.participant.has_finished(part):
                finished.append(part)
        return finished

    def _note_finished(self, parts: list[InDoubt]) -> None:
        for part in parts:
            found = self._leader(part.txn.primary)
            if found is not None:
                found[1].txns.primary.part_finished(part)


def _refused_key(leader: Leader, asked: TxnCall) -> Fault | None:
    """Why what is asked of a key cannot be done here."""
    if leader.hidden is None or not isinstance(asked, Prepare | Transact):
        return None
    return next((fault for key in keys_of(asked.part) if (fault := leader.refuses_key(key)) is not None), None)
