"""Time, injected: what a process asks instead of the operating system.

Guarantees: `mono_ms` never goes back and goes on while the machine is suspended (CLOCK_BOOTTIME); `wall_ms` is the
calendar and promises nothing. Leaves to others: timers (the shell's ticks).
"""

from __future__ import annotations

import time
from typing import Protocol

from kvstore.instant import Instant


class Clock(Protocol):
    """A source of instants."""

    def now(self) -> Instant:
        """The present instant."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> Instant:
        return Instant(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000, time.time_ns() // 1_000_000)
