"""A copy, its disk and its restarts, against lists of rows."""

from __future__ import annotations

import pytest

from kvstore.map_values import Entry, Rid
from kvstore.messages import BeginBackfill, Chunk
from kvstore.replication.copy import Copy, begin_backfill
from kvstore.replication.copy_loading import load_copy, load_name
from kvstore.replication.copy_rows import ENTRY, NAME, PROMISE, STATE, CopyName
from kvstore.replication.log import Held
from kvstore.replication.outcomes import DATA_POSITION
from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import (
    DamagedRow,
    Record,
    RecordType,
    decode_log_row,
    decode_value,
    encode_log_row,
    encode_value,
    seq_key,
    split_expiry_key,
)

NUMBER = 9
NAMED = CopyName(3, Rid("n1", b"s" * 16))
ENTRY_1 = Entry(3, "default", 1, 0, None, (NAMED.rid,), (NAMED.rid,))
ALL = b"\xff" * 16


def put(key: bytes, value: bytes = b"value", expiry_ms: int = 0) -> Record:
    return Record(RecordType.PUT, key, value, "text/plain", expiry_ms)


def append(copy: Copy, *records: Record, epoch: int = 1) -> None:
    row, _ = encode_log_row(epoch, copy.log.end + 1, 1000, copy.log.end_checksum, list(records))
    copy.append(Held(row, decode_log_row(row)))


def save(copy: Copy, engine: MemoryEngine, apply: bool = True) -> None:
    batch = Batch()
    copy.save(batch, apply, None)
    engine.commit(batch)
    copy.saved()


def loaded(engine: MemoryEngine) -> Copy:
    view = engine.snapshot()
    return load_copy(NUMBER, load_name(NUMBER, view), view, Journal().load(view).get(NUMBER, []))


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
def copy() -> Copy:
    return Copy(NUMBER, NAMED)


def table(engine: MemoryEngine, which: Table) -> dict[bytes, bytes]:
    return {key[4:]: value for key, value in engine.snapshot().scan(which, copy_start(), ALL)}


def copy_start() -> bytes:
    return NUMBER.to_bytes(4, "big")


def test_what_was_saved_is_read_back(copy: Copy, engine: MemoryEngine) -> None:
    copy.promise(4)
    copy.reconcile(4)
    copy.adopt(ENTRY_1)
    append(copy, put(b"a"), put(b"b", expiry_ms=5000))
    append(copy, put(b"c"), epoch=4)
    append(copy, put(b"d"), epoch=4)
    copy.commit(3)
    save(copy, engine)
    back = loaded(engine)
    assert (back.number, back.name, back.entry) == (NUMBER, NAMED, ENTRY_1)
    assert (back.promised, back.reconciled) == (4, 4)
    assert (back.applied_seq, back.commit_seq, back.durable_end, back.log.end) == (3, 3, 4, 4)
    assert (back.contents.keys, back.contents.size_bytes, back.log_bytes) == (3, 18, copy.log_bytes)
    assert (back.log.starts, back.log.end_checksum, back.log.time_ms) == ([(1, 1), (4, 3)], copy.log.end_checksum, 1000)
    assert not back.has_changes


