"""The log in memory, against a list of rows; where two logs part, against a comparison seq by seq."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.replication.log import Change, Held, Log, common_end, slices
from kvstore.storage.engine import Batch, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import Record, RecordType, copy_prefix, decode_log_row, encode_log_row, seq_key

PREFIX = copy_prefix(7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), st.integers(0, 1)),
        st.tuples(st.just("cut"), st.integers(0, 4)),
        st.tuples(st.just("release"), st.integers(0, 4)),
    ),
    max_size=25,
)


def next_row(log: Log, epoch: int, count: int, time_ms: int = 0) -> Held:
    records = [Record(RecordType.PUT, b"k%d" % number, b"v") for number in range(count)]
    row, _ = encode_log_row(epoch, log.end + 1, time_ms, log.end_checksum, records)
    return Held(row, decode_log_row(row))


def starts_of(rows: list[Held]) -> list[tuple[int, int]]:
    starts: list[tuple[int, int]] = []
    for held in rows:
        if not starts or starts[-1][0] != held.head.epoch:
            starts.append((held.head.epoch, held.head.first_seq))
    return starts


class Model:
    """A log and, beside it, the plain list of its rows; the first `released` stand in an engine only."""

    def __init__(self) -> None:
        self.log = Log(0, 0, 0, [], [])
        self.rows: list[Held] = []
        self.released = 0
        self.epoch = 1
        self.engine = MemoryEngine()

    def append(self, count: int, epoch_step: int) -> None:
        self.epoch += epoch_step
        held = next_row(self.log, self.epoch, count)
        self.log.append(held)
        self.rows.append(held)

    def cut(self, count: int) -> None:
        keep = max(self.released, len(self.rows) - count)
        end = self.rows[keep - 1].head.last_seq if keep else 0
        self.log.cut(end)
        self.rows = self.rows[:keep]
        self.epoch += 1

    def release(self, count: int) -> None:
        batch = Batch()
        for held in self.rows[self.released : self.released + count]:
            batch.put(Table.LOG, seq_key(PREFIX, held.head.first_seq), held.row)
        self.engine.commit(batch)
        self.released = min(len(self.rows), self.released + count)
        if self.released:
            self.log.release(self.rows[self.released - 1].head.last_seq)

    def check(self) -> None:
        last = self.rows[-1].head if self.rows else None
        assert self.log.end == (last.last_seq if last else 0)
        assert self.log.end_checksum == (last.checksum if last else 0)
        assert self.log.starts == starts_of(self.rows)
        assert list(self.log.held_after(0)) == self.rows[self.released :]
        view = self.engine.snapshot()
        for index in range(len(self.rows) + 1):
            seq = self.rows[index - 1].head.last_seq if index else 0
            got = []
            while (piece := self.log.rows_after(seq, 1 << 30, PREFIX, view))[0]:
                rows, previous, seq = piece
                assert previous == self.rows[index + len(got)].head.previous
                got += rows
            assert got == [held.row for held in self.rows[index:]]


@given(STEPS)
def test_a_log_holds_the_rows_that_were_appended_and_not_cut(steps: list[tuple[str, int, int]]) -> None:
    model = Model()
    for name, *arguments in steps:
        getattr(model, name)(*arguments)
        model.check()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(0, 400), st.booleans())
def test_rows_are_handed_out_in_order_and_in_pieces(counts: list[int], bytes_max: int, released: bool) -> None:
    model = Model()
    for count in counts:
        model.append(count, 0)
    model.release(len(counts) if released else 0)
    seq, got = 0, []
    while (piece := model.log.rows_after(seq, bytes_max, PREFIX, model.engine.snapshot()))[0]:
        rows, _, seq = piece
        assert len(rows) == 1 or sum(map(len, rows)) <= bytes_max
        got += rows
    assert got == [held.row for held in model.rows]


def test_rows_that_are_no_longer_kept_are_not_handed_out() -> None:
    model = Model()
    for _ in range(3):
        model.append(2, 0)
    model.release(3)
    batch = Batch()
    batch.delete(Table.LOG, seq_key(PREFIX, 1))
    model.engine.commit(batch)
    view = model.engine.snapshot()
    assert model.log.rows_after(0, 1 << 20, PREFIX, view)[0] == []
    assert model.log.rows_after(2, 1 << 20, PREFIX, view)[0] == [held.row for held in model.rows[1:]]


def test_a_seq_inside_a_row_has_nothing_that_follows_it() -> None:
    model = Model()
    model.append(3, 0)
    assert model.log.rows_after(1, 1 << 20, PREFIX, model.engine.snapshot())[0] == []


def test_only_the_next_row_of_the_chain_is_appended() -> None:
    log = Log(0, 0, 0, [], [])
    held = next_row(log, 1, 2)
    log.append(held)
    with pytest.raises(AssertionError, match="dense"):
        log.append(held)
    row, _ = encode_log_row(1, 3, 0, held.head.checksum ^ 1, [Record(RecordType.BARRIER)])
    with pytest.raises(AssertionError, match="chained"):
        log.append(Held(row, decode_log_row(row)))


def test_a_cut_names_the_rows_that_it_dropped_and_falls_between_rows() -> None:
    model = Model()
    for _ in range(3):
        model.append(2, 0)
    with pytest.raises(AssertionError, match="between rows"):
        model.log.cut(5)
    model = Model()
    for _ in range(3):
        model.append(2, 0)
    assert [held.head.first_seq for held in model.log.cut(2)] == [5, 3]
    assert model.log.cut(2) == []


def test_the_time_of_a_log_never_goes_back() -> None:
    log = Log(0, 0, 5000, [], [])
    for time_ms, highest in ((1000, 5000), (7000, 7000), (6000, 7000)):
        log.append(next_row(log, 1, 1, time_ms))
        assert log.time_ms == highest
    log.cut(0)
    assert log.time_ms == 7000


def log_of_epochs(history: list[tuple[int, int, int]]) -> list[list[int]]:
    """The log of each epoch as the epoch of each seq: it begins as a part of an earlier epoch's log."""
    logs: list[list[int]] = [[]]
    for epoch, (parent, kept, length) in enumerate(history, start=1):
        before = logs[parent % len(logs)]
        logs.append(before[: kept % (len(before) + 1)] + [epoch] * length)
    return logs


