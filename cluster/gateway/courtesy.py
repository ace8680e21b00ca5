"""How much room a long scan leaves to other requests.

Guarantees: alone, a scan goes at full speed; while others are served, it asks for small pages and rests after each for
several times as long as the page took, so that a request meets an idle core more often than not. Leaves to others: the
clock, and the rest itself (`scans`). Sans-IO.
"""

from __future__ import annotations

PAGE_BYTES = 128 * 1024
PAGE_BYTES_SHARED = 16 * 1024
REST_FACTOR = 3.0
REST_S_MAX = 0.05
# Others count as being served for so long after the last one of them.
MEMORY_S = 0.1


class Courtesy:
    """Args: others: how many other requests were begun so far; now_s: the clock."""

    def __init__(self, others: int, now_s: float) -> None:
        self._others = others
        self._began_s = now_s
        self._shared_until_s = 0.0

    @property
    def is_shared(self) -> bool:
        """Whether others are being served."""
        return self._began_s < self._shared_until_s

    @property
    def page_bytes(self) -> int:
        """How large the next page may be."""
        return PAGE_BYTES_SHARED if self.is_shared else PAGE_BYTES

    def rest_s(self, others: int, now_s: float) -> float:
        """A page was made and has left; how long to rest before the next one."""
        if others != self._others:
            self._others = others
            self._shared_until_s = now_s + MEMORY_S
        took_s, self._began_s = now_s - self._began_s, now_s
        return min(REST_S_MAX, took_s * REST_FACTOR) if self.is_shared else 0.0

    def rested(self, now_s: float) -> None:
        """The next page begins."""
        self._began_s = now_s
