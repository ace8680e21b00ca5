"""Virtual time: a seeded heap of events. The same seed gives the same run."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from kvstore.instant import Instant

EPOCH_WALL_MS = 1_700_000_000_000


class World:
    """Everything that is random or takes time in a simulation asks here."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_ms = 0.0
        self.after_step: Callable[[], None] = lambda: None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, delay_ms: float, action: Callable[[], None]) -> None:
        """Run `action` after `delay_ms` of virtual time."""
        self._count += 1
        heapq.heappush(self._events, (self.now_ms + delay_ms, self._count, action))

    def instant(self, wall_offset_ms: int = 0, rate: float = 1.0) -> Instant:
        """What a process reads whose wall clock is wrong by that much and whose clocks run at that rate."""
        now_ms = int(self.now_ms * rate)
        return Instant(now_ms, EPOCH_WALL_MS + now_ms + wall_offset_ms)

    def run(self, until_ms: float) -> None:
        """Process events up to that moment."""
        while self._events and self._events[0][0] <= until_ms:
            self.now_ms, _, action = heapq.heappop(self._events)
            action()
            self.after_step()
        self.now_ms = until_ms
