"""Rows: the bytes under which a copy's state stands in an engine.

Guarantees: every row begins with a format version; a log row carries a checksum that is chained to the row before it,
so that a row that was damaged, cut short or put in another place is found when it is read. Leaves to others: which
rows are written together (`partition`). Sans-IO. PROTOCOL "Log".

Layout, all numbers big endian, every key prefixed with the copy's local number (4 bytes, never reused):

- data   key                                  → format, epoch, seq, expiry_ms, content type, value; of format 2, which
                                                 came from another partition, whose uid is before the content type
- log    first seq (8 bytes)                  → format, epoch, first seq, count, time_ms, previous checksum, records,
                                                 checksum
- expiry expiry_ms (8 bytes), key             → nothing
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec
import xxhash

ROW_FORMAT = 1
CARRIED_FORMAT = 2

_COPY = struct.Struct(">I")
_SEQ = struct.Struct(">Q")
_DATA = struct.Struct(">BQQQH")
HEAD_BYTES = _DATA.size
_CARRIED_BYTES = HEAD_BYTES + _SEQ.size
_VERSION = struct.Struct(">BQQ")
_LOG = struct.Struct(">BQQIQQ")
_CHECKSUM = struct.Struct(">Q")
_NO_EXPIRY = bytes(_SEQ.size)
_CARRIED = bytes((CARRIED_FORMAT,))
_DATA_FORMATS = (bytes((ROW_FORMAT,)), _CARRIED)

# Of a data row, which is not shorter than `HEAD_BYTES`: format, epoch, seq, expiry_ms, and the length of the content
# type, which follows in format 1.
split_head = _DATA.unpack_from


class DamagedRow(ValueError):
    """A row whose bytes are not what was written."""


class RecordType(IntEnum):
    """What a log record does."""

    PUT = 1
    DELETE = 2
    EXPIRE = 3
    BARRIER = 4
    TRANSFER = 5
    VERIFY = 6
    PREPARE = 7
    DECIDE = 8
    OUTCOME = 9
    FINISH = 10
    FORGET = 11


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One change of a partition's state.

    `replaced_bytes` is the size (key and value) of the live row that this record replaces, -1 where there is none, and
    `replaced_expiry_ms` its expiry: the leader looked at its log's end when it made the record, so that applying
    needs no read. `token` is a client's idempotency token, as scope and fingerprint; `origin`, `number` and `floor` are
    those of a gateway's incarnation. An `OUTCOME` changes nothing: its value is how a write with such a token ended.
    """

    type: int
    key: bytes = b""
    value: bytes = b""
    content_type: str = ""
    expiry_ms: int = 0
    replaced_bytes: int = -1
    replaced_expiry_ms: int = 0
    token: bytes = b""
    origin: int = 0
    number: int = 0
    floor: int = 0


class StoredValue(msgspec.Struct, frozen=True):
    """A committed value: `expiry_ms` is 0 for one without a time to live, `origin` the partition in which its version
    was made, 0 for the one where it stands."""

    epoch: int
    seq: int
    expiry_ms: int
    content_type: str
    value: bytes
    origin: int = 0


class LogRow(msgspec.Struct, frozen=True):
    """One batch of one partition: `records` are numbered from `first_seq` on. `body` is a view of the row, for large
    values would else be in memory once more."""

    epoch: int
    first_seq: int
    count: int
    time_ms: int
    previous: int
    checksum: int
    body: memoryview

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    def records(self) -> list[Record]:
        """Decode the records.

        Raises:
            DamagedRow: they are not what a leader of this format writes.
        """
        try:
            records = _RECORDS.decode(self.body)
        except msgspec.DecodeError as error:
            raise DamagedRow(f"log row {self.first_seq}: {error}") from error
        if len(records) != self.count:
            raise DamagedRow(f"log row {self.first_seq}: {len(records)} records, {self.count} announced")
        return records


_ENCODER = msgspec.msgpack.Encoder()
_RECORDS = msgspec.msgpack.Decoder(list[Record])


def copy_prefix(copy: int) -> bytes:
    return _COPY.pack(copy)


def seq_key(prefix: bytes, seq: int) -> bytes:
    return prefix + _SEQ.pack(seq)


def expiry_key(prefix: bytes, expiry_ms: int, key: bytes) -> bytes:
    return prefix + _SEQ.pack(expiry_ms) + key


def split_expiry_key(row_key: bytes) -> tuple[int, bytes]:
    """The (expiry_ms, key) of a row of the expiry index; raises DamagedRow where it is too short."""
    try:
        return int(_SEQ.unpack_from(row_key, 4)[0]), row_key[12:]
    except struct.error as error:
        raise DamagedRow(f"row of the expiry index of {len(row_key)} bytes") from error


def encode_value(epoch: int, seq: int, expiry_ms: int, content_type: str, value: bytes) -> bytes:
    kind = content_type.encode()
    return _DATA.pack(ROW_FORMAT, epoch, seq, expiry_ms, len(kind)) + kind + value


def decode_value(row: bytes) -> StoredValue:
    """Decode a data row.

    Raises:
        DamagedRow: it is too short, or of another format.
    """
    return StoredValue(*split_value(row))


