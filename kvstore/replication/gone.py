"""Local copy numbers that were given up, until their rows are deleted.

Guarantees: a number that was given up is written down in the same batch as what takes its place, and never loaded
again; its rows go in pieces of bounded size, and none of their values is read; a crash in between loses nothing of the
task. That it was given up stays written, so that a copy that lost its name is told from it. Leaves to others: why a
number was given up (`partition`, `partitions`). Sans-IO. PROTOCOL "Identity".
"""

from __future__ import annotations

from kvstore.storage.engine import Batch, Snapshot, Table, range_end
from kvstore.storage.records import copy_prefix

GONE_PREFIX = b"\x00\x00\x00\x00gone"
ROWS_MAX = 2000
_SWEPT = b"all swept"
_TABLES = (Table.LOG, Table.DATA, Table.TXN, Table.EXPIRY, Table.IDEMPOTENCY, Table.META)


class GoneCopies:
    """The numbers, and what to delete of them with the next batch."""

    def __init__(self) -> None:
        self._all: set[int] = set()
        self._numbers: list[int] = []
        self._unsaved: list[int] = []
        self._deletes: list[tuple[Table, bytes]] = []
        self._swept: list[int] = []

    def __contains__(self, number: int) -> bool:
        return number in self._all

    def load(self, view: Snapshot) -> None:
        """Read back which numbers there are, and which still have rows."""
        for key, state in view.scan(Table.META, GONE_PREFIX, range_end(GONE_PREFIX)):
            number = int.from_bytes(key[len(GONE_PREFIX) :], "big")
            self._all.add(number)
            if state != _SWEPT:
                self._numbers.append(number)

    def add(self, number: int) -> None:
        """Give this number up."""
        self._all.add(number)
        self._numbers.append(number)
        self._unsaved.append(number)

    @property
    def has_changes(self) -> bool:
        """Whether something waits for the next batch."""
        return bool(self._unsaved or self._deletes or self._swept)

    def sweep(self, view: Snapshot) -> None:
        """Choose the next rows to delete, of a view that has every batch so far."""
        if self.has_changes or not self._numbers:
            return
        prefix = copy_prefix(self._numbers[0])
        for table in _TABLES:
            keys = view.keys(table, prefix, range_end(prefix), ROWS_MAX - len(self._deletes))
            self._deletes += [(table, key) for key in keys]
        if not self._deletes:
            self._swept.append(self._numbers.pop(0))

    def save(self, batch: Batch) -> None:
        """Put what waits into the batch."""
        for number in self._unsaved:
            batch.put(Table.META, _row_key(number), b"")
        for table, key in self._deletes:
            batch.delete(table, key)
        for number in self._swept:
            batch.put(Table.META, _row_key(number), _SWEPT)
        self._unsaved, self._deletes, self._swept = [], [], []


def _row_key(number: int) -> bytes:
    return GONE_PREFIX + copy_prefix(number)
