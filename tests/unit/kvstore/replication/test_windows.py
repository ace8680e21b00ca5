"""Windows: the same records leave the same windows, and nothing that may come again is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.replication.windows import KEEP_MS, Kind, Window, Windows, decode_window, encode_window, kind_of
from kvstore.storage.records import DamagedRow, Record, RecordType


def numbered(number: int, floor: int = 0, origin: int = 1) -> Record:
    return Record(RecordType.PUT, b"k", origin=origin, number=number, floor=floor)


def taken(*records: Record, time_ms: int = 1000) -> Windows:
    windows = Windows()
    for seq, record in enumerate(records, start=1):
        windows.take(record, 1, seq, time_ms)
    return windows


def window_of(windows: Windows, origin: int = 1) -> Window:
    window = windows.get(origin)
    assert window is not None
    return window


def test_an_outcome_is_kept_as_long_as_its_number_is_not_below_the_floor() -> None:
    windows = taken(numbered(5, 5), numbered(7, 5), numbered(6, 6))
    assert sorted(window_of(windows).outcomes) == [6, 7]
    assert window_of(windows).floor == 6


def test_a_floor_never_falls() -> None:
    windows = taken(numbered(7, 7), numbered(8, 5))
    assert window_of(windows).floor == 7


@given(st.lists(st.integers(0, 40), unique=True), st.integers(0, 2**61))
def test_any_step_of_the_floor_forgets_exactly_what_is_below(numbers: list[int], floor: int) -> None:
    window = Window(0, 0, {number: (1, number, 0) for number in numbers})
    window.raise_floor(floor)
    assert sorted(window.outcomes) == [number for number in sorted(numbers) if number >= floor]


@pytest.mark.parametrize("numbers", [[9], [9, 10, 11], list(range(20))])
def test_the_outcome_at_the_floor_stays_however_far_the_floor_has_come(numbers: list[int]) -> None:
    window = Window(0, 0, {number: (1, number, 0) for number in numbers})
    window.raise_floor(9)
    assert min(window.outcomes) == window.floor == 9


def test_an_incarnation_that_was_silent_for_long_is_dropped_and_known_as_dropped() -> None:
    windows = taken(numbered(1, origin=3), time_ms=1000)
    windows.take(numbered(1, origin=2), 1, 2, 2000)
    windows.pass_to(1000 + KEEP_MS - 1)
    assert set(windows) == {2, 3}
    windows.pass_to(1000 + KEEP_MS)
    assert set(windows) == {2}
    assert windows.expired_upto == 3


def test_one_that_wrote_again_in_between_stays() -> None:
    windows = taken(numbered(1), time_ms=1000)
    windows.pass_to(1000)
    windows.take(numbered(2), 1, 2, 5000)
    windows.pass_to(1000 + KEEP_MS)
    windows.take(numbered(1, origin=9), 1, 3, 6000)
    windows.pass_to(5000 + KEEP_MS)
    assert set(windows) == {9}


WRITES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 8), st.integers(0, 8), st.integers(0, KEEP_MS // 2)), max_size=30
)


@given(WRITES, st.integers(0, 30))
def test_a_restart_in_between_changes_nothing(writes: list[tuple[int, int, int, int]], restart_at: int) -> None:
    """One copy goes on, the other reads its rows back somewhere: later rows are equal to the byte."""
    one, other = Windows(), Windows()
    time_ms = 0
    for seq, (origin, number, floor, step_ms) in enumerate(writes):
        if seq == restart_at:
            fresh = Windows()
            for known in other:
                fresh.put(known, decode_window(encode_window(window_of(other, known))))
            fresh.expired_upto = other.expired_upto
            other = fresh
        time_ms += step_ms
        for windows in (one, other):
            windows.take(numbered(number, min(number, floor), origin), 1, seq, time_ms)
            windows.pass_to(time_ms)
    assert {k: encode_window(window_of(one, k)) for k in one} == {k: encode_window(window_of(other, k)) for k in other}
    assert one.expired_upto == other.expired_upto


def test_a_clone_goes_on_by_itself() -> None:
    windows = taken(numbered(1))
    twin = windows.clone()
    twin.take(numbered(2, 2), 1, 2, 1000)
    assert list(window_of(windows).outcomes) == [1]


def test_the_kind_of_an_outcome_is_what_the_record_did() -> None:
    assert kind_of(Record(RecordType.PUT, b"k")) == Kind.CREATED
    assert kind_of(Record(RecordType.PUT, b"k", replaced_bytes=3)) == Kind.CHANGED
    assert kind_of(Record(RecordType.DELETE, b"k", replaced_bytes=3)) == Kind.CHANGED
    assert kind_of(Record(RecordType.OUTCOME, value=bytes((Kind.FAILED_CONDITION,)))) == Kind.FAILED_CONDITION


def test_a_damaged_window_is_found() -> None:
    with pytest.raises(DamagedRow):
        decode_window(b"\xff")


def test_a_clone_knows_as_well_who_was_dropped_and_goes_on_by_itself() -> None:
    windows = taken(numbered(1, origin=3), numbered(1, origin=2), time_ms=1000)
    windows.pass_to(1000 + KEEP_MS)
    windows.take(numbered(5, origin=7), 1, 3, 2000 + KEEP_MS)
    twin = windows.clone()
    assert (twin.expired_upto, set(twin)) == (3, {7})
    twin.take(numbered(6, origin=7, floor=6), 1, 4, 3000 + KEEP_MS)
    assert sorted(window_of(windows, 7).outcomes) == [5]


def test_a_window_that_was_taken_over_is_dropped_when_its_own_time_is_over() -> None:
    windows = taken(numbered(1, origin=9), time_ms=5000)
    windows.pass_to(5000)
    windows.put(3, Window(1000, 0, {1: (1, 1, 0)}))
    windows.pass_to(1000 + KEEP_MS)
    assert (set(windows), windows.expired_upto) == ({9}, 3)
