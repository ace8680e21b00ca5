"""The leader of one partition in one epoch.

Guarantees: conditions are judged against the log's end; every answer leaves only after the newest record it looked at
is durable here and on the whole in-sync set; reads see committed state only, through an overlay of what is committed
but not yet applied; nothing is served before this epoch's barrier is committed. Leaves to others: becoming leader
(`partition`), one follower's progress (`peer`), the batch (`copy`). Sans-IO. PROTOCOL "Write path", "Read path", "Time
to live".
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from enum import Enum

from kvstore.effects import Effect, Reply, Report, Send
from kvstore.instant import Instant
from kvstore.messages import Acked, Entry, EpochVector, Fault, WriteOne, Written
from kvstore.replication.copy import Copy
from kvstore.replication.log import Change, Held, data_row
from kvstore.replication.peer import Peer
from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import (
    Record,
    RecordType,
    encode_log_row,
    expiry_key,
    expiry_of,
    split_expiry_key,
    value_bytes,
)
from kvstore.versions import etag, matches

ROW_BYTES_MAX = 4 * 1024 * 1024
SWEEP_KEYS_MAX = 1000
SWEEP_MS = 500
RECORD_OVERHEAD_BYTES = 64

_VERSION = struct.Struct(">BQQ")

NO_LEADER = Fault("no_leader", "the partition's leader does not serve yet")
NOT_ENOUGH = Fault("not_enough_copies", "a copy of the partition cannot be reached")
FULL = Fault("storage_full", "the store is full; reads and deletes still work")
OVERLOADED = Fault("overloaded", "too many writes wait for their copies")
FAILED_CONDITION = Fault("precondition_failed", "the key's version is not the one asked for")
UNKNOWN = Fault("outcome_unknown", "leadership ended before the write was known to be durable")


class Later(Enum):
    """The answer comes later, as a `Reply`."""

    LATER = 0


LATER = Later.LATER


class Budget:
    """Bytes of writes that are not yet committed, over all partitions that a node leads."""

    __slots__ = ("bytes_max", "used_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0


class Leader:
    """Args: copy: the leader's own; entry: the map entry that made it leader; budget: shared by the node's leaders."""

    def __init__(self, copy: Copy, entry: Entry, budget: Budget, now: Instant) -> None:
        self.entry = entry
        self.epoch = entry.epoch
        self.is_serving = False
        self._budget = budget
        self.peers = {rid.node: Peer(rid) for rid in entry.in_sync if rid != copy.name.rid}
        self._copy = copy
        self._queue: list[Change] = []
        self._at_end: dict[bytes, tuple[int, bytes | None]] = {}
        self._overlay: dict[bytes, tuple[int, bytes | None]] = {}
        self._uncommitted: deque[list[Change]] = deque()
        self._unapplied: deque[tuple[int, bytes]] = deque()
        self._waiting: deque[tuple[int, object, Written | Fault]] = deque()
        self._reading: deque[tuple[int, object, bytes]] = deque()
        self._next_seq = copy.log.end + 1
        self._sweep_ms = now.mono_ms
        for held in copy.log.held_after(copy.applied_seq):
            self._take(held.changes, committed=held.head.last_seq <= copy.commit_seq)
        copy.promise(self.epoch)
        copy.reconcile(self.epoch)
        self._barrier_seq = self._propose(Record(RecordType.BARRIER), now)

    # ---- requests -----------------------------------------------------------------------------------------------

    def read(self, ticket: object, key: bytes, view: Snapshot, now: Instant) -> bytes | Fault | Later | None:
        """The committed row of `key`, None where there is none.

        `LATER` when the key's time is over: the answer waits until that is committed.
        """
        if not self.is_serving:
            return NO_LEADER
        held = self._overlay.get(key)
        row = view.get(Table.DATA, self._copy.prefix + key) if held is None else held[1]
        if row is None:
            return None
        expiry_ms = expiry_of(row)
        if expiry_ms and expiry_ms <= self._time_ms(now):
            self._expire(key, view, now)
            self._reading.append((self._next_seq - 1, ticket, key))
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
        refusal = self._refusal(write, full)
        if refusal is not None:
            return refusal
        key = write.key
        row = self._end_row(key, view)
        if row is not None:
            expiry_ms = expiry_of(row)
            if expiry_ms and expiry_ms <= self._time_ms(now):
                self._expire(key, view, now)
                row = None
        if not self._conditions_hold(write, row):
            return self._answer(ticket, key, FAILED_CONDITION)
        if write.value is None:
            if row is None:
                return self._answer(ticket, key, Written(False, 0, 0, self.copies))
            record = self._removal(RecordType.DELETE, key, row, write.token)
        else:
            record = self._put(write, row, now)
        seq = self._propose(record, now)
        created = write.value is not None and row is None
        self._waiting.append((seq, ticket, Written(created, self.epoch, seq, self.copies)))
        return LATER

    @property
    def copies(self) -> int:
        """How many copies hold a write durably when it is answered."""
        return 1 + len(self.peers)

    def _refusal(self, write: WriteOne, full: bool) -> Fault | None:
        if not self.is_serving:
            return NO_LEADER
        for peer in self.peers.values():
            if not peer.is_alive:
                return NOT_ENOUGH
            full = full or peer.is_full
        if full and write.value is not None:
            return FULL
        if self._budget.used_bytes > self._budget.bytes_max:
            return OVERLOADED
        return None

    def _conditions_hold(self, write: WriteOne, row: bytes | None) -> bool:
        if write.if_match is None and write.if_none_match is None:
            return True
        version = ""
        if row is not None:
            _, epoch, seq = _VERSION.unpack_from(row)
            version = etag(self.entry.pid, epoch, seq)
        if write.if_match is not None and not matches(write.if_match, version):
            return False
        return write.if_none_match is None or not matches(write.if_none_match, version)

    def _answer(self, ticket: object, key: bytes, result: Written | Fault) -> Written | Fault | Later:
        """An answer without a record of its own waits for the records that it looked at."""
        seen = self._at_end.get(key)
        if seen is None or seen[0] <= self._copy.commit_seq:
            return result
        self._waiting.append((self._next_seq - 1, ticket, result))
        return LATER

    # ---- records ------------------------------------------------------------------------------------------------

    def _time_ms(self, now: Instant) -> int:
        return max(now.wall_ms, self._copy.log.time_ms)

    def _end_row(self, key: bytes, view: Snapshot) -> bytes | None:
        seen = self._at_end.get(key)
        return view.get(Table.DATA, self._copy.prefix + key) if seen is None else seen[1]

    def _put(self, write: WriteOne, row: bytes | None, now: Instant) -> Record:
        expiry_ms = 0 if write.ttl_ms is None else self._time_ms(now) + write.ttl_ms
        replaced_bytes, replaced_expiry_ms = _replaced(write.key, row)
        return Record(
            RecordType.PUT,
            write.key,
            write.value or b"",
            write.content_type,
            expiry_ms,
            replaced_bytes,
            replaced_expiry_ms,
            write.token,
        )

    def _removal(self, kind: RecordType, key: bytes, row: bytes, token: bytes = b"") -> Record:
        replaced_bytes, replaced_expiry_ms = _replaced(key, row)
        return Record(kind, key, b"", "", 0, replaced_bytes, replaced_expiry_ms, token)

    def _expire(self, key: bytes, view: Snapshot, now: Instant) -> None:
        """Append the end of an overdue key, unless the log's end has already gone past it."""
        row = self._end_row(key, view)
        if row is not None and 0 < expiry_of(row) <= self._time_ms(now):
            self._propose(self._removal(RecordType.EXPIRE, key, row), now)

    def _propose(self, record: Record, now: Instant) -> int:
        seq = self._next_seq
        self._next_seq = seq + 1
        row = data_row(self.epoch, seq, record)
        self._queue.append((seq, record, row))
        if record.key:
            self._at_end[record.key] = (seq, row)
            self._budget.used_bytes += _weight(record)
        return seq

    # ---- batches ------------------------------------------------------------------------------------------------

    @property
    def has_queue(self) -> bool:
        """Whether records wait to become a log row, or rows wait to be sent."""
        return bool(self._queue) or any(peer.can_send(self._copy) for peer in self.peers.values())

    def form_rows(self, now: Instant) -> None:
        """Turn what is queued into log rows."""
        copy = self._copy
        for changes in _slices(self._queue):
            log = copy.log
            records = [record for _, record, _ in changes]
            row, head = encode_log_row(self.epoch, changes[0][0], self._time_ms(now), log.end_checksum, records)
            copy.append(Held(row, head, changes))
            self._uncommitted.append(changes)
        self._queue = []

    def pump(self, view: Snapshot, now: Instant) -> list[Send]:
        """What followers can be sent now: rows they lack, as far as their windows allow."""
        sends: list[Send] = []
        for node, peer in self.peers.items():
            while (message := peer.next_append(self._copy, self.entry, view, now)) is not None:
                sends.append(Send(node, message))
        return sends

    def advance(self) -> list[Effect]:
        """Commit what the whole in-sync set holds durably, and release the answers that waited for it."""
        copy = self._copy
        durable = min((peer.acked for peer in self.peers.values()), default=copy.durable_end)
        commit_seq = min(copy.durable_end, durable)
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
            _, ticket, result = waiting.popleft()
            effects.append(Reply(ticket, result))
        return effects

    def overdue_reads(self) -> Iterator[tuple[object, bytes]]:
        """Reads that waited for the end of a key and may be tried again."""
        while self._reading and self._reading[0][0] <= self._copy.commit_seq:
            _, ticket, key = self._reading.popleft()
            yield ticket, key

    @property
    def has_reads_waiting(self) -> bool:
        """Whether reads wait for the end of a key."""
        return bool(self._reading)

    def forget_applied(self) -> None:
        """Drop from the overlay what `data` now holds."""
        applied = self._copy.applied_seq
        unapplied = self._unapplied
        while unapplied and unapplied[0][0] <= applied:
            _, key = unapplied.popleft()
            for index in (self._overlay, self._at_end):
                seen = index.get(key)
                if seen is not None and seen[0] <= applied:
                    del index[key]

    def _take(self, changes: list[Change], committed: bool) -> None:
        """Index rows that a former leader left in the log."""
        for seq, record, row in changes:
            if record.key:
                self._at_end[record.key] = (seq, row)
                self._budget.used_bytes += _weight(record)
        if committed:
            self._commit_changes(changes)
        else:
            self._uncommitted.append(changes)

    def _commit_changes(self, changes: list[Change]) -> None:
        for seq, record, row in changes:
            if record.key:
                self._overlay[record.key] = (seq, row)
                self._unapplied.append((seq, record.key))
                self._budget.used_bytes -= _weight(record)

    # ---- followers ----------------------------------------------------------------------------------------------

    def on_vector(self, node: str, message: EpochVector, now: Instant) -> list[Send]:
        """A follower told where its log stands."""
        peer = self.peers.get(node)
        if peer is None or message.rid != peer.rid or message.epoch != self.epoch:
            return []
        cut = peer.take_vector(message, self._copy, now)
        return [] if cut is None else [Send(node, cut)]

    def on_acked(self, node: str, message: Acked, now: Instant) -> list[Effect]:
        """A follower's log is durable up to `message.log_end`."""
        peer = self.peers.get(node)
        if peer is None or message.rid != peer.rid or message.epoch != self.epoch:
            return []
        peer.take_ack(message, now)
        return self.advance()

    def reconcile(self, node: str, now: Instant) -> list[Send]:
        """Begin, or begin again, with a follower that can be reached."""
        peer = self.peers.get(node)
        return [] if peer is None else [Send(node, peer.ask_vector(self.entry, now))]

    def lost(self, node: str) -> None:
        """The connection to a follower is gone."""
        if node in self.peers:
            self.peers[node].is_alive = False

    def tick(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Ask silent followers again, tell idle ones what is committed, end overdue keys."""
        effects: list[Effect] = []
        for node, peer in self.peers.items():
            if peer.is_silent(self._copy, now):
                effects.append(Send(node, peer.ask_vector(self.entry, now)))
            elif (idle := peer.idle_append(self._copy, self.entry, now)) is not None:
                effects.append(Send(node, idle))
        if self.is_serving and now.mono_ms >= self._sweep_ms:
            self._sweep_ms = now.mono_ms + SWEEP_MS
            self._sweep(view, now)
        return effects

    def _sweep(self, view: Snapshot, now: Instant) -> None:
        prefix = self._copy.prefix
        due = view.scan(Table.EXPIRY, prefix, expiry_key(prefix, self._time_ms(now) + 1, b""))
        for (row_key, _), _ in zip(due, range(SWEEP_KEYS_MAX), strict=False):
            expiry_ms, key = split_expiry_key(row_key)
            row = self._end_row(key, view)
            if row is not None and expiry_of(row) == expiry_ms:
                self._expire(key, view, now)

    def resign(self) -> list[Effect]:
        """Leadership is over: what was appended and not committed has an unknown outcome."""
        self.is_serving = False
        for changes in (*self._uncommitted, self._queue):
            self._budget.used_bytes -= sum(_weight(record) for _, record, _ in changes if record.key)
        waiting = [ticket for _, ticket, _ in self._waiting]
        reading = [ticket for _, ticket, _ in self._reading]
        self._waiting.clear()
        self._reading.clear()
        return [*(Reply(ticket, UNKNOWN) for ticket in waiting), *(Reply(ticket, NO_LEADER) for ticket in reading)]


def _weight(record: Record) -> int:
    return len(record.key) + len(record.value) + RECORD_OVERHEAD_BYTES


def _replaced(key: bytes, row: bytes | None) -> tuple[int, int]:
    if row is None:
        return -1, 0
    return len(key) + value_bytes(row), expiry_of(row)


def _slices(changes: list[Change]) -> Iterator[list[Change]]:
    """Cut a queue into rows of bounded size."""
    part: list[Change] = []
    size = 0
    for change in changes:
        length = len(change[1].value)
        if part and size + length > ROW_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(change)
        size += length
    if part:
        yield part