def test_a_row_is_durable_only_after_its_batch(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"))
    batch = Batch()
    copy.save(batch, apply=True, journal=None)
    append(copy, put(b"b"))
    assert copy.durable_end == 0
    engine.commit(batch)
    copy.saved()
    assert (copy.durable_end, copy.log.end) == (1, 2)
    assert loaded(engine).log.end == 1


def test_only_what_is_committed_is_applied(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"))
    append(copy, put(b"b"))
    copy.commit(1)
    save(copy, engine)
    assert list(table(engine, Table.DATA)) == [b"a"]
    assert (copy.applied_seq, copy.contents.keys) == (1, 1)
    copy.commit(2)
    save(copy, engine, apply=False)
    assert list(table(engine, Table.DATA)) == [b"a"]
    save(copy, engine)
    assert list(table(engine, Table.DATA)) == [b"a", b"b"]


def test_a_value_carries_the_version_of_its_record(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"), put(b"b", b"B", expiry_ms=77), epoch=5)
    copy.commit(2)
    save(copy, engine)
    stored = decode_value(table(engine, Table.DATA)[b"b"])
    assert (stored.epoch, stored.seq, stored.expiry_ms, stored.content_type, stored.value) == (
        5,
        2,
        77,
        "text/plain",
        b"B",
    )


def test_counters_and_expiry_index_follow_what_is_replaced(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"k", b"12345", expiry_ms=100), put(b"other", b""))
    copy.commit(2)
    save(copy, engine)
    assert (copy.contents.keys, copy.contents.size_bytes) == (2, 11)
    assert [split_expiry_key(b"0000" + key) for key in table(engine, Table.EXPIRY)] == [(100, b"k")]
    append(copy, Record(RecordType.PUT, b"k", b"1", "", 200, 6, 100))
    copy.commit(3)
    save(copy, engine)
    assert (copy.contents.keys, copy.contents.size_bytes) == (2, 7)
    assert [split_expiry_key(b"0000" + key) for key in table(engine, Table.EXPIRY)] == [(200, b"k")]
    append(
        copy, Record(RecordType.EXPIRE, b"k", b"", "", 0, 2, 200), Record(RecordType.DELETE, b"other", replaced_bytes=5)
    )
    copy.commit(5)
    save(copy, engine)
    assert (copy.contents.keys, copy.contents.size_bytes) == (0, 0)
    assert table(engine, Table.DATA) == table(engine, Table.EXPIRY) == {}


def test_a_barrier_changes_no_data(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, Record(RecordType.BARRIER))
    copy.commit(1)
    save(copy, engine)
    assert (copy.applied_seq, copy.contents.keys, table(engine, Table.DATA)) == (1, 0, {})


def test_a_cut_below_what_is_applied_is_refused(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"))
    append(copy, put(b"b"))
    copy.commit(1)
    save(copy, engine)
    with pytest.raises(DamagedRow, match="below what is applied"):
        copy.cut(0)
    copy.cut(1)
    assert copy.log.end == 1


def test_a_cut_below_what_a_batch_at_hand_applies_is_refused(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"))
    copy.commit(1)
    copy.save(Batch(), apply=True, journal=None)
    with pytest.raises(DamagedRow):
        copy.cut(0)


def test_a_cut_row_is_not_durable_even_if_its_batch_was_under_way(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"))
    save(copy, engine)
    append(copy, put(b"b"))
    batch = Batch()
    copy.save(batch, apply=True, journal=None)
    copy.cut(1)
    engine.commit(batch)
    copy.saved()
    assert copy.durable_end == 1
    append(copy, put(b"c"), epoch=2)
    save(copy, engine)
    back = loaded(engine)
    assert [record.key for held in back.log.held_after(0) for record in held.head.records()] == [b"a", b"c"]


def test_a_promise_is_not_taken_back(copy: Copy) -> None:
    copy.promise(3)
    with pytest.raises(AssertionError):
        copy.promise(2)


def test_nothing_beyond_the_log_is_committed(copy: Copy) -> None:
    append(copy, put(b"a"))
    with pytest.raises(AssertionError):
        copy.commit(2)
    copy.commit(1)
    copy.commit(0)
    assert copy.commit_seq == 1


def test_truncated_rows_are_gone_and_no_longer_counted_after_a_restart(copy: Copy, engine: MemoryEngine) -> None:
    for key in (b"a", b"b", b"c"):
        append(copy, put(key))
    copy.commit(3)
    save(copy, engine)
    oldest, row = next(iter(engine.snapshot().scan(Table.LOG, copy.prefix, ALL)))
    copy.truncate([oldest], len(row))
    assert copy.has_changes
    save(copy, engine)
    held = table(engine, Table.LOG)
    assert len(held) == 2
    assert copy.log_bytes == loaded(engine).log_bytes == sum(map(len, held.values()))


@pytest.mark.parametrize("name", [NAME, PROMISE, STATE, ENTRY])
def test_a_damaged_row_of_a_copys_state_is_found_or_harmless(copy: Copy, engine: MemoryEngine, name: bytes) -> None:
    copy.adopt(ENTRY_1)
    append(copy, put(b"a"))
    copy.commit(1)
    save(copy, engine)
    row = table(engine, Table.META)[name]
    found = 0
    for offset in range(len(row)):
        for damaged in (row[:offset], row[:offset] + bytes([row[offset] ^ 0xFF]) + row[offset + 1 :]):
            batch = Batch()
            batch.put(Table.META, copy.prefix + name, damaged)
            engine.commit(batch)
            try:
                loaded(engine)
            except DamagedRow:
                found += 1
    assert found >= len(row)


@pytest.mark.parametrize("missing", [NAME, PROMISE, STATE])
def test_a_missing_row_of_a_copys_state_is_found(copy: Copy, engine: MemoryEngine, missing: bytes) -> None:
    append(copy, put(b"a"))
    append(copy, put(b"b"))
    copy.commit(2)
    save(copy, engine)
    copy.truncate([next(iter(engine.snapshot().scan(Table.LOG, copy.prefix, ALL)))[0]], 0)
    save(copy, engine)
    batch = Batch()
    batch.delete(Table.META, copy.prefix + missing)
    engine.commit(batch)
    with pytest.raises(DamagedRow):
        loaded(engine)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_log_with_a_hole_or_a_damaged_row_is_not_loaded(copy: Copy, engine: MemoryEngine, victim: int) -> None:
    for key in (b"a", b"b", b"c"):
        append(copy, put(key))
    copy.commit(1)
    save(copy, engine)
    keys = [key for key, _ in engine.snapshot().scan(Table.LOG, copy.prefix, ALL)]
    row = engine.snapshot().get(Table.LOG, keys[victim]) or b""
    for damage in (None, row[:-1], row[:20] + bytes([row[20] ^ 1]) + row[21:]):
        if damage is None and victim == 2:
            continue
        twin = engine.clone()
        batch = Batch()
        if damage is None:
            batch.delete(Table.LOG, keys[victim])
        else:
            batch.put(Table.LOG, keys[victim], damage)
        twin.commit(batch)
        with pytest.raises(DamagedRow):
            loaded(twin)


def test_a_row_of_another_chain_in_the_place_of_a_row_is_found(copy: Copy, engine: MemoryEngine) -> None:
    append(copy, put(b"a"))
    append(copy, put(b"b"))
    save(copy, engine)
    row, _ = encode_log_row(1, 2, 1000, copy.log.end_checksum ^ 1, [put(b"b")])
    batch = Batch()
    batch.put(Table.LOG, seq_key(copy.prefix, 2), row)
    engine.commit(batch)
    with pytest.raises(DamagedRow, match="does not follow"):
        loaded(engine)


def test_rows_that_are_applied_are_no_longer_held(copy: Copy, engine: MemoryEngine) -> None:
    for key in (b"a", b"b", b"c"):
        append(copy, put(key))
    copy.commit(2)
    save(copy, engine)
    assert [held.head.first_seq for held in copy.log.held_after(0)] == [3]


def test_a_chunk_that_comes_before_the_news_of_what_is_committed_says_that_it_is(engine: MemoryEngine) -> None:
    former = Copy(NUMBER - 1, NAMED)
    copy = begin_backfill(NUMBER, former, BeginBackfill(3, NAMED.rid, 1, 4, 7, [(1, 1)], 1000))
    copy.promise(1)
    append(copy, put(b"a"))
    append(copy, put(b"z"))
    save(copy, engine)
    assert (copy.commit_seq, copy.applied_seq) == (4, 4)
    row = encode_value(1, 5, 0, "", b"value")
    copy.take_chunk(Chunk(3, NAMED.rid, 1, b"", DATA_POSITION + b"k", 6, [(DATA_POSITION + b"a", row)], False, 1000))
    save(copy, engine)
    assert (copy.commit_seq, copy.applied_seq) == (6, 6)
    back = loaded(engine)
    assert (back.commit_seq, back.applied_seq, back.log.end) == (6, 6, 6)
