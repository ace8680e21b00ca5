"""How late an event loop is: the time by which a timer that should ring now rings later.

Guarantees: a loop that one callback holds for a while shows it, as the worst of the last `TICKS` ticks, which is longer
than a scraper waits between two looks. Leaves to others: showing it (the metrics of node and gateway).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

TICK_S = 0.25
TICKS = 80


class LoopLag:
    """The lag of the loop in which `measure` runs. Args: heard: is told each lag, in seconds."""

    def __init__(self, heard: Callable[[float], None] = lambda _: None) -> None:
        self._heard = heard
        self._lags: deque[float] = deque(maxlen=TICKS)

    @property
    def worst_s(self) -> float:
        """The greatest lag of the last ticks, in seconds."""
        return max(self._lags, default=0.0)

    async def measure(self) -> None:
        """Tick until cancelled."""
        while True:
            # The loop's own clock stands still during a callback; this one tells the time.
            started = time.monotonic()
            await asyncio.sleep(TICK_S)
            lag_s = max(0.0, time.monotonic() - started - TICK_S)
            self._lags.append(lag_s)
            self._heard(lag_s)
