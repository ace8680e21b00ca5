"""What the LMDB engine tells of its file."""

from __future__ import annotations

from pathlib import Path

from kvstore.replication.gone import GoneCopies
from kvstore.storage.engine import Batch, Table
from kvstore.storage.lmdb_engine import LmdbEngine
from kvstore.storage.records import copy_prefix

VALUE = bytes(64 * 1024)
ROWS = 8


def test_pages_of_deleted_rows_are_free(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path, 16 * 1024 * 1024)
    put, delete = Batch(), Batch()
    for number in range(ROWS):
        put.put(Table.DATA, b"%d" % number, VALUE)
        delete.delete(Table.DATA, b"%d" % number)
    engine.commit(put)
    full = engine.usage()
    engine.commit(delete)
    empty = engine.usage()
    engine.close()
    assert full.free < len(VALUE)
    assert empty.free - full.free >= ROWS * len(VALUE)
    # A few pages of the file hold neither rows nor nothing: its own bookkeeping.
    assert empty.used + empty.free <= (tmp_path / "data.mdb").stat().st_size


def fill(engine: LmdbEngine, number: int) -> None:
    """A copy as a backfill leaves it, in batches."""
    prefix = copy_prefix(number)
    for first in range(0, 10_000, 500):
        batch = Batch()
        for key in range(first, first + 500):
            batch.put(Table.DATA, prefix + b"%08d" % key, bytes(150))
        engine.commit(batch)


def test_the_pages_of_a_copy_that_was_given_up_hold_the_next_one(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path, 64 * 1024 * 1024)
    gone = GoneCopies()
    fill(engine, 1)
    sizes = []
    for number in range(2, 6):
        fill(engine, number)
        gone.add(number - 1)
        for _ in range(10):
            batch, view = Batch(), engine.snapshot()
            gone.sweep(view)
            view.close()
            gone.save(batch)
            engine.commit(batch)
        sizes.append((tmp_path / "data.mdb").stat().st_size)
    held = len(list(engine.snapshot().scan(Table.DATA, b"", b"\xff" * 8)))
    engine.close()
    assert held == 10_000
    assert sizes[-1] <= 1.1 * sizes[0]
