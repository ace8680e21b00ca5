"""Copy numbers that were given up: their rows go in pieces, and none of them is ever taken for a copy again."""

from __future__ import annotations

import pytest

from kvstore.replication import gone
from kvstore.replication.gone import GoneCopies
from kvstore.storage.engine import Batch, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import copy_prefix

ROWS = 5


class Disk:
    """Copies 3, 4 and 5, each with five rows in two tables."""

    def __init__(self) -> None:
        self.engine = MemoryEngine()
        batch = Batch()
        for number in (3, 4, 5):
            for row in range(ROWS):
                batch.put(Table.DATA, copy_prefix(number) + b"k%d" % row, b"v")
                batch.put(Table.LOG, copy_prefix(number) + b"l%d" % row, b"v")
        self.engine.commit(batch)

    def rows(self, number: int) -> int:
        view = self.engine.snapshot()
        return sum(len(view.keys(table, copy_prefix(number), copy_prefix(number + 1), 99)) for table in Table)

    def save(self, copies: GoneCopies) -> Batch:
        batch = Batch()
        copies.save(batch)
        self.engine.commit(batch)
        return batch

    def load(self) -> GoneCopies:
        copies = GoneCopies()
        copies.load(self.engine.snapshot())
        return copies

    def sweep(self, copies: GoneCopies) -> int:
        """Sweep until nothing is left to do; how many batches that took."""
        for batches in range(30):
            copies.sweep(self.engine.snapshot())
            if not copies.has_changes:
                return batches
            self.save(copies)
        raise AssertionError("it never ends")


@pytest.fixture
def disk() -> Disk:
    return Disk()


def test_a_number_that_was_given_up_is_known_at_once_and_waits_for_the_next_batch(disk: Disk) -> None:
    copies = disk.load()
    assert not copies.has_changes
    copies.add(4)
    assert 4 in copies
    assert 3 not in copies
    assert copies.has_changes
    disk.save(copies)
    assert not copies.has_changes
    assert 4 in disk.load()


def test_all_its_rows_go_and_no_others(disk: Disk) -> None:
    copies = disk.load()
    copies.add(4)
    disk.sweep(copies)
    assert [disk.rows(number) for number in (3, 4, 5)] == [2 * ROWS, 0, 2 * ROWS]


def test_no_more_rows_go_with_a_batch_than_allowed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gone, "ROWS_MAX", 3)
    copies = disk.load()
    copies.add(4)
    disk.save(copies)
    left = [disk.rows(4)]
    while left[-1]:
        copies.sweep(disk.engine.snapshot())
        disk.save(copies)
        left.append(disk.rows(4))
    assert left == [10, 7, 4, 1, 0]


def test_a_process_that_ends_in_between_goes_on_with_what_is_left(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gone, "ROWS_MAX", 3)
    copies = disk.load()
    copies.add(4)
    copies.add(5)
    disk.save(copies)
    copies.sweep(disk.engine.snapshot())
    disk.save(copies)
    disk.sweep(disk.load())
    assert [disk.rows(number) for number in (3, 4, 5)] == [2 * ROWS, 0, 0]


def test_one_whose_rows_are_gone_stays_known_and_is_looked_at_no_more(disk: Disk) -> None:
    copies = disk.load()
    copies.add(4)
    assert disk.sweep(copies) > 1
    again = disk.load()
    assert 4 in again
    assert disk.sweep(again) == 0
