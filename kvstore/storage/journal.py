"""The journal: log rows of all copies in the order of their batches, until they stand in the table of the log.

Guarantees: what a batch adds is one row under the next number, with a checksum over all of it; what is loaded is
exactly what was added since the journal was last emptied. Leaves to others: moving rows to the log, and emptying the
journal in the batch that does so (`partitions`); what a log row is (`records`). Sans-IO. PROTOCOL "Log".

Row: for each log row the local copy number (4 bytes), its length (4 bytes), its bytes; then xxh3_64 of all that.
"""

from __future__ import annotations

import struct
from collections import defaultdict

import xxhash

from kvstore.storage.engine import Batch, Snapshot, Table
from kvstore.storage.records import DamagedRow

_HEAD = struct.Struct(">II")
_CHECKSUM = struct.Struct(">Q")
_KEY = struct.Struct(">Q")
_END = b"\xff" * 9


class Journal:
    """What stands in the journal of one node, and what the batch at hand adds."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.is_damaged = False
        self._numbers: list[int] = []
        self._next_number = 1
        self._adding: list[bytes] = []

    def load(self, view: Snapshot) -> dict[int, list[bytes]]:
        """The log rows of each copy number, in order.

        Raises:
            DamagedRow: a row is not what was written; nothing of the journal can be relied on.
        """
        stored = list(view.scan(Table.JOURNAL, b"", _END))
        self._numbers = [_KEY.unpack(key)[0] for key, _ in stored]
        self._next_number = self._numbers[-1] + 1 if stored else 1
        self.size_bytes = sum(len(row) for _, row in stored)
        rows: dict[int, list[bytes]] = defaultdict(list)
        self.is_damaged = True
        for _, row in stored:
            for copy, log_row in split_row(row):
                rows[copy].append(log_row)
        self.is_damaged = False
        return rows

    def add(self, copy: int, row: bytes) -> None:
        """Add a log row with the batch at hand."""
        self._adding.append(_HEAD.pack(copy, len(row)))
        self._adding.append(row)

    def save(self, batch: Batch, empty: bool) -> None:
        """Put what was added into `batch`; with `empty`, delete all that stood there before."""
        if empty:
            for number in self._numbers:
                batch.delete(Table.JOURNAL, _KEY.pack(number))
            self._numbers = []
            self.size_bytes = 0
            self.is_damaged = False
        if self._adding:
            body = b"".join(self._adding)
            self._adding = []
            checksum = _CHECKSUM.pack(xxhash.xxh3_64_intdigest(body))
            batch.put(Table.JOURNAL, _KEY.pack(self._next_number), body + checksum)
            self._numbers.append(self._next_number)
            self._next_number += 1
            self.size_bytes += len(body)


def split_row(row: bytes) -> list[tuple[int, bytes]]:
    """The log rows in one row of the journal, each with its local copy number.

    Raises:
        DamagedRow: it is not what was written.
    """
    end = len(row) - _CHECKSUM.size
    if end < 0 or xxhash.xxh3_64_intdigest(memoryview(row)[:end]) != _CHECKSUM.unpack_from(row, end)[0]:
        raise DamagedRow("a row of the journal has a wrong checksum")
    rows = []
    at = 0
    while at < end:
        copy, length = _HEAD.unpack_from(row, at)
        at += _HEAD.size + length
        rows.append((copy, row[at - length : at]))
    return rows
