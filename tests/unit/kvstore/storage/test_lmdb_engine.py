"""What the LMDB engine tells of its file."""

from __future__ import annotations

from pathlib import Path

from kvstore.storage.engine import Batch, Table
from kvstore.storage.lmdb_engine import LmdbEngine

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
