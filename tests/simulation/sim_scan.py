"""A scan of one partition of a simulated node: what the node's scanner does, without its slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvstore.instant import Instant
from kvstore.messages import ReadOne, Scan
from kvstore.partitions import Partitions
from kvstore.replication.answers import LATER
from kvstore.scan.capture import capture
from kvstore.scan.page import ScanPage
from kvstore.scan.page_at_once import is_small, page_at_once
from kvstore.storage.memory import MemorySnapshot
from kvstore.txn.fences import Fence
from kvstore.txn.log_end import LOCKED
from kvstore.txn.transactions import KEY_WAIT_MS


class SimScan:
    """Args: again: has `ask` called once more, in a turn of its own."""

    def __init__(self, scan: Scan, again: Callable[[], None]) -> None:
        self._scan = scan
        self._again = again
        self._times: dict[int, int] = {}
        self._fence_end_ms: int | None = None
        self._fenced: set[int] = set()
        self._is_locked = False

    def ask(self, partitions: Partitions, view: MemorySnapshot, now: Instant) -> Any:
        """The page, a fault, or LATER: what it meets has to come to its end first."""
        answer = LOCKED if self._is_locked else self._page(partitions, view, now)
        if answer is not LATER and self._fenced:
            partitions.doubts.lift(self, self._fenced)
        return answer

    def _page(self, partitions: Partitions, view: MemorySnapshot, now: Instant) -> Any:
        scan = self._scan
        plain = page_at_once(partitions.by_pid, scan, view, now) if is_small(scan) else None
        if plain is not None:
            return plain
        captured, faults = capture(partitions.by_pid, scan.parts, scan.start, scan.end, now, self._times)
        if faults:
            return faults[0][1]
        page = ScanPage(captured, view, scan, now.wall_ms)
        while not page.step():
            pass
        if page.overdue:
            for part, key in page.overdue:
                partitions.reads.plain(lambda _: None, ReadOne(part.pid, part.ver, key), view, now)
            self._again()
            return LATER
        return self._wait(partitions, page, now) if page.hidden else page

    def _wait(self, partitions: Partitions, page: ScanPage, now: Instant) -> Any:
        """Wait at a fence for those who may change what is in the page."""
        if self._fence_end_ms is None:
            self._fence_end_ms = now.mono_ms + KEY_WAIT_MS
        if now.mono_ms >= self._fence_end_ms:
            return LOCKED
        ((part, start, end),) = page.hidden
        fence = Fence(self, self._told, start, end, self._fence_end_ms)
        if partitions.doubts.fence(fence, part.pid, part.ver) is LATER:
            self._fenced.add(part.pid)
        else:
            self._again()
        return LATER

    def _told(self, result: object) -> None:
        self._is_locked = result is LOCKED
        self._again()
