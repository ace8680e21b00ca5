"""Old log rows: what may go, and the row that must stay."""

from __future__ import annotations

import pytest

from kvstore.instant import Instant
from kvstore.map_values import Rid
from kvstore.replication.copy import Copy
from kvstore.replication.copy_loading import load_copy
from kvstore.replication.copy_rows import CopyName
from kvstore.replication.log import Held
from kvstore.replication.retention import Retention, old_rows
from kvstore.storage.engine import Batch, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import Record, RecordType, decode_log_row, encode_log_row, seq_key

NOW = Instant(0, 1_000_000)
ALL = Retention(age_ms=0, size_bytes=0)


class Stored:
    """A copy with ten rows of two records each, all applied; row i was written at second i."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.copy = Copy(3, CopyName(1, Rid("n1", b"s" * 16)))
        for number in range(10):
            records = [Record(RecordType.PUT, b"k", b"v")] * 2
            row, _ = encode_log_row(1, self.copy.log.end + 1, number * 1000, self.copy.log.end_checksum, records)
            self.copy.append(Held(row, decode_log_row(row)))
            self.row_bytes = len(row)
        self.copy.commit(20)
        self.save()

    def save(self) -> None:
        batch = Batch()
        self.copy.save(batch, apply=True, journal=None)
        self.engine.commit(batch)
        self.copy.saved()

    def old(self, floor_seq: int, retention: Retention, wall_ms: int = 1_000_000, rows_max: int = 100) -> list[int]:
        """The first seqs of the rows that may go."""
        now = Instant(0, wall_ms)
        row_keys, size_bytes = old_rows(self.copy, floor_seq, self.engine.snapshot(), now, retention, rows_max)
        assert size_bytes == len(row_keys) * self.row_bytes
        return [int.from_bytes(row_key[4:], "big") for row_key in row_keys]


@pytest.fixture
def stored() -> Stored:
    return Stored()


def test_the_row_that_ends_at_the_floor_stays(stored: Stored) -> None:
    assert stored.old(20, ALL) == list(range(1, 19, 2))
    assert stored.old(4, ALL) == [1]
    assert stored.old(5, ALL) == [1, 3]
    assert stored.old(0, ALL) == []


def test_a_copy_whose_old_rows_are_gone_is_read_back(stored: Stored) -> None:
    row_keys, size_bytes = old_rows(stored.copy, 20, stored.engine.snapshot(), NOW, ALL, 100)
    stored.copy.truncate(row_keys, size_bytes)
    stored.save()
    back = load_copy(3, stored.copy.name, stored.engine.snapshot(), [])
    assert (back.log.end, back.log.end_checksum, back.applied_seq) == (20, stored.copy.log.end_checksum, 20)
    assert back.log_bytes == stored.row_bytes


def test_young_rows_stay(stored: Stored) -> None:
    by_age = Retention(age_ms=5000, size_bytes=1 << 30)
    assert stored.old(20, by_age, wall_ms=8000) == [1, 3, 5]
    assert stored.old(20, by_age, wall_ms=5000) == []


def test_the_oldest_go_beyond_the_size(stored: Stored) -> None:
    by_size = Retention(age_ms=1 << 60, size_bytes=stored.row_bytes * 7)
    assert stored.old(20, by_size) == [1, 3, 5]
    assert stored.old(20, Retention(1 << 60, stored.row_bytes * 10)) == []


def test_work_is_bounded(stored: Stored) -> None:
    assert stored.old(20, ALL, rows_max=4) == [1, 3, 5, 7]


def test_rows_on_their_way_out_are_not_counted_twice(stored: Stored) -> None:
    row_keys, size_bytes = old_rows(stored.copy, 20, stored.engine.snapshot(), NOW, ALL, 100)
    stored.copy.truncate(row_keys, size_bytes)
    assert stored.old(20, ALL) == []
    stored.save()
    assert stored.old(20, ALL) == []
    assert stored.copy.log_bytes == stored.row_bytes


def test_rows_of_another_copy_are_not_touched(stored: Stored) -> None:
    batch = Batch()
    row = stored.engine.snapshot().get(Table.LOG, seq_key(stored.copy.prefix, 1)) or b""
    batch.put(Table.LOG, seq_key(b"\x00\x00\x00\x02", 1), row)
    stored.engine.commit(batch)
    assert stored.old(20, ALL) == list(range(1, 19, 2))
