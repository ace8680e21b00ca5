"""Ids never repeat and rise per gateway, over any readings of clocks, restarts, and shared worker numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.control.id_windows import TIME_END_MS, WINDOW_MS, IdWindows
from cluster.control.messages import DrawIdWindow, IdWindow
from cluster.gateway.ids import RENEW_MS, IdMaker, worker_of

GATEWAYS = 2


@dataclass
class Cluster:
    """Gateways on one record of windows; each has a clock that a test sets, and a number that rises with each start."""

    windows: IdWindows = field(default_factory=IdWindows)
    clocks_ms: list[int] = field(default_factory=lambda: [0] * GATEWAYS)
    workers: int = 2
    made: list[list[int]] = field(default_factory=lambda: [[] for _ in range(GATEWAYS)])
    starts: int = 0

    def __post_init__(self) -> None:
        self.makers = [self.start() for _ in range(GATEWAYS)]

    def start(self) -> IdMaker:
        self.starts += 1
        return IdMaker(self.starts % self.workers)

    def restart(self, gateway: int) -> None:
        """The process ends, with what it held in memory."""
        self.makers[gateway] = self.start()

    def renew(self, gateway: int) -> None:
        """Have the gateway ask for a window, if it wants one."""
        wanted = self.makers[gateway].wanted(self.clocks_ms[gateway])
        if wanted is not None:
            self.windows, window = self.windows.drawn(wanted)
            self.makers[gateway].take(window)

    def draw(self, gateway: int, count: int) -> None:
        """Draw ids, with what windows it takes."""
        for _ in range(2):
            ids = self.makers[gateway].draw(count, self.clocks_ms[gateway])
            if ids is not None:
                self.made[gateway] += ids
                return
            self.renew(gateway)
        raise AssertionError("a window just drawn has no room")


TO_THE_END_MS = (WINDOW_MS - 2, WINDOW_MS - 1, WINDOW_MS, WINDOW_MS - RENEW_MS + 1)
JUMPS_MS = st.sampled_from([sign * ms for ms in (1, 2, 3 * WINDOW_MS, *TO_THE_END_MS) for sign in (1, -1)])
COUNTS = st.sampled_from((1, 2, 4095, 4096, 4097, 10_000))


def stories() -> st.SearchStrategy[list[tuple[str, int, int]]]:
    """What happens, to which gateway, and how much."""
    gateways = st.integers(0, GATEWAYS - 1)
    step = st.one_of(
        st.tuples(st.just("draw"), gateways, COUNTS),
        st.tuples(st.just("draw"), gateways, COUNTS),
        st.tuples(st.just("clock"), gateways, JUMPS_MS | st.integers(-WINDOW_MS, WINDOW_MS)),
        st.tuples(st.just("renew"), gateways, st.just(0)),
        st.tuples(st.just("restart"), gateways, st.just(0)),
    )
    return st.lists(step, min_size=5, max_size=40)


@settings(max_examples=300)
@given(stories(), st.integers(1, 2))
@example([("draw", 0, 1), ("draw", 1, 1), ("clock", 0, WINDOW_MS - 1), ("draw", 0, 4097)], 1)
def test_ids_never_repeat_and_rise_per_gateway(story: list[tuple[str, int, int]], workers: int) -> None:
    cluster = Cluster(workers=workers)
    for what, gateway, amount in story:
        if what == "draw":
            cluster.draw(gateway, amount)
        elif what == "clock":
            cluster.clocks_ms[gateway] += amount
        elif what == "renew":
            cluster.renew(gateway)
        else:
            cluster.restart(gateway)
    everything = [one for made in cluster.made for one in made]
    assert len(set(everything)) == len(everything)
    for made in cluster.made:
        assert made == sorted(made)
    assert all(0 <= one < 1 << 63 for one in everything)


def held(*windows: IdWindow, worker: int = 5) -> IdMaker:
    maker = IdMaker(worker)
    for window in windows:
        maker.take(window)
    return maker


def parts(number: int) -> tuple[int, int, int]:
    """Time, worker and sequence of an id."""
    return number >> 22, number >> 12 & 1023, number & 4095


def test_an_id_tells_the_time_the_worker_and_its_place_in_the_millisecond() -> None:
    ids = held(IdWindow(5, 0, WINDOW_MS)).draw(2, 1234)
    assert ids is not None
    assert [parts(one) for one in ids] == [(1234, 5, 0), (1234, 5, 1)]


def test_a_millisecond_that_is_used_up_is_followed_by_the_next() -> None:
    ids = held(IdWindow(5, 0, WINDOW_MS)).draw(10_000, 7)
    assert ids is not None
    assert [parts(ids[place])[::2] for place in (4095, 4096, 9999)] == [(7, 4095), (8, 0), (9, 1807)]


def test_a_clock_that_steps_back_costs_nothing() -> None:
    maker = held(IdWindow(5, 0, WINDOW_MS))
    assert [parts(one) for now_ms in (70, 3) for one in maker.draw(1, now_ms) or ()] == [(70, 5, 0), (70, 5, 1)]


def test_nothing_is_made_outside_of_what_is_held() -> None:
    maker = held(IdWindow(5, 100, 110))
    assert IdMaker(5).draw(1, 105) is None
    assert maker.draw(1, 110) is None
    assert maker.draw(4097, 109) is None
    ids = maker.draw(1, 0)
    assert ids is not None
    assert parts(ids[0])[0] == 100
    assert maker.draw(10 * 4096, 0) is None
    assert len(maker.draw(10 * 4096 - 1, 0) or ()) == 10 * 4096 - 1
    assert maker.draw(1, 0) is None


def test_the_next_window_is_used_where_the_first_has_no_room() -> None:
    maker = held(IdWindow(5, 0, 10), IdWindow(5, 50, 60))
    ids = maker.draw(4097, 9)
    assert ids is not None
    assert parts(ids[0])[0] == 50
    assert maker.draw(1, 0) == [ids[-1] + 1]


def test_a_window_is_wanted_before_the_last_one_ends() -> None:
    assert IdMaker(5).wanted(7) == DrawIdWindow(5, 7, is_first=True)
    maker = held(IdWindow(5, WINDOW_MS - RENEW_MS, WINDOW_MS))
    assert maker.wanted(WINDOW_MS - RENEW_MS) is None
    assert maker.wanted(WINDOW_MS - RENEW_MS + 1) == DrawIdWindow(5, WINDOW_MS)
    assert maker.wanted(WINDOW_MS + 9) == DrawIdWindow(5, WINDOW_MS + 9)
    maker.draw((1 << 12) - 1, 0)
    assert maker.wanted(0) is None
    maker.draw(1, 0)
    assert maker.wanted(0) == DrawIdWindow(5, WINDOW_MS)
    maker.take(IdWindow(5, WINDOW_MS, 2 * WINDOW_MS))
    assert maker.wanted(WINDOW_MS) is None


def test_at_the_end_of_time_a_window_is_wanted_and_there_is_none() -> None:
    maker = held(IdWindow(5, TIME_END_MS, TIME_END_MS))
    assert maker.draw(1, 0) is None
    assert maker.wanted(0) is not None


@pytest.mark.parametrize(("incarnation", "worker"), [(1, 1), (1023, 1023), (1024, 0), (5 * 1024 + 3, 3)])
def test_a_worker_number_has_ten_bits(incarnation: int, worker: int) -> None:
    assert worker_of(incarnation) == worker
