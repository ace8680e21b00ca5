"""The outcomes of writes that a copy remembers, so that one that is sent again is not carried out again.

Guarantees: an outcome stands here exactly if the record that tells it is applied, for both change in one batch (I10);
one under a client's token counts for `TOKEN_KEEP_MS` of log time, whether its row is still there or not, so two copies
at the same seq remember the same; rows that no longer count are deleted a bounded piece at a time. Leaves to others:
what a leader does with them (`outcomes_at_end`), windows (`windows`). Sans-IO. PROTOCOL "Idempotency".

Rows in `idempotency`, after the copy's prefix and a kind byte: 1 scope (16 bytes) → outcome under a client's token;
3 incarnation (8) → its window; 4 → highest incarnation dropped; 9 log time (8), scope → nothing, an index of kind 1.
A *position* orders all that a learner is filled with: 0 and a key of `data`, or the key of a row of kinds 1 to 4; the
highest incarnation dropped is the last, for dropping a window changes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from kvstore.messages import SCOPE_BYTES
from kvstore.replication.windows import Outcome, Windows, decode_window, encode_window, kind_of
from kvstore.storage.engine import Batch, Snapshot, Table
from kvstore.storage.records import CARRIED_FORMAT, ROW_FORMAT, DamagedRow, LogRow, Record

TOKEN_KEEP_MS = 300_000
FINGERPRINT_BYTES = 16

DATA_POSITION = b"\x00"
TOKEN, WINDOW, EXPIRED, TOKEN_TIME = b"\x01", b"\x03", b"\x04", b"\x09"

_NUMBER = struct.Struct(">Q")
EXPIRED_BYTES = _NUMBER.size
_TOKEN = struct.Struct(">BBQQQ16s")
_CARRIED = struct.Struct(">BBQQQ16sQ")


class Remembered(msgspec.Struct, frozen=True):
    """The outcome of a write under a client's token, in the partition `origin` (0: the one where it stands)."""

    time_ms: int
    outcome: Outcome
    fingerprint: bytes
    origin: int = 0

    def counts(self, time_ms: int) -> bool:
        """Whether it still does at that log time."""
        return self.time_ms + TOKEN_KEEP_MS > time_ms


def token_key(prefix: bytes, token: bytes) -> bytes:
    """The row of a token as it stands in a record: the scope, then the fingerprint of the request."""
    return prefix + TOKEN + token[:SCOPE_BYTES]


def encode_token(record: Record, epoch: int, seq: int, time_ms: int) -> bytes:
    """The row of the token in `record`."""
    return _TOKEN.pack(ROW_FORMAT, kind_of(record), time_ms, epoch, seq, record.token[SCOPE_BYTES:])


def decode_token(row: bytes) -> Remembered:
    """Read the row of a token; raises DamagedRow."""
    if len(row) == _TOKEN.size and row[0] == ROW_FORMAT:
        _, kind, time_ms, epoch, seq, fingerprint = _TOKEN.unpack(row)
        return Remembered(time_ms, (epoch, seq, kind), fingerprint)
    if len(row) == _CARRIED.size and row[0] == CARRIED_FORMAT:
        _, kind, time_ms, epoch, seq, fingerprint, origin = _CARRIED.unpack(row)
        return Remembered(time_ms, (epoch, seq, kind), fingerprint, origin)
    raise DamagedRow(f"token row of {len(row)} bytes")


def carried_token(row: bytes, pid: int) -> bytes:
    """The row of a token of the partition `pid` as it stands in any other."""
    return row if row[0] == CARRIED_FORMAT else bytes((CARRIED_FORMAT,)) + row[1:] + _NUMBER.pack(pid)