def split_value(row: bytes) -> tuple[int, int, int, str, bytes, int]:
    """The parts of a data row, in the order of `StoredValue`; raises as `decode_value`."""
    try:
        row_format, epoch, seq, expiry_ms, length = _DATA.unpack_from(row)
        begin, origin = HEAD_BYTES, 0
        if row_format == CARRIED_FORMAT:
            begin, origin = _CARRIED_BYTES, _SEQ.unpack_from(row, HEAD_BYTES)[0]
        start = begin + length
        if row_format not in (ROW_FORMAT, CARRIED_FORMAT) or len(row) < start:
            raise DamagedRow(f"data row of format {row_format}, {len(row)} bytes")
        return epoch, seq, expiry_ms, str(row[begin:start], "utf-8"), row[start:], origin
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedRow(f"data row of {len(row)} bytes: {error}") from error


def split_plain(row: bytes) -> tuple[int, int, bytes, bytes] | None:
    """The epoch, seq, content type in ASCII and value of a data row of which nothing else is to be told: it has no
    expiry and was made where it stands. None for any other, a damaged one too."""
    if len(row) < HEAD_BYTES:
        return None
    row_format, epoch, seq, expiry_ms, length = _DATA.unpack_from(row)
    start = HEAD_BYTES + length
    kind = row[HEAD_BYTES:start]
    if row_format != ROW_FORMAT or expiry_ms or len(row) < start or not kind.isascii():
        return None
    return epoch, seq, kind, row[start:]


def expiry_of(row: bytes) -> int:
    """The expiry of a data row, without decoding the rest; 0 for none. Raises DamagedRow where it is too short."""
    try:
        return int(_SEQ.unpack_from(row, 17)[0])
    except struct.error as error:
        raise DamagedRow(f"data row of {len(row)} bytes") from error


def is_lasting(row: bytes) -> bool:
    """Whether a data row has no expiry."""
    return row[17:25] == _NO_EXPIRY


def value_bytes(row: bytes) -> int:
    """The size of the value in a data row; raises DamagedRow where it is too short."""
    begin = _CARRIED_BYTES if row[:1] == _CARRIED else HEAD_BYTES
    size = len(row) - begin - int.from_bytes(row[25:27], "big")
    if size < 0:
        raise DamagedRow(f"data row of {len(row)} bytes")
    return size


def check_value(row: bytes) -> None:
    """Raises DamagedRow where the row is none that `decode_value` reads, content types that are no text aside."""
    if row[:1] not in _DATA_FORMATS:
        raise DamagedRow(f"data row of format {row[:1].hex()}, {len(row)} bytes")
    value_bytes(row)


def version_of(row: bytes) -> tuple[int, int, int]:
    """The epoch, seq and origin in a data row, as in `StoredValue`, without decoding the rest; raises DamagedRow where
    it is too short."""
    try:
        row_format, epoch, seq = _VERSION.unpack_from(row)
        return epoch, seq, _SEQ.unpack_from(row, HEAD_BYTES)[0] if row_format == CARRIED_FORMAT else 0
    except struct.error as error:
        raise DamagedRow(f"data row of {len(row)} bytes") from error


def carried(row: bytes, pid: int) -> bytes:
    """A data row of the partition `pid` as it stands in any other: its version stays the same."""
    if row[:1] == _CARRIED:
        return row
    return _CARRIED + row[1:HEAD_BYTES] + _SEQ.pack(pid) + row[HEAD_BYTES:]


def encode_log_row(
    epoch: int, first_seq: int, time_ms: int, previous: int, records: list[Record]
) -> tuple[bytes, LogRow]:
    """Encode one batch; returns the row and its head, whose checksum the next row is chained to."""
    count = len(records)
    checked = _LOG.pack(ROW_FORMAT, epoch, first_seq, count, time_ms, previous) + _ENCODER.encode(records)
    checksum = xxhash.xxh3_64_intdigest(checked)
    row = checked + _CHECKSUM.pack(checksum)
    shared = memoryview(row)[_LOG.size : len(checked)]
    return row, LogRow(epoch, first_seq, count, time_ms, previous, checksum, shared)


def decode_log_row(row: bytes) -> LogRow:
    """Decode a log row's head and check its checksum; the records stay encoded until they are asked for.

    Raises:
        DamagedRow: cut short, damaged, or of another format.
    """
    if len(row) < _LOG.size + _CHECKSUM.size:
        raise DamagedRow(f"log row of {len(row)} bytes")
    end = len(row) - _CHECKSUM.size
    (checksum,) = _CHECKSUM.unpack_from(row, end)
    if xxhash.xxh3_64_intdigest(memoryview(row)[:end]) != checksum:
        raise DamagedRow("log row with a wrong checksum")
    row_format, epoch, first_seq, count, time_ms, previous = _LOG.unpack_from(row)
    if row_format != ROW_FORMAT or count < 1:
        raise DamagedRow(f"log row of format {row_format} with {count} records")
    return LogRow(epoch, first_seq, count, time_ms, previous, checksum, memoryview(row)[_LOG.size : end])
