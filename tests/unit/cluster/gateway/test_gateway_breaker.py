"""When a node may be called: after calls without answer, while its link is down, and how it comes back."""

from __future__ import annotations

import pytest

from cluster.gateway.breaker import FAILURES_MAX, LASTING_S, PAUSE_S_MAX, PAUSE_S_MIN, PROBE_S_MAX, Breaker, State


class Clock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, lambda: 0.5)


def fail(breaker: Breaker, times: int = FAILURES_MAX) -> None:
    for _ in range(times):
        breaker.failed()


def test_calls_are_allowed_at_first(breaker: Breaker) -> None:
    assert all(breaker.allows() for _ in range(3))
    assert breaker.state is State.CLOSED


def test_it_opens_after_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, FAILURES_MAX - 1)
    assert breaker.allows()
    breaker.failed()
    assert breaker.state is State.OPEN
    assert not breaker.allows()


def test_an_answer_in_between_begins_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, FAILURES_MAX - 1)
    breaker.succeeded()
    fail(breaker, FAILURES_MAX - 1)
    assert breaker.allows()


def test_it_opens_at_once_when_the_link_is_down(breaker: Breaker) -> None:
    breaker.link_down()
    assert not breaker.allows()


def test_after_the_pause_one_call_is_allowed_and_its_answer_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now_s += PAUSE_S_MIN - 0.001
    assert not breaker.allows()
    clock.now_s += 0.001
    assert breaker.allows()
    assert breaker.state is State.HALF_OPEN
    assert not breaker.allows(), "one at a time"
    breaker.succeeded()
    assert breaker.state is State.CLOSED
    fail(breaker, FAILURES_MAX - 1)
    assert breaker.allows(), "the count begins anew"


def test_each_failed_probe_begins_a_longer_pause_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    pauses = []
    for _ in range(6):
        began_s = clock.now_s
        while not breaker.allows():
            clock.now_s += 0.125
        pauses.append(clock.now_s - began_s)
        breaker.failed()
        assert breaker.state is State.OPEN
    assert pauses == [0.5, 1.0, 2.0, 4.0, PAUSE_S_MAX, PAUSE_S_MAX]


def test_the_pause_is_short_again_after_an_answer(breaker: Breaker, clock: Clock) -> None:
    for _ in range(2):
        fail(breaker)
        clock.now_s += PAUSE_S_MIN
        assert breaker.allows()
        breaker.succeeded()


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 0.5), (0.999, 1.499)])
def test_the_pause_has_jitter(clock: Clock, drawn: float, factor: float) -> None:
    breaker = Breaker(clock, lambda: drawn)
    fail(breaker)
    clock.now_s += PAUSE_S_MIN * factor - 0.001
    assert not breaker.allows()
    clock.now_s += 0.002
    assert breaker.allows()


def test_failures_of_calls_that_left_before_do_not_lengthen_the_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3 * FAILURES_MAX)
    clock.now_s += PAUSE_S_MIN
    assert breaker.allows()


def test_a_link_that_stands_again_closes_it_until_one_call_is_not_answered(breaker: Breaker, clock: Clock) -> None:
    breaker.link_down()
    breaker.link_up()
    assert breaker.state is State.CLOSED, "it may be long before there is a call"
    clock.now_s += 2 * LASTING_S
    assert all(breaker.allows() for _ in range(3))
    assert not breaker.is_lasting
    breaker.failed()
    assert breaker.state is State.OPEN
    assert not breaker.allows()
    assert not breaker.is_lasting


def test_an_answer_over_a_link_that_stands_again_begins_the_count_anew(breaker: Breaker) -> None:
    breaker.link_down()
    breaker.link_up()
    breaker.succeeded()
    fail(breaker, FAILURES_MAX - 1)
    assert breaker.allows()


def test_a_link_that_stands_for_the_first_time_changes_nothing(breaker: Breaker) -> None:
    breaker.link_up()
    assert breaker.allows()
    assert breaker.state is State.CLOSED


def test_a_link_that_is_lost_while_open_does_not_lengthen_the_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    breaker.link_down()
    clock.now_s += PAUSE_S_MIN
    assert breaker.allows()


def test_a_probe_whose_end_nobody_told_gives_way_to_another(breaker: Breaker, clock: Clock) -> None:
    breaker.link_down()
    clock.now_s += PAUSE_S_MIN
    assert breaker.allows()
    clock.now_s += PROBE_S_MAX - 0.001
    assert not breaker.allows()
    clock.now_s += 0.001
    assert breaker.allows()


def test_it_lasts_from_the_first_failure_on_until_an_answer(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now_s += PAUSE_S_MIN
    assert breaker.allows()
    breaker.failed()
    clock.now_s += LASTING_S - PAUSE_S_MIN - 0.001
    assert not breaker.is_lasting
    clock.now_s += 0.001
    assert breaker.is_lasting
    breaker.succeeded()
    assert not breaker.is_lasting


def test_it_does_not_last_once_the_link_stands_again(breaker: Breaker, clock: Clock) -> None:
    breaker.link_down()
    clock.now_s += LASTING_S
    assert breaker.is_lasting
    breaker.link_up()
    assert not breaker.is_lasting
