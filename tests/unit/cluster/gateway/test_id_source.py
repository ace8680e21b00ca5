"""When a window for ids is asked for, and what happens to those who ask for ids meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cluster.control.id_windows import TIME_END_MS, WINDOW_MS, IdWindows
from cluster.control.messages import DrawIdWindow, IdWindow
from cluster.gateway.id_source import WINDOWS_MAX, IdSource
from cluster.gateway.ids import RENEW_MS
from kvstore.errors import NoLeader, ShuttingDown


class Control:
    """Hands out windows, unless it is told to wait or to fail."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.asked: list[DrawIdWindow] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails = False
        self._windows = IdWindows()

    async def draw(self, asked: DrawIdWindow) -> IdWindow:
        self.asked.append(asked)
        await self.answers.wait()
        if self.fails:
            raise ShuttingDown("the gateway is stopping")
        self._windows, window = self._windows.drawn(asked)
        return window


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
async def source(control: Control) -> AsyncIterator[IdSource]:
    source = IdSource(5, control.draw, now_ms=lambda: control.now_ms, timeout_s=0.05)
    yield source
    await source.close()


async def turn() -> None:
    """Let what was begun run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_window_is_asked_for_before_ids_are(source: IdSource, control: Control) -> None:
    await turn()
    assert not control.asked
    assert len(await source.draw(3)) == 3
    assert control.asked == [DrawIdWindow(5, 1_000_000, is_first=True)]


async def test_who_asks_at_once_shares_one_window(source: IdSource, control: Control) -> None:
    drawn = await asyncio.gather(*(source.draw(10) for _ in range(20)))
    assert len(control.asked) == 1
    ids = [one for some in drawn for one in some]
    assert sorted(set(ids)) == ids


async def test_the_next_window_is_asked_for_while_the_last_one_serves(source: IdSource, control: Control) -> None:
    await source.draw(1)
    control.now_ms += WINDOW_MS - RENEW_MS + 1
    control.answers.clear()
    for _ in range(3):
        await source.draw(1)
        await turn()
    assert control.asked[1:] == [DrawIdWindow(5, 1_000_000 + WINDOW_MS)]
    control.answers.set()
    await turn()
    control.now_ms += RENEW_MS
    await source.draw(1)
    assert len(control.asked) == 2


async def test_an_idle_gateway_asks_for_no_window(source: IdSource, control: Control) -> None:
    await source.draw(1)
    control.now_ms += 100 * WINDOW_MS
    await turn()
    assert len(control.asked) == 1


async def test_a_silent_store_is_outlasted_to_the_end_of_the_window_and_then_refused_as_nothing_applied(
    source: IdSource, control: Control
) -> None:
    first = await source.draw(1)
    control.answers.clear()
    control.now_ms += WINDOW_MS - 1
    last = await source.draw(1)
    control.now_ms += 1
    for _ in range(2):
        with pytest.raises(NoLeader, match="map store") as refused:
            await source.draw(1)
        assert refused.value.definite
        assert refused.value.retry_after_s
    control.answers.set()
    again = await source.draw(1)
    assert first < last < again
    assert len(control.asked) == 2


async def test_a_window_that_came_too_late_is_followed_by_one_for_now(source: IdSource, control: Control) -> None:
    control.answers.clear()
    waiting = asyncio.create_task(source.draw(1))
    await turn()
    control.now_ms += 10 * WINDOW_MS
    control.answers.set()
    (one,) = await waiting
    assert one >> 22 == control.now_ms
    assert len(control.asked) == 2


async def test_who_waits_is_told_why_there_is_no_window_and_the_next_one_asks_again(
    source: IdSource, control: Control
) -> None:
    control.fails = True
    with pytest.raises(ShuttingDown):
        await source.draw(1)
    control.fails = False
    assert len(await source.draw(1)) == 1


async def test_one_that_gives_up_takes_the_window_from_nobody(source: IdSource, control: Control) -> None:
    control.answers.clear()
    impatient = asyncio.create_task(source.draw(1))
    patient = asyncio.create_task(source.draw(1))
    await turn()
    impatient.cancel()
    await turn()
    control.answers.set()
    assert len(await patient) == 1
    assert len(control.asked) == 1


async def test_a_clock_beyond_the_end_of_time_is_refused_and_uses_nothing_up(
    source: IdSource, control: Control
) -> None:
    control.now_ms = TIME_END_MS
    with pytest.raises(NoLeader, match="clock"):
        await source.draw(1)
    assert not control.asked
    control.now_ms = 5
    assert (await source.draw(1))[0] >> 22 == 5


async def test_where_time_is_used_up_asking_ends(source: IdSource, control: Control) -> None:
    control.now_ms = TIME_END_MS - 1
    with pytest.raises(NoLeader, match="do not fit"):
        await source.draw(4097)
    assert len(control.asked) == WINDOWS_MAX


async def test_who_closes_waits_for_no_window(source: IdSource, control: Control) -> None:
    control.answers.clear()
    with pytest.raises(NoLeader):
        await source.draw(1)
    await source.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
