"""The journal: what was added since it was last emptied is what is loaded, or it is found damaged."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import DamagedRow


def save(engine: MemoryEngine, journal: Journal, *rows: tuple[int, bytes], empty: bool = False) -> Batch:
    for copy, row in rows:
        journal.add(copy, row)
    batch = Batch()
    journal.save(batch, empty)
    engine.commit(batch)
    return batch


@given(st.lists(st.one_of(st.none(), st.lists(st.tuples(st.integers(1, 3), st.binary(max_size=40)), max_size=4))))
def test_what_is_loaded_is_what_was_added_since_it_was_emptied(batches: list[list[tuple[int, bytes]] | None]) -> None:
    engine, journal = MemoryEngine(), Journal()
    expected: dict[int, list[bytes]] = {}
    for rows in batches:
        if rows is None:
            save(engine, journal, empty=True)
            expected = {}
            continue
        save(engine, journal, *rows)
        for copy, row in rows:
            expected.setdefault(copy, []).append(row)
    assert dict(Journal().load(engine.snapshot())) == expected


def test_a_batch_adds_one_row_and_one_without_anything_none() -> None:
    engine, journal = MemoryEngine(), Journal()
    assert len(save(engine, journal, (1, b"a"), (2, b"b"))) == 1
    assert len(save(engine, journal)) == 0


def test_one_that_was_loaded_goes_on_behind_what_it_holds_and_empties_that_too() -> None:
    engine = MemoryEngine()
    save(engine, Journal(), (1, b"a"))
    journal = Journal()
    journal.load(engine.snapshot())
    assert journal.size_bytes > 0
    save(engine, journal, (1, b"b"))
    assert dict(Journal().load(engine.snapshot())) == {1: [b"a", b"b"]}
    save(engine, journal, (1, b"c"), empty=True)
    assert dict(Journal().load(engine.snapshot())) == {1: [b"c"]}
    save(engine, journal, empty=True)
    assert journal.size_bytes == 0
    assert list(engine.snapshot().scan(Table.JOURNAL, b"", b"\xff" * 9)) == []


def test_every_damaged_byte_is_found_and_emptying_ends_it() -> None:
    engine = MemoryEngine()
    save(engine, Journal(), (1, b"row"), (2, b"other"))
    ((key, row),) = engine.snapshot().scan(Table.JOURNAL, b"", b"\xff" * 9)
    for at in range(len(row)):
        damaged = bytearray(row)
        damaged[at] ^= 1
        for harmed in (bytes(damaged), row[:at]):
            batch = Batch()
            batch.put(Table.JOURNAL, key, harmed)
            engine.commit(batch)
            with pytest.raises(DamagedRow):
                Journal().load(engine.snapshot())
    journal = Journal()
    with pytest.raises(DamagedRow):
        journal.load(engine.snapshot())
    assert journal.is_damaged
    save(engine, journal, empty=True)
    assert not journal.is_damaged
    assert dict(Journal().load(engine.snapshot())) == {}


def test_its_size_is_what_stands_in_it() -> None:
    engine, journal = MemoryEngine(), Journal()
    sizes = [0]
    for number in range(1, 4):
        save(engine, journal, (1, bytes(100 * number)))
        sizes.append(journal.size_bytes)
    grown = [after - before for before, after in itertools.pairwise(sizes)]
    assert [size // 100 for size in grown] == [1, 2, 3]
    save(engine, journal, (1, bytes(500)), empty=True)
    assert journal.size_bytes // 100 == 5
