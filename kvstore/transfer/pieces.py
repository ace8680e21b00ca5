"""Reading what a partition has of a transfer: what stands in it, piece by piece, then what its log says has changed.

Guarantees: a piece of what stands is read at one seq that is applied; a piece of changes has, of every key and token
that records of a part of the log are about, what the last of them left; rows bear the partition in which their versions
were made. Each takes a bounded look: one that met little of the transfer may be empty and is further on nevertheless.
Leaves to others: what is asked for (`target`), and when nothing will change any more (`source`). Sans-IO. PROTOCOL
"Transfer".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from kvstore.map_values import Transfer
from kvstore.messages import SCOPE_BYTES
from kvstore.replication.backfill import CHUNK_BYTES
from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import STATE, State, decode_row, encode_row
from kvstore.replication.given_rows import check_row
from kvstore.replication.log import Held
from kvstore.replication.outcomes import (
    DATA_POSITION,
    TOKEN,
    WINDOW,
    carried_token,
    decode_token,
    encode_token,
)
from kvstore.storage.engine import Snapshot, Table, range_end
from kvstore.storage.records import LogRow, Record, RecordType, carried, decode_log_row, seq_key
from kvstore.transfer.records import Carried, carried_in, effects_in
from kvstore.txn.records import END_TIME, ENDED, UNDONE, Decided, Ended, Finished, Payload, payload_of
from kvstore.txn.state import KEEP_MS, ended_of

LOOKED_ROWS_MAX = 1024
LOOKED_BYTES_MAX = 1024 * 1024

Pair = tuple[bytes, bytes | None]


class CopyPiece(msgspec.Struct, frozen=True):
    """Rows as they stood at `as_of`, up to the position `end`; `is_done`: there are none beyond."""

    as_of: int
    rows: list[Pair]
    end: bytes
    is_done: bool


class ChangesPiece(msgspec.Struct, frozen=True):
    """What changed up to the seq `upto`; `is_gone`: the log does not say it any more."""

    upto: int
    rows: list[Pair]
    is_gone: bool = False


def read_copy(copy: Copy, transfer: Transfer, cursor: bytes, bytes_max: int, view: Snapshot) -> CopyPiece:
    """What stands behind the position `cursor` (empty: from the first on); raises DamagedRow."""
    bytes_max = min(bytes_max, CHUNK_BYTES)
    state_row = view.get(Table.META, copy.prefix + STATE)
    state = State(0, 0, 0, 0, 0, 0) if state_row is None else decode_row(state_row, State)
    rows: list[Pair] = []
    size = looked_bytes = 0
    end = cursor
    for looked, (position, row) in enumerate(_rows_after(copy.prefix, transfer, cursor, view)):
        if size >= bytes_max or looked >= LOOKED_ROWS_MAX or looked_bytes >= LOOKED_BYTES_MAX:
            return CopyPiece(state.applied_seq, rows, end, False)
        check_row(position, row)
        looked_bytes += len(row)
        end = position
        pair = _taken(transfer, copy.name.pid, position, row, state.applied_ms)
        if pair is not None:
            rows.append(pair)
            size += len(position) + len(row)
    return CopyPiece(state.applied_seq, rows, end, True)


def _rows_after(prefix: bytes, transfer: Transfer, cursor: bytes, view: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    start = cursor + b"\x00" if cursor else DATA_POSITION
    if start < TOKEN:
        first = prefix + max(start[1:], transfer.start)
        last = prefix + transfer.end if transfer.end else range_end(prefix)
        for row_key, row in view.scan(Table.DATA, first, last):
            yield DATA_POSITION + row_key[len(prefix) :], row
    if start < WINDOW:
        for row_key, row in view.scan(Table.IDEMPOTENCY, prefix + max(start, TOKEN), prefix + WINDOW):
            yield row_key[len(prefix) :], row
    for row_key, row in view.scan(Table.TXN, prefix + max(start, UNDONE), prefix + END_TIME):
        yield row_key[len(prefix) :], row


def _taken(transfer: Transfer, pid: int, position: bytes, row: bytes, time_ms: int) -> Pair | None:
    """The row as the target is to have it, None where it is none of the transfer."""
    if position[:1] == DATA_POSITION:
        return (position, carried(row, pid)) if transfer.takes(position[1:]) else None
    if position[:1] == TOKEN:
        return (position, carried_token(row, pid)) if decode_token(row).counts(time_ms) else None
    ended = decode_row(row, Ended)
    return _ended(ended, time_ms) if ended.counts(time_ms) else None


def _ended(ended: Ended, time_ms: int) -> Pair:
    """What was decided as it is kept by one who need not tell participants of it."""
    kept = ended if ended.until_ms else msgspec.structs.replace(ended, until_ms=time_ms + KEEP_MS)
    return ENDED + ended.txn.token, encode_row(kept)


def read_changes(copy: Copy, transfer: Transfer, since: int, bytes_max: int, view: Snapshot) -> ChangesPiece:
    """What committed records after `since`, the end of a log row, changed; raises DamagedRow."""
    rows: dict[bytes, bytes | None] = {}
    size, upto, bytes_max = 0, since, min(bytes_max, CHUNK_BYTES)
    for held in _held_after(copy, since, view):
        head = held.head
        if head.first_seq != upto + 1:
            return ChangesPiece(since, [], is_gone=upto == since)
        if head.last_seq > copy.commit_seq or (upto > since and size + len(held.row) > bytes_max):
            break
        size += len(held.row)
        upto = head.last_seq
        for seq, record, row in held.changes:
            for position, left in _left_by(copy.name.pid, head, seq, record, row):
                if position[:1] != DATA_POSITION or transfer.takes(position[1:]):
                    rows[position] = left
    return ChangesPiece(upto, list(rows.items()), is_gone=upto == since and since < copy.commit_seq)


def _held_after(copy: Copy, since: int, view: Snapshot) -> Iterable[Held]:
    base = copy.log.base[0]
    if since >= base:
        return copy.log.held_after(since)
    stored = view.scan(Table.LOG, seq_key(copy.prefix, since + 1), seq_key(copy.prefix, base + 1))
    return (Held(row, decode_log_row(row)) for _, row in stored)


def _left_by(pid: int, head: LogRow, seq: int, record: Record, row: bytes | None) -> Iterator[Pair]:
    """What the record `seq` of a log row leaves where."""
    if record.key:
        yield DATA_POSITION + record.key, None if row is None else carried(row, pid)
    if record.token:
        token = encode_token(record, head.epoch, seq, head.time_ms)
        yield TOKEN + record.token[:SCOPE_BYTES], carried_token(token, pid)
    payload: Payload | Carried | None = payload_of(record)
    if record.type == RecordType.TRANSFER:
        payload = carried_in(record)
        yield from payload.remembered
    for effect in effects_in(payload):
        yield DATA_POSITION + effect.key, None if effect.row is None else carried(effect.row, pid)
    if isinstance(payload, Decided) or (isinstance(payload, Finished) and payload.is_remembered):
        yield _ended(ended_of(payload, head.time_ms), head.time_ms)
