"""What every engine promises, whichever it is."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvstore.errors import OperatorError
from kvstore.storage import lmdb_engine
from kvstore.storage.engine import Batch, Engine, MapFull, Snapshot, Table, range_end
from kvstore.storage.lmdb_engine import LmdbEngine
from kvstore.storage.memory import MemoryEngine

LIMIT_BYTES = 2 * 1024 * 1024
KEY_END = b"\xff" * 492

Make = Callable[[], Engine]
Changes = dict[tuple[Table, bytes], bytes | None]


@pytest.fixture(params=["memory", "lmdb"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(lmdb_engine, "RESERVE_BYTES_MIN", 0)
    opened: list[Engine] = []

    def open_engine() -> Engine:
        engine: Engine
        if request.param == "memory":
            engine = MemoryEngine(LIMIT_BYTES)
        else:
            engine = LmdbEngine(Path(tempfile.mkdtemp(dir=tmp_path)), LIMIT_BYTES)
        opened.append(engine)
        return engine

    yield open_engine
    for engine in opened:
        engine.close()


@pytest.fixture
def engine(make: Make) -> Engine:
    return make()


def batch_of(changes: Changes) -> Batch:
    batch = Batch()
    for (table, key), value in changes.items():
        if value is None:
            batch.delete(table, key)
        else:
            batch.put(table, key, value)
    return batch


def commit(engine: Engine, changes: Changes) -> None:
    engine.commit(batch_of(changes))


def rows(view: Snapshot, table: Table = Table.DATA, start: bytes = b"", end: bytes = KEY_END) -> dict[bytes, bytes]:
    return dict(view.scan(table, start or b"\x00", end))


def state(engine: Engine) -> list[dict[bytes, bytes]]:
    view = engine.snapshot()
    try:
        return [rows(view, table) for table in Table]
    finally:
        view.close()


def test_a_new_engine_is_empty(engine: Engine) -> None:
    assert state(engine) == [{}] * len(Table)
    view = engine.snapshot()
    assert view.get(Table.DATA, b"k") is None
    assert view.last(Table.DATA, b"a", b"z") is None
    view.close()


def test_a_batch_changes_all_its_tables_at_once(engine: Engine) -> None:
    commit(engine, {(table, b"k"): table.name.encode() for table in Table})
    assert state(engine) == [{b"k": table.name.encode()} for table in Table]
    commit(engine, {(Table.DATA, b"k"): None, (Table.LOG, b"k"): b"new", (Table.LOG, b"l"): b"more"})
    assert state(engine)[:2] == [{}, {b"k": b"new", b"l": b"more"}]


def test_the_last_change_of_a_key_counts(engine: Engine) -> None:
    batch = Batch()
    batch.put(Table.DATA, b"put last", b"1")
    batch.delete(Table.DATA, b"put last")
    batch.put(Table.DATA, b"put last", b"2")
    batch.put(Table.DATA, b"deleted last", b"1")
    batch.delete(Table.DATA, b"deleted last")
    engine.commit(batch)
    assert state(engine)[Table.DATA] == {b"put last": b"2"}


def test_deleting_what_is_not_there_does_nothing(engine: Engine) -> None:
    commit(engine, {(Table.DATA, b"a"): b"1"})
    commit(engine, {(Table.DATA, b"b"): None, (Table.META, b"b"): None})
    assert state(engine)[Table.DATA] == {b"a": b"1"}


def test_an_empty_batch_and_an_empty_value_are_allowed(engine: Engine) -> None:
    batch = Batch()
    assert not batch
    engine.commit(batch)
    commit(engine, {(Table.EXPIRY, b"k"): b""})
    view = engine.snapshot()
    assert view.get(Table.EXPIRY, b"k") == b""
    view.close()


def test_the_longest_keys_of_the_store_fit(engine: Engine) -> None:
    key = b"\x00\x00\x00\x01" + b"\xff" * 8 + b"k" * 480
    commit(engine, {(Table.EXPIRY, key): b""})
    assert state(engine)[Table.EXPIRY] == {key: b""}


def test_a_snapshot_stays_as_it_was_while_commits_go_on(engine: Engine) -> None:
    commit(engine, {(Table.DATA, b"a"): b"1", (Table.DATA, b"b"): b"1"})
    view = engine.snapshot()
    scan = view.scan(Table.DATA, b"a", b"z")
    assert next(scan) == (b"a", b"1")
    for turn in range(5):
        commit(engine, {(Table.DATA, b"a"): b"%d" % turn, (Table.DATA, b"b"): None, (Table.DATA, b"c"): b"1"})
    assert list(scan) == [(b"b", b"1")]
    assert rows(view) == {b"a": b"1", b"b": b"1"}
    assert view.last(Table.DATA, b"a", b"z") == (b"b", b"1")
    later = engine.snapshot()
    assert rows(later) == {b"a": b"4", b"c": b"1"}
    view.close()
    later.close()


def test_a_snapshot_is_closed_as_often_as_one_likes(engine: Engine) -> None:
    view = engine.snapshot()
    view.close()
    view.close()
    commit(engine, {(Table.DATA, b"k"): b"v"})
    assert state(engine)[Table.DATA] == {b"k": b"v"}


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (b"a", b"z", [b"b", b"bb", b"d"]),
        (b"b", b"d", [b"b", b"bb"]),
        (b"b\x00", b"d", [b"bb"]),
        (b"d", b"d\x00", [b"d"]),
        (b"c", b"d", []),
        (b"e", b"z", []),
        (b"a", b"b", []),
        (b"z", b"a", []),
    ],
)
def test_a_range_holds_its_start_and_not_its_end(engine: Engine, start: bytes, end: bytes, found: list[bytes]) -> None:
    commit(engine, {(Table.LOG, key): key.upper() for key in (b"d", b"b", b"bb")})
    view = engine.snapshot()
    pairs = [(key, key.upper()) for key in found]
    assert list(view.scan(Table.LOG, start, end)) == pairs
    assert view.keys(Table.LOG, start, end, 10) == found
    assert view.keys(Table.LOG, start, end, 1) == found[:1]
    stored = [(key, key.upper()) for key in (b"b", b"bb", b"d")]
    assert list(view.rows(Table.LOG, start)) == [pair for pair in stored if pair[0] >= start]
    assert list(view.rows(Table.LOG, end, reverse=True)) == [pair for pair in stored[::-1] if pair[0] < end]
    assert view.last(Table.LOG, start, end) == ((found[-1], found[-1].upper()) if found else None)
    view.close()


def test_a_scan_may_be_left_half_way(engine: Engine) -> None:
    commit(engine, {(Table.DATA, b"%03d" % number): b"" for number in range(100)})
    view = engine.snapshot()
    scan = view.scan(Table.DATA, b"0", b"9")
    assert next(scan)[0] == b"000"
    del scan
    view.close()
    commit(engine, {(Table.DATA, b"000"): None})
    assert len(state(engine)[Table.DATA]) == 99


@given(st.binary(min_size=1, max_size=4).filter(lambda prefix: prefix.strip(b"\xff")), st.binary(max_size=6))
def test_the_end_of_a_prefix_is_after_all_that_begins_with_it(prefix: bytes, rest: bytes) -> None:
    assert prefix <= prefix + rest < range_end(prefix)
    assert len(range_end(prefix)) == len(prefix)


def fill(engine: Engine) -> int:
    """Put 64 KiB values until the next one does not fit; returns how many fit."""
    for number in range(1000):
        try:
            commit(engine, {(Table.DATA, b"fill%03d" % number): b"v" * 65536})
        except MapFull:
            return number
    raise AssertionError("it never filled up")


def test_a_batch_that_does_not_fit_leaves_everything_as_it_was(engine: Engine) -> None:
    commit(engine, {(Table.DATA, b"kept"): b"old", (Table.META, b"kept"): b"old"})
    fill(engine)
    before = state(engine)
    batch = batch_of({(Table.META, b"kept"): b"new", (Table.DATA, b"kept"): None})
    for number in range(40):
        batch.put(Table.LOG, b"%d" % number, b"v" * 65536)
    with pytest.raises(MapFull):
        engine.commit(batch)
    assert state(engine) == before


def test_a_full_engine_takes_deletes_and_then_has_room_again(engine: Engine) -> None:
    count = fill(engine)
    assert count > 8
    commit(engine, {(Table.DATA, b"fill%03d" % number): None for number in range(count // 2)})
    commit(engine, {(Table.META, b"small"): b"v"})
    commit(engine, {(Table.DATA, b"again"): b"v" * 65536})
    assert len(state(engine)[Table.DATA]) == count - count // 2 + 1


def test_usage_rises_with_what_is_stored_and_falls_with_what_is_deleted(engine: Engine) -> None:
    empty = engine.usage()
    assert empty.used < empty.limit
    commit(engine, {(Table.DATA, b"%d" % number): b"v" * 65536 for number in range(8)})
    assert engine.usage().used >= empty.used + 8 * 65536
    commit(engine, {(Table.DATA, b"%d" % number): None for number in range(8)})
    assert engine.usage().used < empty.used + 65536
    assert engine.usage().limit == empty.limit


def test_an_engine_is_closed_as_often_as_one_likes(engine: Engine) -> None:
    engine.close()
    engine.close()


def test_lmdb_keeps_everything_across_a_restart(tmp_path: Path) -> None:
    first = LmdbEngine(tmp_path, LIMIT_BYTES)
    commit(first, {(table, b"k%d" % table): b"v" * 5000 for table in Table})
    commit(first, {(Table.DATA, b"gone"): b"v"})
    commit(first, {(Table.DATA, b"gone"): None})
    before = state(first)
    first.close()
    second = LmdbEngine(tmp_path, LIMIT_BYTES)
    assert state(second) == before
    second.close()


def test_lmdb_says_in_one_line_that_a_file_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"this is no store" * 1000)
    with pytest.raises(OperatorError, match="cannot open the store") as refusal:
        LmdbEngine(tmp_path, LIMIT_BYTES)
    assert "\n" not in str(refusal.value)


def test_lmdb_keeps_a_reserve_beyond_what_clients_may_fill(tmp_path: Path) -> None:
    engine = LmdbEngine(tmp_path, LIMIT_BYTES)
    assert engine.usage().limit < LIMIT_BYTES
    commit(engine, {(Table.DATA, b"%d" % number): b"v" * 65536 for number in range(64)})
    assert engine.usage().used > LIMIT_BYTES
    engine.close()


KEYS = st.binary(min_size=1, max_size=3)
TABLES = st.sampled_from([Table.DATA, Table.LOG, Table.META])
CHANGES = st.dictionaries(st.tuples(TABLES, KEYS), st.none() | st.binary(max_size=20), max_size=6)


class Engines(RuleBasedStateMachine):
    """The same batches to both engines and to plain dicts: nobody can tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._memory = MemoryEngine()
        self._lmdb = LmdbEngine(Path(self._folder.name), LIMIT_BYTES)
        self._model: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._views: list[tuple[Snapshot, Snapshot, dict[Table, dict[bytes, bytes]]]] = []

    @rule(changes=CHANGES)
    def commit(self, changes: Changes) -> None:
        self._memory.commit(batch_of(changes))
        self._lmdb.commit(batch_of(changes))
        for (table, key), value in changes.items():
            if value is None:
                self._model[table].pop(key, None)
            else:
                self._model[table][key] = value

    @precondition(lambda self: len(self._views) < 3)
    @rule()
    def open(self) -> None:
        model = {table: dict(self._model[table]) for table in Table}
        self._views.append((self._memory.snapshot(), self._lmdb.snapshot(), model))

    @precondition(lambda self: self._views)
    @rule(pick=st.integers(0, 2))
    def close(self, pick: int) -> None:
        memory, lmdb, _ = self._views.pop(pick % len(self._views))
        memory.close()
        lmdb.close()

    @precondition(lambda self: not self._views)
    @rule()
    def reopen(self) -> None:
        self._lmdb.close()
        self._lmdb = LmdbEngine(Path(self._folder.name), LIMIT_BYTES)
        self._memory = self._memory.clone()

    @precondition(lambda self: self._views)
    @rule(pick=st.integers(0, 2), table=TABLES, start=KEYS, end=KEYS)
    def look(self, pick: int, table: Table, start: bytes, end: bytes) -> None:
        memory, lmdb, model = self._views[pick % len(self._views)]
        inside = sorted((key, value) for key, value in model[table].items() if start <= key < end)
        for view in (memory, lmdb):
            assert view.get(table, start) == model[table].get(start)
            assert list(view.scan(table, start, end)) == inside
            assert view.keys(table, start, end, len(inside) + 1) == [key for key, _ in inside]
            assert view.last(table, start, end) == (inside[-1] if inside else None)

    @invariant()
    def both_hold_the_same(self) -> None:
        assert state(self._memory) == state(self._lmdb) == list(self._model.values())

    def teardown(self) -> None:
        for _, lmdb, _ in self._views:
            lmdb.close()
        self._lmdb.close()
        self._folder.cleanup()


Engines.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_no_sequence_of_batches_tells_the_engines_apart = Engines.TestCase
