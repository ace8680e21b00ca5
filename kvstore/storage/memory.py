"""The in-memory twin of an engine, for simulation and tests.

Guarantees: the contract of `engine` but durability, which is what a simulated disk adds around it. Sans-IO.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from kvstore.storage.engine import Batch, MapFull, Table, Usage

ROW_OVERHEAD_BYTES = 16


class _Sorted:
    """One table: an immutable-by-convention dict and its sorted keys, copied on the first write after a snapshot."""

    __slots__ = ("keys", "rows", "shared")

    def __init__(self, rows: dict[bytes, bytes], keys: list[bytes]) -> None:
        self.rows = rows
        self.keys = keys
        self.shared = False

    def writable(self) -> _Sorted:
        return _Sorted(dict(self.rows), list(self.keys)) if self.shared else self

    def change(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            if self.rows.pop(key, None) is not None:
                del self.keys[bisect_left(self.keys, key)]
            return
        if key not in self.rows:
            insort(self.keys, key)
        self.rows[key] = value


class MemorySnapshot:
    def __init__(self, tables: tuple[_Sorted, ...]) -> None:
        self._tables = tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._tables[table].rows.get(key)

    def rows(self, table: Table, position: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        rows = self._tables[table]
        place = bisect_left(rows.keys, position)
        for at in range(place - 1, -1, -1) if reverse else range(place, len(rows.keys)):
            key = rows.keys[at]
            yield key, rows.rows[key]

    def scan(self, table: Table, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self._tables[table]
        for position in range(bisect_left(rows.keys, start), bisect_left(rows.keys, end)):
            key = rows.keys[position]
            yield key, rows.rows[key]

    def keys(self, table: Table, start: bytes, end: bytes, count_max: int) -> list[bytes]:
        keys = self._tables[table].keys
        first = bisect_left(keys, start)
        return keys[first : min(first + count_max, bisect_left(keys, end))]

    def last(self, table: Table, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        rows = self._tables[table]
        position = bisect_left(rows.keys, end) - 1
        if position < 0 or rows.keys[position] < start:
            return None
        return rows.keys[position], rows.rows[rows.keys[position]]

    def close(self) -> None:
        pass


class MemoryEngine:
    """Args: limit_bytes: when a batch would take it beyond this, `commit` raises MapFull."""

    def __init__(self, limit_bytes: int = 1 << 40) -> None:
        self._tables = tuple(_Sorted({}, []) for _ in Table)
        self._limit_bytes = limit_bytes
        self._used_bytes = 0

    def snapshot(self) -> MemorySnapshot:
        for table in self._tables:
            table.shared = True
        return MemorySnapshot(self._tables)

    def commit(self, batch: Batch) -> None:
        used = self._used_bytes
        for table, changes in zip(self._tables, batch.tables, strict=True):
            for key, value in changes.items():
                used += _row_bytes(key, value) - _row_bytes(key, table.rows.get(key))
        if used > self._limit_bytes and used > self._used_bytes:
            raise MapFull(f"{used} of {self._limit_bytes} bytes")
        self._used_bytes = used
        tables = []
        for table, changes in zip(self._tables, batch.tables, strict=True):
            if changes:
                table = table.writable()
                for key, value in changes.items():
                    table.change(key, value)
            tables.append(table)
        self._tables = tuple(tables)

    def clone(self) -> MemoryEngine:
        """An engine of its own with the same rows."""
        twin = MemoryEngine(self._limit_bytes)
        twin._used_bytes = self._used_bytes
        for table in self._tables:
            table.shared = True
        twin._tables = self._tables
        return twin

    def usage(self) -> Usage:
        return Usage(self._used_bytes, self._limit_bytes)

    def close(self) -> None:
        pass


def _row_bytes(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value) + ROW_OVERHEAD_BYTES
