"""The names of a keyspace's tenants in order, for whoever lists them page by page.

Guarantees: a name comes in, and a page begins anywhere, in a time that hardly grows with how many there are; only what
is asked for is walked. Leaves to others: which names there are, and whether a tenant counts (`router`). Sans-IO.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import islice

RUN_MAX = 1024


class TenantNames:
    """Args: names: what it begins with, each once."""

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        ordered = sorted(names)
        half = RUN_MAX // 2
        self._runs = [ordered[start : start + half] for start in range(0, len(ordered), half)] or [[]]
        # Where each run but the first begins: what is below is in one before it.
        self._starts = [run[0] for run in self._runs[1:]]

    def add(self, name: bytes) -> None:
        """Take one that is not among them."""
        place = bisect_right(self._starts, name)
        run = self._runs[place]
        insort(run, name)
        if len(run) > RUN_MAX:
            half = len(run) // 2
            self._runs[place : place + 1] = [run[:half], run[half:]]
            self._starts.insert(place, run[half])

    def onwards(self, first: bytes) -> Iterator[bytes]:
        """Those from `first` on, in order; none may be added meanwhile."""
        place = bisect_right(self._starts, first)
        run = self._runs[place]
        yield from islice(run, bisect_left(run, first), None)
        for later in islice(self._runs, place + 1, None):
            yield from later
