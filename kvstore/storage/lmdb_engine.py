"""Tables in one LMDB environment.

Guarantees: the contract of `engine`, with `sync` and `metasync` on and no `writemap`: a batch is one LMDB write
transaction with its fdatasync. A reserve above the configured size stays out of reach of client writes, so that
deletes, applies and log truncation fit when the store is full. Leaves to others: calling `commit` from one thread
only (`writer`), and the lock that keeps a second process away (`data_dir`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb

from kvstore.errors import OperatorError
from kvstore.storage.engine import Batch, EngineError, MapFull, Table, Usage

RESERVE_BYTES_MIN = 64 * 1024 * 1024
REFUSE_AT = 0.9


class LmdbSnapshot:
    def __init__(self, transaction: Any, tables: tuple[Any, ...]) -> None:
        self._transaction = transaction
        self._tables = tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        row: bytes | None = self._transaction.get(key, None, self._tables[table])
        return row

    def rows(self, table: Table, position: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._transaction.cursor(self._tables[table])
        is_found = cursor.set_range(position)
        if reverse:
            is_found = cursor.prev() if is_found else cursor.last()
        if not is_found:
            return iter(())
        rows: Iterator[tuple[bytes, bytes]] = cursor.iterprev() if reverse else cursor.iternext()
        return rows

    def scan(self, table: Table, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self.rows(table, start):
            if key >= end:
                return
            yield key, value

    def keys(self, table: Table, start: bytes, end: bytes, count_max: int) -> list[bytes]:
        with self._transaction.cursor(self._tables[table]) as cursor:
            if not cursor.set_range(start):
                return []
            keys = list(islice(cursor.iternext(keys=True, values=False), count_max))
            return keys[: bisect_left(keys, end)]

    def last(self, table: Table, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        with self._transaction.cursor(self._tables[table]) as cursor:
            found = cursor.prev() if cursor.set_range(end) else cursor.last()
            if not found or cursor.key() < start:
                return None
            return cursor.key(), cursor.value()

    def close(self) -> None:
        self._transaction.abort()


class LmdbEngine:
    """Args: path: an existing folder; map_size_bytes: how much live data client writes may fill it with.

    Raises:
        OperatorError: the file is no LMDB environment, or cannot be opened.
    """

    def __init__(self, path: Path, map_size_bytes: int) -> None:
        reserve_bytes = max(RESERVE_BYTES_MIN, map_size_bytes // 8)
        try:
            self._env = lmdb.open(
                str(path),
                map_size=map_size_bytes + reserve_bytes,
                max_dbs=len(Table),
                sync=True,
                metasync=True,
                writemap=False,
                readahead=False,
                meminit=False,
                max_spare_txns=4,
                max_readers=256,
            )
            self._tables = tuple(self._env.open_db(table.name.lower().encode()) for table in Table)
        except lmdb.Error as error:
            raise OperatorError(f"cannot open the store in {path}: {error}") from error
        self._limit_bytes = int(map_size_bytes * REFUSE_AT)
        self._page_bytes = int(self._env.stat()["psize"])

    def snapshot(self) -> LmdbSnapshot:
        return LmdbSnapshot(self._env.begin(), self._tables)

    def commit(self, batch: Batch) -> None:
        try:
            with self._env.begin(write=True) as transaction:
                for table, changes in zip(self._tables, batch.tables, strict=True):
                    if changes:
                        _change(transaction, table, changes)
        except lmdb.MapFullError as error:
            raise MapFull(str(error)) from error
        except (lmdb.Error, OSError) as error:
            raise EngineError(str(error)) from error

    def usage(self) -> Usage:
        with self._env.begin() as transaction:
            pages = 0
            for table in self._tables:
                stat = transaction.stat(table)
                pages += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        file_pages = self._env.info()["last_pgno"] + 1
        return Usage(pages * self._page_bytes, self._limit_bytes, max(0, file_pages - pages) * self._page_bytes)

    def close(self) -> None:
        self._env.close()


def _change(transaction: Any, table: Any, changes: dict[bytes, bytes | None]) -> None:
    puts = []
    for key, value in changes.items():
        if value is None:
            transaction.delete(key, b"", table)
        else:
            puts.append((key, value))
    if puts:
        puts.sort()
        with transaction.cursor(table) as cursor:
            cursor.putmulti(puts)
