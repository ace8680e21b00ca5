"""Windows for ids: where the next one lies."""

from __future__ import annotations

from cluster.control.id_windows import TIME_END_MS, WINDOW_MS, IdWindows
from cluster.control.messages import DrawIdWindow, IdWindow


class Store:
    """Hands out windows, one after the other."""

    def __init__(self) -> None:
        self.windows = IdWindows()

    def first(self, worker: int, not_before_ms: int) -> IdWindow:
        """A window for a process that had none."""
        return self.draw(DrawIdWindow(worker, not_before_ms, is_first=True))

    def next(self, worker: int, not_before_ms: int) -> IdWindow:
        """A window for a process that had one."""
        return self.draw(DrawIdWindow(worker, not_before_ms))

    def draw(self, asked: DrawIdWindow) -> IdWindow:
        self.windows, window = self.windows.drawn(asked)
        return window


def window(worker: int, from_ms: int) -> IdWindow:
    return IdWindow(worker, from_ms, from_ms + WINDOW_MS)


def test_a_window_begins_when_it_is_asked_for() -> None:
    store = Store()
    assert store.first(1, 100) == window(1, 100)
    assert store.next(1, 50_000) == window(1, 50_000)


def test_the_first_window_of_a_process_lies_behind_all_others() -> None:
    store = Store()
    store.first(1, 0)
    assert store.first(2, 5) == window(2, WINDOW_MS)
    store.next(1, 30_000)
    assert store.first(3, 0) == window(3, 30_000 + WINDOW_MS)


def test_windows_of_one_worker_number_follow_each_other_whoever_asks() -> None:
    store = Store()
    store.first(1, 0)
    store.first(2, 100_000)
    store.first(1, 0)
    assert store.next(1, 0) == window(1, 100_000 + 2 * WINDOW_MS)


def test_windows_of_other_workers_may_lie_side_by_side_but_begin_no_earlier_than_the_newest() -> None:
    store = Store()
    for worker in (1, 2):
        store.first(worker, 0)
    assert store.next(1, 40_000) == window(1, 40_000)
    assert store.next(2, 40_001) == window(2, 40_001)
    assert store.next(3, 0) == window(3, 40_001)


def test_no_more_is_remembered_than_reaches_beyond_the_newest_start() -> None:
    store = Store()
    for worker in range(1024):
        store.first(worker, 0)
    assert store.windows.untils == {1023: 1024 * WINDOW_MS}


def test_a_clock_before_the_epoch_is_no_harm() -> None:
    assert Store().first(1, -5) == window(1, 0)


def test_at_the_end_of_time_windows_are_empty() -> None:
    store = Store()
    assert store.first(1, TIME_END_MS - 3) == IdWindow(1, TIME_END_MS - 3, TIME_END_MS)
    assert store.next(1, 0) == store.first(1, 2 * TIME_END_MS) == IdWindow(1, TIME_END_MS, TIME_END_MS)


def test_the_first_window_of_a_process_lies_behind_the_last_of_them_whoever_has_it() -> None:
    store = Store()
    store.next(1, 0)
    store.next(2, WINDOW_MS // 2)
    assert store.first(3, 0) == window(3, WINDOW_MS // 2 + WINDOW_MS)
