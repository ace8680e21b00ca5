"""Copies are filled as fast as those who are served do not feel it, and never faster than was set."""

from __future__ import annotations

import pytest

from kvstore.instant import Instant
from kvstore.replication.pace import (
    CEILING_BYTES_PER_S,
    FLOOR_BYTES_PER_S,
    LATE_MS,
    LATE_MS_MIN,
    PAUSE_MS,
    PIECE_BYTES_MIN,
    START_BYTES_PER_S,
    USUAL_MIN,
    WINDOW_MS,
    Bucket,
    Pace,
)


def at(ms: int) -> Instant:
    return Instant(ms, 0)


def windows(pace: Pace, count: int, served: int = 0, late: int = 0, carried_bytes: int = 0, lags: int = 0) -> float:
    """The rate after so many windows from now on, in each of which that much was noted."""
    start_ms = pace._began_ms
    for number in range(1, count + 1):
        for one in range(served):
            pace.note(LATE_MS + 1 if one < late else LATE_MS)
        for _ in range(lags):
            pace.note_lag(LATE_MS + 1)
        pace.carry(carried_bytes)
        pace.reckon(at(start_ms + number * WINDOW_MS))
    return pace.bytes_per_s


@pytest.fixture
def pace() -> Pace:
    pace = Pace()
    pace.reckon(at(0))
    return pace


def test_where_nobody_is_served_the_rate_soon_is_no_limit(pace: Pace) -> None:
    assert windows(pace, 8) == CEILING_BYTES_PER_S


def test_the_rate_rises_slowly_while_nobody_who_is_served_waits_too_long(pace: Pace) -> None:
    assert START_BYTES_PER_S < windows(pace, 1, served=200, late=2) < 2 * START_BYTES_PER_S


def test_the_rate_stays_where_a_few_of_those_served_wait_too_long(pace: Pace) -> None:
    assert windows(pace, 5, served=200, late=3) == START_BYTES_PER_S


def test_the_rate_falls_to_its_floor_and_no_lower_while_those_served_wait_too_long(pace: Pace) -> None:
    assert windows(pace, 1, served=200, late=5, carried_bytes=10**9) < START_BYTES_PER_S
    assert windows(pace, 50, served=200, late=5) == FLOOR_BYTES_PER_S


def test_one_that_waits_too_long_is_no_reason(pace: Pace) -> None:
    assert windows(pace, 5, served=3, late=1) == START_BYTES_PER_S


def test_a_process_that_is_late_for_everything_goes_slower(pace: Pace) -> None:
    assert windows(pace, 50, lags=2) == FLOOR_BYTES_PER_S


def test_a_rate_that_was_not_reached_is_no_measure_of_what_is_too_much(pace: Pace) -> None:
    windows(pace, 8)
    assert windows(pace, 1, served=100, late=50, carried_bytes=4_000_000) == 4_000_000 * 2 * 0.7


def test_after_a_pause_it_begins_anew(pace: Pace) -> None:
    windows(pace, 8)
    pace.reckon(at(8 * WINDOW_MS + PAUSE_MS + 1))
    assert pace.bytes_per_s == START_BYTES_PER_S


def filled_after(usual_ms: int, noted: int) -> Pace:
    """A pace that begins to fill after so much took the usual time."""
    pace = Pace()
    for _ in range(noted):
        pace.note(usual_ms)
    pace.reckon(at(0))
    return pace


def slowed_by(pace: Pace, ms: float) -> bool:
    """Whether it goes slower when everything takes that long."""
    before = pace.bytes_per_s
    for _ in range(100):
        pace.note(ms)
    pace.carry(10**9)
    pace.reckon(at(pace._began_ms + WINDOW_MS))
    return pace.bytes_per_s < before


@pytest.mark.parametrize(
    ("usual_ms", "bound_ms"), [(1, LATE_MS_MIN), (10, 14), (LATE_MS - 5, LATE_MS), (10 * LATE_MS, LATE_MS)]
)
def test_the_bound_is_a_little_more_than_what_was_usual(usual_ms: int, bound_ms: int) -> None:
    assert not slowed_by(filled_after(usual_ms, USUAL_MIN), bound_ms)
    assert slowed_by(filled_after(usual_ms, USUAL_MIN), bound_ms + 0.1)


def test_too_little_tells_nothing_of_what_is_usual() -> None:
    assert not slowed_by(filled_after(1, USUAL_MIN - 1), LATE_MS)


def test_what_was_noted_while_copies_were_filled_is_not_usual() -> None:
    pace = filled_after(1, USUAL_MIN)
    slowed_by(pace, LATE_MS)
    slowed_by(pace, LATE_MS)
    slowed_by(pace, LATE_MS)
    pace.reckon(at(pace._began_ms + PAUSE_MS + 1))
    assert slowed_by(pace, LATE_MS_MIN + 1)


def test_pieces_are_small_where_the_rate_is_low(pace: Pace) -> None:
    windows(pace, 50, lags=2)
    assert pace.piece_bytes == PIECE_BYTES_MIN
    windows(pace, 8)
    assert pace.piece_bytes > 10 * PIECE_BYTES_MIN


def test_no_more_goes_than_the_maximum_lets_through_and_one_piece() -> None:
    bucket = Bucket(Pace(bytes_per_s_max=100_000))
    gone = 0
    for ms in range(5000):
        if not bucket.wait_ms(at(ms)):
            bucket.take(7_000)
            gone += 7_000
    assert 490_000 <= gone <= 507_000


def test_a_maximum_below_the_floor_is_kept(pace: Pace) -> None:
    pace.bytes_per_s_max = 1
    assert windows(pace, 5) == 1


def test_a_wait_is_as_long_as_what_is_owed_takes_to_be_paid_off() -> None:
    bucket = Bucket(Pace(bytes_per_s_max=1000))
    assert bucket.wait_ms(at(0)) == 0
    bucket.take(250)
    assert bucket.wait_ms(at(0)) == 250
    assert bucket.wait_ms(at(249)) == 1
    assert bucket.wait_ms(at(250)) == 0
