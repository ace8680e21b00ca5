"""Rows in `meta` of one copy.

Guarantees: what is decoded has the declared types, or is found damaged. Leaves to others: when they are written
(`copy`). Sans-IO.

Keys, after the copy's prefix: `name` (which partition, which store), `promise` (epochs), `state` (commit, applied,
counters), `entry` (the newest map entry seen), `backfill` (where its log and its data begin).
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec

from kvstore.codec import CodecError, decode_entry
from kvstore.map_values import Entry, Rid
from kvstore.storage.records import DamagedRow

_Seq = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]

NAME, PROMISE, STATE, ENTRY, BACKFILL = b"name", b"promise", b"state", b"entry", b"backfill"


class CopyName(msgspec.Struct, frozen=True, array_like=True):
    pid: int
    rid: Rid


class Promise(msgspec.Struct, frozen=True, array_like=True):
    """`reconciled` is the epoch in which the log was last proven to be a prefix of the leader's, `heard_ver` the
    highest version of the map entry by which a leader spoke to this copy."""

    promised: int
    reconciled: int
    starts: list[tuple[int, int]]
    heard_ver: int = 0


class State(msgspec.Struct, frozen=True, array_like=True):
    """`log_bytes` counts the rows up to `applied_seq`; those after it are counted when they are read back. `time_ms` is
    the log's time at its end, `applied_ms` at `applied_seq`."""

    commit_seq: _Seq
    applied_seq: _Seq
    keys: int
    size_bytes: int
    time_ms: int
    log_bytes: int
    applied_ms: int = 0


class Backfill(msgspec.Struct, frozen=True, array_like=True):
    """Of a copy that was made from another's data: its log follows `base_seq`, whose row has the checksum
    `base_checksum`; it holds what stands at positions up to `cursor`, or all when `done`."""

    base_seq: _Seq
    base_checksum: int
    cursor: bytes = b""
    done: bool = False


_ENCODER = msgspec.msgpack.Encoder()
_Row = TypeVar("_Row", bound=msgspec.Struct)


def encode_row(row: msgspec.Struct) -> bytes:
    return _ENCODER.encode(row)


def decode_row(row: bytes, kind: type[_Row]) -> _Row:
    """Decode a row of that kind; raises DamagedRow."""
    try:
        return msgspec.msgpack.decode(row, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRow(f"{kind.__name__}: {error}") from error


def decode_entry_row(row: bytes) -> Entry:
    """Decode a stored map entry; raises DamagedRow."""
    try:
        return decode_entry(row)
    except CodecError as error:
        raise DamagedRow(f"Entry: {error}") from error
