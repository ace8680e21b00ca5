"""The lag of an event loop is seen, and forgotten after a while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from kvstore import loop_lag
from kvstore.loop_lag import TICKS, LoopLag

HELD_S = 0.05


@pytest.fixture
async def lag(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LoopLag]:
    """Measured, with short ticks."""
    monkeypatch.setattr(loop_lag, "TICK_S", 0.001)
    lag = LoopLag()
    measuring = asyncio.create_task(lag.measure())
    await asyncio.sleep(0.01)
    yield lag
    measuring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await measuring


def hold_the_loop() -> None:
    time.sleep(HELD_S)


def test_nothing_measured_is_no_lag() -> None:
    assert LoopLag().worst_s == 0


async def test_a_callback_that_holds_the_loop_shows(lag: LoopLag) -> None:
    hold_the_loop()
    await asyncio.sleep(0.01)
    assert lag.worst_s >= HELD_S / 2


async def test_a_lag_of_long_ago_is_forgotten(lag: LoopLag) -> None:
    hold_the_loop()
    await asyncio.sleep(0.01)
    worst_s = lag.worst_s
    for _ in range(TICKS * 20):
        await asyncio.sleep(0.001)
        if lag.worst_s < worst_s:
            return
    raise AssertionError("it still shows")
