"""Ids: numbers of 63 bits that are unique in the cluster for ever, made in windows of time that nobody else has.

Guarantees: an id is made once, and higher than all made here before it, whatever the clock says: where it stands or
steps back, ids go on behind the last one, a millisecond ahead for each 4,096. Leaves to others: windows (control),
the clock and waiting (`id_source`). Sans-IO. PROTOCOL "Ids".
"""

from __future__ import annotations

from cluster.control.messages import DrawIdWindow, IdWindow

EPOCH_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z; times in ids, and of windows, count from it.
WORKER_BITS = 10
SEQUENCE_BITS = 12
RENEW_MS = 5_000

_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


def worker_of(incarnation: int) -> int:
    """The worker number of a gateway's process; one that lives at the same time may have the same."""
    return incarnation & ((1 << WORKER_BITS) - 1)


class IdMaker:
    """Makes the ids of one worker number; it counts places, of which a millisecond has 4,096."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._windows: list[IdWindow] = []
        self._next = 0

    def wanted(self, now_ms: int) -> DrawIdWindow | None:
        """The window to ask for, where those held end in less than `RENEW_MS`."""
        if not self._windows:
            return DrawIdWindow(self._worker, now_ms, is_first=True)
        last = self._windows[-1]
        if last.until_ms - max(self._next >> SEQUENCE_BITS, now_ms, last.from_ms) >= RENEW_MS:
            return None
        return DrawIdWindow(self._worker, max(last.until_ms, now_ms))

    def take(self, window: IdWindow) -> None:
        """A window that is durably ours, and lies behind the ones before."""
        self._windows = [*self._windows[-1:], window]

    def draw(self, count: int, now_ms: int) -> list[int] | None:
        """So many ids, rising; None where no window that is held has room for them from `now_ms` on."""
        for window in self._windows:
            first = max(self._next, max(now_ms, window.from_ms) << SEQUENCE_BITS)
            if first + count <= window.until_ms << SEQUENCE_BITS:
                self._next = first + count
                return [self._id(place) for place in range(first, first + count)]
        return None

    def _id(self, place: int) -> int:
        time_ms, sequence = place >> SEQUENCE_BITS, place & _SEQUENCE_MASK
        return (time_ms << WORKER_BITS | self._worker) << SEQUENCE_BITS | sequence
