"""Writes of single keys: their conditions, and their records.

Guarantees: a record says what it replaces, so that applying it needs no read, and carries what tells its write from
others. Leaves to others: whether it is made (`leader`). Sans-IO. PROTOCOL "Write path".
"""

from __future__ import annotations

from kvstore.messages import WriteOne
from kvstore.replication.log import replaced
from kvstore.storage.records import Record, RecordType, version_of
from kvstore.versions import etag, matches


def put(write: WriteOne, row: bytes | None, expiry_ms: int) -> Record:
    """The record of a put in the place of `row`, None for none, that ends at `expiry_ms`, 0 for never."""
    replaced_bytes, replaced_expiry_ms = replaced(write.key, row)
    return Record(
        RecordType.PUT,
        write.key,
        write.value or b"",
        write.content_type,
        expiry_ms,
        replaced_bytes,
        replaced_expiry_ms,
        write.token,
        write.origin,
        write.number,
        write.floor,
    )


def removal(kind: RecordType, key: bytes, row: bytes, write: WriteOne | None = None) -> Record:
    """The record of a key's end, by a delete or by its time; `row` is what stood there."""
    marks = () if write is None else (write.token, write.origin, write.number, write.floor)
    return Record(kind, key, b"", "", 0, *replaced(key, row), *marks)


def conditions_hold(write: WriteOne, row: bytes | None, pid: int) -> bool:
    """Whether the conditions of a write do on its key's row in the partition `pid`."""
    if write.if_match is None and write.if_none_match is None:
        return True
    version = ""
    if row is not None:
        epoch, seq, origin = version_of(row)
        version = etag(origin or pid, epoch, seq)
    if write.if_match is not None and not matches(write.if_match, version):
        return False
    return write.if_none_match is None or not matches(write.if_none_match, version)
