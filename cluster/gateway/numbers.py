"""The numbers that a gateway gives its writes, so that a node tells a write that is sent again from a new one.

Guarantees: (incarnation, partition, number) is drawn once; a lane's floor is its lowest number that may still be sent
again, and never falls. Leaves to others: incarnations (control), when a write is done with (`dispatch`). Sans-IO.
PROTOCOL "Idempotency".
"""

from __future__ import annotations


class Lane:
    """The numbers of one incarnation in one partition."""

    __slots__ = ("_next", "_open", "floor", "origin", "pid")

    def __init__(self, origin: int, pid: int) -> None:
        self.origin = origin
        self.pid = pid
        self.floor = 1
        self._next = 1
        self._open: set[int] = set()

    def draw(self) -> int:
        """A number for a write, open until it is settled."""
        number = self._next
        self._next = number + 1
        self._open.add(number)
        return number

    def settle(self, number: int) -> None:
        """The write with this number is never sent again."""
        still_open = self._open
        still_open.discard(number)
        if number == self.floor:
            floor, end = number + 1, self._next
            while floor < end and floor not in still_open:
                floor += 1
            self.floor = floor


class Numbers:
    """The lanes of a gateway; `origin` is its incarnation, taken over by `renew` when a node has dropped it."""

    def __init__(self, origin: int) -> None:
        self.origin = origin
        self._lanes: dict[int, Lane] = {}

    def lane(self, pid: int) -> Lane:
        """Where writes to this partition draw from now."""
        lane = self._lanes.get(pid)
        if lane is None:
            lane = self._lanes[pid] = Lane(self.origin, pid)
        return lane

    def renew(self, origin: int) -> None:
        """Go on as another incarnation; what was drawn before keeps its own."""
        self.origin = origin
        self._lanes = {}
