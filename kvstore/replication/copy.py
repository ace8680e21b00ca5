"""One copy of a partition: its log, what of it is committed and applied, and what it promised.

Guarantees: state in memory runs ahead of the disk by at most the batches at hand; `durable_end` never claims more than
a finished batch holds; `data` is always a committed prefix of the log (log first, apply after commit), with the key and
byte counters and the expiry index changed in the same batch. Leaves to others: when to commit (`leader`, `follower`).
Sans-IO. PROTOCOL "Log", "Write path".

Rows in `meta`, after the copy's prefix: `name` (which partition, which store), `promise` (epochs), `state` (commit,
applied, counters), `entry` (the newest map entry seen).
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from kvstore.codec import CodecError, decode_entry, encode_entry
from kvstore.messages import Entry, Rid
from kvstore.replication.log import Held, Log
from kvstore.storage.engine import Batch, Snapshot, Table, range_end
from kvstore.storage.records import (
    DamagedRow,
    Record,
    RecordType,
    copy_prefix,
    decode_log_row,
    expiry_key,
    seq_key,
)

_Seq = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]

NAME, PROMISE, STATE, ENTRY = b"name", b"promise", b"state", b"entry"


class CopyName(msgspec.Struct, frozen=True, array_like=True):
    pid: int
    rid: Rid


class Promise(msgspec.Struct, frozen=True, array_like=True):
    """`reconciled` is the epoch in which the log was last proven to be a prefix of the leader's."""

    promised: int
    reconciled: int
    starts: list[tuple[int, int]]


class State(msgspec.Struct, frozen=True, array_like=True):
    """`log_bytes` counts the rows up to `applied_seq`; those after it are counted when they are read back."""

    commit_seq: _Seq
    applied_seq: _Seq
    keys: int
    size_bytes: int
    time_ms: int
    log_bytes: int


_ENCODER = msgspec.msgpack.Encoder()
_Row = TypeVar("_Row", CopyName, Promise, State)


class Copy:
    """Args: number: the local copy number; name: what it is a copy of."""

    def __init__(self, number: int, name: CopyName, entry: Entry | None = None) -> None:
        self.number = number
        self.prefix = copy_prefix(number)
        self.name = name
        self.entry = entry
        self.promised = 0
        self.reconciled = 0
        self.log = Log(0, 0, 0, [], [])
        self.durable_end = 0
        self.commit_seq = 0
        self.applied_seq = 0
        self.keys = 0
        self.size_bytes = 0
        self.log_bytes = 0
        self.log_start = self.prefix
        self._unsaved: list[Held] = []
        self._cut: list[int] = []
        self._truncated: list[bytes] = []
        self._meta_changed = True
        self._saving_end = 0
        self._saving_applied = 0

    # ---- changes in memory --------------------------------------------------------------------------------------

    def promise(self, epoch: int) -> None:
        """Never again accept anything of an epoch below `epoch`."""
        assert epoch >= self.promised, "a promise is not taken back"
        if epoch > self.promised:
            self.promised = epoch
            self._meta_changed = True

    def reconcile(self, epoch: int) -> None:
        """Note that the log is a prefix of the log of the leader of `epoch`."""
        if self.reconciled != epoch:
            self.reconciled = epoch
            self._meta_changed = True

    def adopt(self, entry: Entry) -> None:
        """Keep the newest map entry."""
        self.entry = entry
        self._meta_changed = True

    def append(self, held: Held) -> None:
        """Add the next row to the log; it is saved with the next batch."""
        self._meta_changed = self._meta_changed or not self.log.starts or self.log.starts[-1][0] != held.head.epoch
        self.log.append(held)
        self._unsaved.append(held)

    def cut(self, end: int) -> None:
        """Drop the tail of the log after `end`.

        Raises:
            DamagedRow: that would reach below what is applied, which no correct leader asks for.
        """
        if end < self.applied_seq or end < self._saving_applied:
            raise DamagedRow(f"a cut to {end} below what is applied ({self.applied_seq})")
        unsaved_from = self._unsaved[0].head.first_seq if self._unsaved else self.log.end + 1
        for held in self.log.cut(end):
            self._cut.append(held.head.first_seq)
            if held.head.first_seq < unsaved_from:
                self.log_bytes -= len(held.row)
        self._unsaved = [held for held in self._unsaved if held.head.last_seq <= end]
        self._saving_end = min(self._saving_end, end)
        self.durable_end = min(self.durable_end, end)
        self._meta_changed = True

    def commit(self, seq: int) -> None:
        """Everything up to `seq`, the end of a row, is committed."""
        assert seq <= self.log.end, "only what is in the log can be committed"
        self.commit_seq = max(self.commit_seq, seq)

    @property
    def unapplied(self) -> int:
        """How many committed records are not yet in a batch that applies them."""
        return self.commit_seq - max(self.applied_seq, self._saving_applied)

    @property
    def has_changes(self) -> bool:
        """Whether something waits to be saved, applies aside."""
        return bool(self._unsaved or self._cut or self._truncated or self._meta_changed)

    # ---- saving -------------------------------------------------------------------------------------------------

    def save(self, batch: Batch, apply: bool) -> None:
        """Put all unsaved changes into `batch`, and with `apply` the effects of what is committed."""
        for first_seq in self._cut:
            batch.delete(Table.LOG, seq_key(self.prefix, first_seq))
        for row_key in self._truncated:
            batch.delete(Table.LOG, row_key)
        for held in self._unsaved:
            batch.put(Table.LOG, seq_key(self.prefix, held.head.first_seq), held.row)
            self.log_bytes += len(held.row)
        state_changed = bool(self._truncated)
        self._cut, self._truncated, self._unsaved = [], [], []
        if self._meta_changed:
            self._save_meta(batch)
        self._saving_end = self.log.end
        if apply and self.unapplied > 0:
            self._apply(batch)
            state_changed = True
        if state_changed:
            self._save_state(batch)

    def saved(self) -> None:
        """The batch of the last `save` is durable."""
        self.durable_end = self._saving_end
        if self._saving_applied > self.applied_seq:
            self.applied_seq = self._saving_applied
            self.log.release(self.applied_seq)

    def truncate(self, row_keys: list[bytes], size_bytes: int) -> None:
        """Delete these log rows, the oldest, `size_bytes` in all, with the next batch."""
        self._truncated += row_keys
        self.log_bytes -= size_bytes
        self.log_start = row_keys[-1] + b"\x00"

    def _save_meta(self, batch: Batch) -> None:
        self._meta_changed = False
        promise = Promise(self.promised, self.reconciled, self.log.starts)
        batch.put(Table.META, self.prefix + NAME, _ENCODER.encode(self.name))
        batch.put(Table.META, self.prefix + PROMISE, _ENCODER.encode(promise))
        if self.entry is not None:
            batch.put(Table.META, self.prefix + ENTRY, encode_entry(self.entry))

    def _apply(self, batch: Batch) -> None:
        applied = self._saving_applied = max(self._saving_applied, self.applied_seq)
        for held in self.log.held_after(applied):
            if held.head.last_seq > self.commit_seq:
                break
            for _, record, row in held.changes:
                self._apply_record(batch, record, row)
            self._saving_applied = held.head.last_seq
        assert self._saving_applied <= self.commit_seq, "I4: applied is committed"

    def _save_state(self, batch: Batch) -> None:
        applied = self._saving_applied
        log_bytes = self.log_bytes - sum(len(held.row) for held in self.log.held_after(applied))
        state = State(self.commit_seq, applied, self.keys, self.size_bytes, self.log.time_ms, log_bytes)
        batch.put(Table.META, self.prefix + STATE, _ENCODER.encode(state))

    def _apply_record(self, batch: Batch, record: Record, row: bytes | None) -> None:
        if record.type > RecordType.EXPIRE:
            return
        if record.replaced_bytes >= 0:
            self.keys -= 1
            self.size_bytes -= record.replaced_bytes
            if record.replaced_expiry_ms:
                batch.delete(Table.EXPIRY, expiry_key(self.prefix, record.replaced_expiry_ms, record.key))
        if row is None:
            batch.delete(Table.DATA, self.prefix + record.key)
            return
        self.keys += 1
        self.size_bytes += len(record.key) + len(record.value)
        batch.put(Table.DATA, self.prefix + record.key, row)
        if record.expiry_ms:
            batch.put(Table.EXPIRY, expiry_key(self.prefix, record.expiry_ms, record.key), b"")


