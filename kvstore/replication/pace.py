"""How fast copies are filled: as fast as those who are served do not feel it.

Guarantees: over any time, a `Bucket` lets through no more bytes than the rate allows, and one piece; the rate is never
above the maximum that was set, and without one never below `FLOOR_BYTES_PER_S`, so that filling always comes to its
end. It falls when more than one of fifty things that were noted took longer than the bound, to less than what was
carried meanwhile, and rises else, fast where nobody is served at all. The bound is a little more than what is usual
where nothing is filled, and never above the maximum that was set. Leaves to others: what is noted (`node`), pieces
(`filling`). Sans-IO. PROTOCOL "Backfill".
"""

from __future__ import annotations

from kvstore.instant import Instant

LATE_MS = 25
LATE_MS_MIN = 8
LATE_TIMES = 1.4
WINDOW_MS = 500
PAUSE_MS = 2000
FLOOR_BYTES_PER_S = 2_000_000
START_BYTES_PER_S = 3_000_000
CEILING_BYTES_PER_S = 256_000_000
LATE_SHARE = 50
CALM_SHARE = 100
USUAL_MIN = 200
SLOWER, FASTER, FREE = 0.7, 1.25, 2.0
# A piece is what the rate lets through in this time: small pieces hold nobody up for long.
PIECE_MS = 15
PIECE_BYTES_MIN = 32 * 1024


class Usual:
    """What took how long since the last `take`, in whole milliseconds, and what that came to when there was enough."""

    def __init__(self) -> None:
        self.ms: int | None = None
        self._counts = [0] * (LATE_MS + 1)

    def note(self, ms: float) -> None:
        """Something took that long."""
        self._counts[min(int(ms), LATE_MS)] += 1

    def take(self, counts: bool) -> None:
        """Begin anew; what was noted is usual if it `counts`."""
        noted = sum(self._counts)
        if counts and noted >= USUAL_MIN:
            above = noted // LATE_SHARE
            self.ms = next(ms for ms in range(LATE_MS + 1) if sum(self._counts[ms + 1 :]) <= above)
        self._counts = [0] * (LATE_MS + 1)


class Pace:
    """Args: late_ms: the highest bound; bytes_per_s_max: 0 for none."""

    def __init__(self, late_ms: int = LATE_MS, bytes_per_s_max: int = 0) -> None:
        self.bytes_per_s_max = bytes_per_s_max
        self._late_ms_max = late_ms
        self._late_ms = float(late_ms)
        self._usual = Usual()
        self._rate = float(START_BYTES_PER_S)
        self._began_ms = 0
        self._asked_ms: int | None = None
        self._noted = 0
        self._late = 0
        self._carried_bytes = 0

    @property
    def bytes_per_s(self) -> float:
        """The rate."""
        return min(self._rate, self.bytes_per_s_max) if self.bytes_per_s_max else self._rate

    @property
    def piece_bytes(self) -> int:
        """About how large the next piece should be."""
        return max(PIECE_BYTES_MIN, int(self.bytes_per_s * PIECE_MS / 1000))

    def note(self, ms: float) -> None:
        """Somebody who is served waited that long."""
        self._noted += 1
        self._late += ms > self._late_ms
        self._usual.note(ms)

    def note_lag(self, ms: float) -> None:
        """The process got to what was due that much later."""
        self._late += ms > self._late_ms

    def carry(self, size_bytes: int) -> None:
        """So much was carried."""
        self._carried_bytes += size_bytes

    def reckon(self, now: Instant) -> None:
        """Judge the window that is over, if one is; after a pause begin anew."""
        asked_ms, self._asked_ms = self._asked_ms, now.mono_ms
        is_new = asked_ms is None or now.mono_ms - asked_ms > PAUSE_MS
        self._usual.take(counts=is_new)
        if is_new:
            self._rate = float(START_BYTES_PER_S)
            self._set_bound()
            self._begin_window(now)
            return
        window_ms = now.mono_ms - self._began_ms
        if window_ms < WINDOW_MS:
            return
        if self._late > 1 and self._late * LATE_SHARE > self._noted:
            carried = self._carried_bytes * 1000 / window_ms
            self._rate = max(FLOOR_BYTES_PER_S, SLOWER * min(self._rate, carried))
        elif self._late * CALM_SHARE <= self._noted:
            self._rate = min(CEILING_BYTES_PER_S, self._rate * (FASTER if self._noted else FREE))
        self._begin_window(now)

    def _set_bound(self) -> None:
        if self._usual.ms is not None:
            self._late_ms = min(self._late_ms_max, max(LATE_MS_MIN, LATE_TIMES * self._usual.ms))

    def _begin_window(self, now: Instant) -> None:
        self._began_ms = now.mono_ms
        self._noted = self._late = self._carried_bytes = 0


class Bucket:
    """What goes one way at a pace: a piece may go when what went before it is paid off."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._owed_bytes = 0.0
        self._paid_ms = 0

    def wait_ms(self, now: Instant) -> int:
        """For how long the next piece has to wait; 0: it may go."""
        self._pace.reckon(now)
        rate = self._pace.bytes_per_s / 1000
        self._owed_bytes = max(0.0, self._owed_bytes - rate * (now.mono_ms - self._paid_ms))
        self._paid_ms = now.mono_ms
        return -int(-self._owed_bytes // rate)

    def take(self, size_bytes: int) -> None:
        """A piece of that size goes."""
        self._owed_bytes += size_bytes
        self._pace.carry(size_bytes)
