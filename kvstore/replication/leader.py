"""The leader of one partition in one epoch.

Guarantees: conditions are judged against the log's end; every answer leaves only after the newest record it looked at
is durable here and on the whole in-sync set; reads see committed state only, through an overlay of what is committed
but not yet applied; nothing is served before this epoch's barrier is committed. Leaves to others: becoming leader
(`partition`), who must ack (`followers`), the batch (`copy`), which write was sent before (`outcomes_at_end`). Sans-IO.
PROTOCOL "Write path", "Read path", "Time to live", "Idempotency".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

from kvstore.effects import Effect, Reply, Report
from kvstore.instant import Instant
from kvstore.map_values import Entry
from kvstore.messages import Fault, WriteOne, Written
from kvstore.replication.answers import (
    ELSEWHERE,
    LATER,
    NO_LEADER,
    NO_LEASE,
    PASSING_ON,
    UNKNOWN,
    Later,
    R,
    Result,
)
from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import decode_row
from kvstore.replication.expiry_index import due_keys
from kvstore.replication.followers import Followers
from kvstore.replication.gate import Gate
from kvstore.replication.leader_time import LeaderTime
from kvstore.replication.log import Change, Held, data_row, slices, weight
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.replication.outcomes import TOKEN
from kvstore.replication.outcomes_at_end import OutcomesAtEnd, outcome_record, told
from kvstore.replication.overlay import Overlay
from kvstore.replication.windows import Kind
from kvstore.replication.write_records import conditions_hold, put, removal
from kvstore.storage.engine import DATA, Snapshot
from kvstore.storage.records import (
    Record,
    RecordType,
    encode_log_row,
    expiry_of,
    is_lasting,
)
from kvstore.transfer.records import Carried, carried_in, carrying_record
from kvstore.txn.records import TXN_TYPES, Ended, Payload, effects_of, payload_of, record_of
from kvstore.txn.transactions import Transactions

SWEEP_MS = 500


class Leader(Gate):
    """Args: copy: the leader's own; entry: the map entry that made it leader; shared: by the node's leaders."""

    def __init__(self, copy: Copy, entry: Entry, shared: NodeLeaders, now: Instant) -> None:
        super().__init__(Followers(copy, entry, now), shared, now)
        self.epoch = entry.epoch
        self.progress = copy.progress
        self._copy = copy
        self._carried: dict[int, Carried] = {}
        self._queue: list[Change] = []
        self.overlay = Overlay()
        self._uncommitted: deque[list[Change]] = deque()
        self._waiting: deque[tuple[int, object, Result]] = deque()
        self._reading: deque[tuple[int, object, bytes, bool]] = deque()
        self.outcomes = OutcomesAtEnd(copy)
        self.next_seq = copy.log.end + 1
        self._sweep_ms = now.mono_ms
        self._time = LeaderTime(now)
        self.txns = Transactions(copy, self, shared, now)
        for held in copy.log.held_after(copy.applied_seq):
            self._take(held, held.head.last_seq <= copy.commit_seq, now)
        self.txns.participant.take_over(now)
        copy.promise(self.epoch)
        copy.reconcile(self.epoch)
        self._barrier_seq = self.propose(Record(RecordType.BARRIER), now)

    # ---- requests -----------------------------------------------------------------------------------------------

    def read(
        self,
        ticket: object,
        key: bytes,
        view: Snapshot,
        now: Instant,
        is_confirmed: bool = False,
        has_waited: bool = False,
    ) -> bytes | Fault | Later | None:
        """The committed row of `key`, None where there is none.

        Args:
            now: read after `view` was opened: what the view shows was the newest state at that instant.
            is_confirmed: the in-sync set has confirmed, since the read was asked, that it follows: no lease is needed.
            has_waited: for the end of the transaction that held the key, which was committed in this turn.

        Returns:
            `LATER` when the key's time is over or a transaction holds it: the answer waits until the end is committed.
        """
        refusal = self.refuses_reads(now)
        if refusal is not None and (refusal is not NO_LEASE or not is_confirmed):
            return refusal
        if self.hidden is not None and (refusal := self.refuses_key(key)) is not None:
            return refusal
        txns = self.txns
        name = txns.in_doubt.get(key)
        if name is not None and not has_waited:
            return txns.hold_read(ticket, name, key, is_confirmed, now)
        held = self.overlay.committed.get(key)
        row = view.get(DATA, self._copy.prefix + key) if held is None else held[1]
        if row is None or is_lasting(row):
            return row
        if expiry_of(row) <= self.time_ms(now):
            holder = txns.locks.holders.get(key)
            if holder is not None:
                return txns.hold_read(ticket, holder, key, is_confirmed, now)
            if self.is_passing_on:
                return PASSING_ON
            self._expire(key, view, now)
            self._reading.append((self.next_seq - 1, ticket, key, is_confirmed))
            return LATER
        return row

    def write(
        self, ticket: object, write: WriteOne, view: Snapshot, now: Instant, full: bool
    ) -> Written | Fault | Later:
        """Append a write to the log's end.

        Args:
            full: this node's store refuses what needs room.

        Returns:
            A fault or answer where nothing was appended and nothing uncommitted was looked at; else `LATER`: the
            answer comes when the record, or the newest one that was looked at, is committed.
        """
        closed = self.closed or self.refuses_key(write.key)
        if closed is not None:
            return closed
        known = self.outcomes.find(write, view, self.time_ms(now))
        if known is not None:
            if isinstance(known, Fault):
                return known
            self._shared.stored_results += known.outcome[2] != Kind.TOKEN_REUSED
            return self.answer(ticket, known.seen, told(known.outcome, self._copies, known.origin), now)
        refusal = self.refusal(write.value is not None, full)
        if refusal is not None:
            return refusal
        key, locks = write.key, self.txns.locks
        if locks and not locks.is_free((key,)):
            return self.txns.hold_write(ticket, write, now)
        row = self.live_row(key, view, now)
        if not conditions_hold(write, row, self._copy.name.pid):
            return self._change_nothing(ticket, write, Kind.FAILED_CONDITION, now)
        if write.value is not None:
            expiry_ms = 0 if write.ttl_ms is None else self.time_ms(now) + write.ttl_ms
            record = put(write, row, expiry_ms)
        elif row is not None:
            record = removal(RecordType.DELETE, key, row, write)
        else:
            return self._change_nothing(ticket, write, Kind.FOUND_NOTHING, now)
        seq = self.propose(record, now)
        created = write.value is not None and row is None
        self._waiting.append((seq, ticket, Written(created, self.epoch, seq, self._copies)))
        return LATER

    def _change_nothing(self, ticket: object, write: WriteOne, kind: Kind, now: Instant) -> Written | Fault | Later:
        """A write that leaves everything as it is gets a record only where it may be sent again, or was."""
        if write.token or write.again:
            seq = self.propose(outcome_record(write, kind), now)
            self._waiting.append((seq, ticket, told((self.epoch, seq, kind), self._copies)))
            return LATER
        seen = self.overlay.at_end.get(write.key)
        return self.answer(ticket, 0 if seen is None else seen[0], told((0, 0, kind), self._copies), now)

    @property
    def _copies(self) -> int:
        return 1 + len(self.followers.counted)

    def answer(self, ticket: object, seen: int, result: R, now: Instant) -> R | Fault | Later:
        """An answer that looked at the record `seen` and has none of its own waits for it; if that is committed, it is
        a read."""
        if seen <= self._copy.commit_seq:
            return result if now.mono_ms < self.followers.lease_end_ms else NO_LEASE
        return self.answer_at(self.next_seq - 1, ticket, result)

    def answer_at(self, seq: int, ticket: object, result: Result) -> Later:
        """Answer when the record `seq`, the newest, is committed."""
        self._waiting.append((seq, ticket, result))
        return LATER

    # ---- records ------------------------------------------------------------------------------------------------

    def time_ms(self, now: Instant) -> int:
        """The partition's time, by which keys end: it never goes back."""
        return self._time.at(now, self._copy.log.time_ms)

    def live_row(self, key: bytes, view: Snapshot, now: Instant) -> bytes | None:
        """The row of a key that is not locked, at the log's end; one whose time is over is ended first."""
        row = self.end_row(key, view)
        if row is not None:
            expiry_ms = expiry_of(row)
            if expiry_ms and expiry_ms <= self.time_ms(now):
                self._expire(key, view, now)
                return None
        return row

    def end_row(self, key: bytes, view: Snapshot) -> bytes | None:
        """The row of a key at the log's end, whatever its time."""
        seen = self.overlay.at_end.get(key)
        return view.get(DATA, self._copy.prefix + key) if seen is None else seen[1]

    def _expire(self, key: bytes, view: Snapshot, now: Instant) -> None:
        """Append the end of an overdue key, unless the log's end has already gone past it."""
        row = self.end_row(key, view)
        if row is not None and 0 < expiry_of(row) <= self.time_ms(now):
            self.propose(removal(RecordType.EXPIRE, key, row), now)

    def propose(self, record: Record, now: Instant) -> int:
        """Append a record; returns its seq."""
        seq = self.next_seq
        self.next_seq = seq + 1
        row = data_row(self.epoch, seq, record)
        self._queue.append((seq, record, row))
        self._shared.used_bytes += weight(record)
        if record.key:
            self.overlay.at_end[record.key] = (seq, row)
        if record.origin or record.token:
            self.outcomes.take(record, self.epoch, seq, self.time_ms(now))
        return seq

    def propose_txn(self, payload: Payload, now: Instant) -> int:
        """Append a record of a transaction; returns its seq."""
        seq = self.propose(record_of(payload), now)
        self._take_txn(payload, seq, now, self.time_ms(now))
        return seq

    def propose_carried(self, carried: Carried, now: Instant) -> int:
        """Append a record of a transfer; returns its seq."""
        seq = self.propose(carrying_record(carried), now)
        self._take_carried(carried, seq)
        return seq

    def _take_carried(self, carried: Carried, seq: int) -> None:
        self._carried[seq] = carried
        for effect in carried.effects:
            self.overlay.at_end[effect.key] = (seq, effect.row)
        for position, row in carried.remembered:
            if position[:1] == TOKEN:
                self.outcomes.take_carried(seq, position[1:], row)
            else:
                self.txns.primary.take_remembered(seq, decode_row(row, Ended))
        if carried.progress is not None:
            self.progress = carried.progress

    def _take_txn(self, payload: Payload, seq: int, now: Instant, time_ms: int) -> None:
        self.txns.take(payload, seq, now, time_ms)
        for effect in effects_of(payload):
            self.overlay.at_end[effect.key] = (seq, effect.row)

    # ---- batches ------------------------------------------------------------------------------------------------

    @property
    def has_queue(self) -> bool:
        """Whether records wait to become a log row, or rows wait to be sent."""
        return bool(self._queue) or self.followers.can_send

    @property
    def is_settled(self) -> bool:
        """Whether all log rows are committed and records wait to become the next one."""
        return bool(self._queue) and self._copy.commit_seq == self._copy.log.end

    def form_rows(self, now: Instant) -> None:
        """Turn what is queued into log rows."""
        copy = self._copy
        for changes in slices(self._queue):
            log = copy.log
            records = [record for _, record, _ in changes]
            row, head = encode_log_row(self.epoch, changes[0][0], self.time_ms(now), log.end_checksum, records)
            copy.append(Held(row, head, changes))
            self._uncommitted.append(changes)
            self._time.logged(now)
            self.outcomes.windows.pass_to(head.time_ms)
        self._queue = []

    def advance(self) -> list[Effect]:
        """Commit what the whole in-sync set holds durably, and release the answers that waited for it."""
        copy = self._copy
        commit_seq = self.followers.durable_end()
        if commit_seq <= copy.commit_seq:
            return []
        copy.commit(commit_seq)
        while self._uncommitted and self._uncommitted[0][-1][0] <= commit_seq:
            self._commit_changes(self._uncommitted.popleft())
        effects: list[Effect] = []
        if not self.is_serving and commit_seq >= self._barrier_seq:
            self.is_serving = True
            effects.append(Report())
        waiting = self._waiting
        while waiting and waiting[0][0] <= commit_seq:
            seq, ticket, result = waiting.popleft()
            if isinstance(result, Written) and result.copies != self._copies:
                result = msgspec.structs.replace(result, copies=self.followers.copies(seq))
            effects.append(Reply(ticket, result))
        return effects

    @property
    def is_quiet(self) -> bool:
        """Whether everything that was taken is committed."""
        return not self._queue and self._copy.commit_seq == self._copy.log.end

    def overdue_reads(self) -> Iterator[tuple[object, bytes, bool]]:
        """Reads that waited for the end of a key and may be tried again, and whether they are confirmed."""
        while self._reading and self._reading[0][0] <= self._copy.commit_seq:
            _, ticket, key, is_confirmed = self._reading.popleft()
            yield ticket, key, is_confirmed

    @property
    def has_reads_waiting(self) -> bool:
        """Whether reads wait for the end of a key."""
        return bool(self._reading)

    def forget_applied(self) -> None:
        """Drop from the overlay what `data` now holds."""
        self.outcomes.forget_applied()
        self.txns.primary.forget_applied(self._copy.applied_seq)
        self.overlay.forget(self._copy.applied_seq)

    def _take(self, held: Held, committed: bool, now: Instant) -> None:
        """Index a row that a former leader left in the log."""
        for seq, record, row in held.changes:
            self._shared.used_bytes += weight(record)
            if record.key:
                self.overlay.at_end[record.key] = (seq, row)
                continue
            payload = payload_of(record)
            if payload is not None:
                self._take_txn(payload, seq, now, held.head.time_ms)
            elif record.type == RecordType.TRANSFER:
                self._take_carried(carried_in(record), seq)
        self.outcomes.take_row(held)
        if committed:
            self._commit_changes(held.changes)
        else:
            self._uncommitted.append(held.changes)

    def _commit_changes(self, changes: list[Change]) -> None:
        overlay = self.overlay
        for seq, record, row in changes:
            self._shared.used_bytes -= weight(record)
            if record.key:
                overlay.commit(seq, record.key, row)
            elif record.type in TXN_TYPES:
                for effect in self.txns.committed(seq):
                    overlay.commit(seq, effect.key, effect.row)
            elif record.type == RecordType.TRANSFER:
                for effect in self._carried.pop(seq).effects:
                    overlay.commit(seq, effect.key, effect.row)

    # ---- time ---------------------------------------------------------------------------------------------------

    def tick(self, view: Snapshot, now: Instant) -> None:
        """End overdue keys."""
        if self.closed is None and now.mono_ms >= self._sweep_ms:
            self._sweep_ms = now.mono_ms + SWEEP_MS
            self._sweep(view, now)

    def _sweep(self, view: Snapshot, now: Instant) -> None:
        for key, expiry_ms in due_keys(self._copy.prefix, view, self.time_ms(now)):
            row = self.end_row(key, view)
            if self.refuses_key(key) is not None:
                continue
            if row is not None and expiry_of(row) == expiry_ms and key not in self.txns.locks.holders:
                self._expire(key, view, now)

    def resign(self) -> list[Effect]:
        """Leadership is over: what was appended and not committed has an unknown outcome."""
        self.is_serving = False
        for changes in (*self._uncommitted, self._queue):
            self._shared.used_bytes -= sum(weight(record) for _, record, _ in changes)
        waiting = [ticket for _, ticket, _ in self._waiting]
        self._waiting.clear()
        return [*(Reply(one, UNKNOWN) for one in waiting), *self._send_away(NO_LEADER)]

    def _send_away(self, fault: Fault) -> list[Effect]:
        """Whoever waits to be looked at again is not: nothing of it was appended."""
        reading = [ticket for _, ticket, _, _ in self._reading]
        self._reading.clear()
        return [*(Reply(one, fault) for one in reading), *self.txns.send_away(fault)]

    def take_entry(self, entry: Entry, now: Instant) -> list[Effect]:
        """A newer map entry of this epoch, or the same again; nobody who was routed by another layout is answered."""
        away = self._send_away(ELSEWHERE) if entry.layout != self.layout else []
        return [*away, *self.heed(entry, now)]