def load_name(number: int, view: Snapshot) -> CopyName:
    """What the copy with that number is a copy of.

    Raises:
        DamagedRow: its name is missing or damaged.
    """
    row = view.get(Table.META, copy_prefix(number) + NAME)
    if row is None:
        raise DamagedRow(f"copy {number} has no name")
    return _decode(row, CopyName)


def load_copy(number: int, name: CopyName, view: Snapshot) -> Copy:
    """Read a copy back.

    Raises:
        DamagedRow: a row of its state or of its unapplied log is missing or damaged.
    """
    prefix = copy_prefix(number)
    promise_row = view.get(Table.META, prefix + PROMISE)
    if promise_row is None:
        raise DamagedRow(f"copy {number} has no promise")
    entry = view.get(Table.META, prefix + ENTRY)
    copy = Copy(number, name, _decode_entry(entry) if entry is not None else None)
    promise = _decode(promise_row, Promise)
    copy.promised, copy.reconciled = promise.promised, promise.reconciled
    state_row = view.get(Table.META, prefix + STATE)
    state = _decode(state_row, State) if state_row is not None else State(0, 0, 0, 0, 0, 0)
    copy.commit_seq = copy.applied_seq = copy._saving_applied = state.applied_seq
    copy.keys, copy.size_bytes = state.keys, state.size_bytes
    copy.log = _load_log(prefix, promise, state, view)
    copy.log_bytes = state.log_bytes + sum(len(held.row) for held in copy.log.held_after(0))
    copy.durable_end = copy._saving_end = copy.log.end
    copy._meta_changed = False
    return copy


def _decode(row: bytes, kind: type[_Row]) -> _Row:
    try:
        return msgspec.msgpack.decode(row, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRow(f"{kind.__name__}: {error}") from error


def _decode_entry(row: bytes) -> Entry:
    try:
        return decode_entry(row)
    except CodecError as error:
        raise DamagedRow(f"Entry: {error}") from error


def _load_log(prefix: bytes, promise: Promise, state: State, view: Snapshot) -> Log:
    last = view.last(Table.LOG, prefix, seq_key(prefix, state.applied_seq + 1))
    applied = decode_log_row(last[1]) if last else None
    if state.applied_seq and (applied is None or applied.last_seq != state.applied_seq):
        raise DamagedRow(f"the log row that ends at {state.applied_seq} is missing")
    log = Log(state.applied_seq, applied.checksum if applied else 0, state.time_ms, [], [])
    for _, row in view.scan(Table.LOG, seq_key(prefix, state.applied_seq + 1), range_end(prefix)):
        head = decode_log_row(row)
        if head.first_seq != log.end + 1 or head.previous != log.end_checksum:
            raise DamagedRow(f"the log row at {head.first_seq} does not follow {log.end}")
        log.append(Held(row, head))
    log.starts = [(epoch, seq) for epoch, seq in promise.starts if seq <= log.end]
    return log
