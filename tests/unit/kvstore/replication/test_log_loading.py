"""A log that is read back from the disk: it continues where what is applied ends, or is found damaged."""

from __future__ import annotations

import pytest

from kvstore.map_values import Rid
from kvstore.replication.copy import Copy
from kvstore.replication.copy_loading import load_copy
from kvstore.replication.copy_rows import CopyName
from kvstore.replication.log import Held
from kvstore.storage.engine import Batch, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import DamagedRow, Record, RecordType, decode_log_row, encode_log_row, seq_key

NAME = CopyName(1, Rid("n1", b"s" * 16))
APPLIED = 4
ROWS = 6


class Stored:
    """A copy with six rows of a record each, of which four are applied."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        self.copy = Copy(3, NAME)
        for number in range(1, ROWS + 1):
            records = [Record(RecordType.PUT, b"k%d" % number, b"v")]
            row, _ = encode_log_row(1, number, 1000, self.copy.log.end_checksum, records)
            self.copy.append(Held(row, decode_log_row(row)))
        self.copy.commit(APPLIED)
        self.save()

    def save(self) -> None:
        batch = Batch()
        self.copy.save(batch, apply=True, journal=None)
        self.engine.commit(batch)
        self.copy.saved()

    def lose(self, *seqs: int) -> None:
        """These rows are gone from the disk."""
        batch = Batch()
        for seq in seqs:
            batch.delete(Table.LOG, seq_key(self.copy.prefix, seq))
        self.engine.commit(batch)

    def load(self) -> Copy:
        return load_copy(3, NAME, self.engine.snapshot(), [])


@pytest.fixture
def stored() -> Stored:
    return Stored()


def test_a_log_continues_where_what_is_applied_ends(stored: Stored) -> None:
    back = stored.load()
    assert (back.applied_seq, back.log.base[0], back.log.end) == (APPLIED, APPLIED, ROWS)
    assert back.log.end_checksum == stored.copy.log.end_checksum


@pytest.mark.parametrize("lost", [(4,), (1, 2, 3, 4), (5,), (4, 5), (1, 2, 3, 4, 5, 6)])
def test_a_row_that_is_missing_where_the_log_continues_is_found(stored: Stored, lost: tuple[int, ...]) -> None:
    stored.lose(*lost)
    with pytest.raises(DamagedRow):
        stored.load()


def test_rows_before_the_one_that_ends_at_what_is_applied_may_be_gone(stored: Stored) -> None:
    stored.lose(1, 2, 3)
    assert stored.load().log.end == ROWS


def test_a_log_without_its_last_rows_ends_before_them_and_so_do_its_epochs(stored: Stored) -> None:
    row, _ = encode_log_row(2, ROWS + 1, 1000, stored.copy.log.end_checksum, [Record(RecordType.BARRIER)])
    stored.copy.append(Held(row, decode_log_row(row)))
    stored.save()
    assert stored.load().log.starts == [(1, 1), (2, ROWS + 1)]
    stored.lose(ROWS + 1)
    back = stored.load()
    assert (back.log.end, back.log.starts) == (ROWS, [(1, 1)])
