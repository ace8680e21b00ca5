"""The nodes in the order in which they come on the ring, found only as far as somebody looks.

Guarantees: the same nodes in the same order as a list of all of them, of which most partitions need the first few: with
a thousand nodes whole lists would take minutes and gigabytes. Leaves to others: the points of the ring (`ring`).
Sans-IO.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, overload


class Walk(Sequence[str]):
    """Args:
    points: the node of each point of the ring, clockwise.
    start: the first point that counts.
    nodes: the nodes to meet, each of which has a point; with a fast `in`.
    """

    __slots__ = ("_met", "_nodes", "_offset", "_points", "_start")

    def __init__(self, points: Sequence[str], start: int, nodes: Collection[str]) -> None:
        self._points = points
        self._start = start
        self._nodes = nodes
        self._offset = 0
        self._met: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def __iter__(self) -> Iterator[str]:
        met = list(self._met)
        yield from met
        at = len(met)
        while at < len(self._nodes):
            if at == len(self._met):
                yield self._meet()
                at += 1
            else:
                later = list(self._met)[at:]
                yield from later
                at += len(later)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        return list(self)[at]

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """As a list's."""
        while value not in self._met and value in self._nodes:
            self._meet()
        at = self._met.get(value, -1)
        if at < start or (stop is not None and at >= stop):
            raise ValueError(f"{value!r} is not there")
        return at

    def _meet(self) -> str:
        """Go on to the next node that was not met yet; there must be one."""
        while True:
            node = self._points[(self._start + self._offset) % len(self._points)]
            self._offset += 1
            if node not in self._met and node in self._nodes:
                self._met[node] = len(self._met)
                return node