def vector(log: list[int]) -> list[tuple[int, int]]:
    return [(epoch, seq) for seq, epoch in enumerate(log, start=1) if seq == 1 or log[seq - 2] != epoch]


HISTORIES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=6)


@given(HISTORIES, st.data())
def test_two_logs_part_where_their_epoch_vectors_say(history: list[tuple[int, int, int]], data: st.DataObject) -> None:
    logs = log_of_epochs(history)

    def a_copy() -> list[int]:
        log = data.draw(st.sampled_from(logs))
        return log[: data.draw(st.integers(0, len(log)))]

    mine, theirs = a_copy(), a_copy()
    equal = 0
    while equal < min(len(mine), len(theirs)) and mine[equal] == theirs[equal]:
        equal += 1
    assert common_end(vector(mine), len(mine), vector(theirs), len(theirs)) == equal
    assert common_end(vector(theirs), len(theirs), vector(mine), len(mine)) == equal


def test_a_queue_is_cut_into_rows_of_bounded_size_and_behind_a_verify_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.replication.log.ROW_BYTES_MAX", 10)

    def sizes(*records: Record) -> list[list[int]]:
        changes: list[Change] = [(seq, record, None) for seq, record in enumerate(records, 1)]
        return [[len(record.value) for _, record, _ in part] for part in slices(changes)]

    def puts(*lengths: int) -> list[Record]:
        return [Record(RecordType.PUT, b"k", bytes(length)) for length in lengths]

    assert sizes(*puts(4, 6, 1, 9, 1, 30, 2)) == [[4, 6], [1, 9], [1], [30], [2]]
    assert sizes(*puts(9), Record(RecordType.VERIFY, value=b"v"), *puts(9, 1, 1)) == [[9, 1], [9, 1], [1]]
    assert sizes() == []