def outcome_rows(prefix: bytes, view: Snapshot, time_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """All that counts at that log time, as (key without prefix, row) in order: equal on copies at the same seq."""
    for row_key, row in transferred_rows(prefix, TOKEN, view):
        if row_key[4:5] != TOKEN or decode_token(row).counts(time_ms):
            yield row_key[len(prefix) :], row


def transferred_rows(prefix: bytes, start: bytes, view: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    """Rows from the position `start` on that a learner is filled with."""
    return view.scan(Table.IDEMPOTENCY, prefix + max(start, TOKEN), prefix + TOKEN_TIME)


class Outcomes:
    """What the copy with this prefix remembers, as of what it has applied."""

    def __init__(self, prefix: bytes) -> None:
        self.windows = Windows()
        self._prefix = prefix
        self._oldest_ms: int | None = None

    def load(self, view: Snapshot) -> None:
        """Read it back; raises DamagedRow."""
        prefix = self._prefix
        for row_key, row in view.scan(Table.IDEMPOTENCY, prefix + WINDOW, prefix + TOKEN_TIME):
            self._load_row(row_key[len(prefix) :], row)
        first = next(view.scan(Table.IDEMPOTENCY, prefix + TOKEN_TIME, prefix + b"\xff"), None)
        self._oldest_ms = None if first is None else _time_of(first[0])

    def _load_row(self, position: bytes, row: bytes) -> None:
        if position == EXPIRED:
            self.windows.expired_upto = _NUMBER.unpack(row)[0]
        else:
            self.windows.put(_NUMBER.unpack_from(position, 1)[0], decode_window(row))

    def take(self, batch: Batch, record: Record, head: LogRow, seq: int, cursor: bytes | None) -> None:
        """Apply what a record of the row `head` says of its write; with a cursor, only at positions up to it."""
        if record.origin:
            if cursor is None or WINDOW + _NUMBER.pack(record.origin) <= cursor:
                self.windows.take(record, head.epoch, seq, head.time_ms)
        elif record.token and (cursor is None or TOKEN + record.token[:SCOPE_BYTES] <= cursor):
            batch.put(
                Table.IDEMPOTENCY,
                token_key(self._prefix, record.token),
                encode_token(record, head.epoch, seq, head.time_ms),
            )
            self._index(batch, head.time_ms, record.token[:SCOPE_BYTES])

    def store(self, batch: Batch, position: bytes, row: bytes) -> None:
        """Take over a row that another copy has at this position."""
        batch.put(Table.IDEMPOTENCY, self._prefix + position, row)
        if position[:1] == TOKEN:
            self._index(batch, decode_token(row).time_ms, position[1:])
        else:
            self._load_row(position, row)

    def _index(self, batch: Batch, time_ms: int, scope: bytes) -> None:
        batch.put(Table.IDEMPOTENCY, self._prefix + TOKEN_TIME + _NUMBER.pack(time_ms) + scope, b"")
        if self._oldest_ms is None or time_ms < self._oldest_ms:
            self._oldest_ms = time_ms

    def save(self, batch: Batch) -> None:
        """Put the windows that changed into the batch: one row each, however many writes there were."""
        windows, prefix = self.windows, self._prefix
        for origin in windows.changed:
            row_key = prefix + WINDOW + _NUMBER.pack(origin)
            window = windows.get(origin)
            if window is not None:
                batch.put(Table.IDEMPOTENCY, row_key, encode_window(window))
            else:
                batch.delete(Table.IDEMPOTENCY, row_key)
                batch.put(Table.IDEMPOTENCY, prefix + EXPIRED, _NUMBER.pack(windows.expired_upto))
        windows.changed.clear()

    def sweep(self, batch: Batch, view: Snapshot, applied_ms: int, tokens_max: int) -> int:
        """Delete rows of tokens that no longer count, so many at most.

        Args:
            batch: has all that is applied with it.
            view: has every batch before it.

        Returns:
            Of how many tokens.

        Raises:
            DamagedRow: a row cannot be read.
        """
        end_ms = applied_ms - TOKEN_KEEP_MS
        if self._oldest_ms is None or self._oldest_ms > end_ms:
            return 0
        prefix, changes = self._prefix, batch.tables[Table.IDEMPOTENCY]
        rows = view.scan(Table.IDEMPOTENCY, prefix + TOKEN_TIME, prefix + b"\xff")
        count = 0
        for row_key, _ in rows:
            time_ms = _time_of(row_key)
            if time_ms > end_ms or count >= tokens_max:
                self._oldest_ms = time_ms
                return count
            count += 1
            batch.delete(Table.IDEMPOTENCY, row_key)
            token = prefix + TOKEN + row_key[-SCOPE_BYTES:]
            row = view.get(Table.IDEMPOTENCY, token)
            # A token that was used again after its time has a newer row, here or in this batch.
            if token not in changes and row is not None and decode_token(row).time_ms == time_ms:
                batch.delete(Table.IDEMPOTENCY, token)
        self._oldest_ms = applied_ms
        return count


def _time_of(row_key: bytes) -> int:
    return int(_NUMBER.unpack_from(row_key, 5)[0])
