"""The time of a partition that is led here, by which keys and what is remembered come to their end.

Guarantees: it is never before the time in the log, and goes on whatever the wall clock does: where that is behind the
log's time, for it was ahead once or has been set back, it goes on from there a little more slowly, so that the two
meet. Leaves to others: writing it down with every row (`leader`). Sans-IO. PROTOCOL "Time to live".
"""

from __future__ import annotations

from kvstore.instant import Instant

# Of the time that passes, while the wall clock is behind.
SLOWED = 0.9


class LeaderTime:
    """Args: now: when the leadership began."""

    def __init__(self, now: Instant) -> None:
        self._logged_ms = now.mono_ms

    def logged(self, now: Instant) -> None:
        """A row was made, with the time that it is now."""
        self._logged_ms = now.mono_ms

    def at(self, now: Instant, log_ms: int) -> int:
        """The time, in milliseconds; `log_ms` is that of the log's end."""
        return max(now.wall_ms, log_ms + int(SLOWED * max(0, now.mono_ms - self._logged_ms)))
