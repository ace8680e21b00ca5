"""The records of a load test: their keys, their values, and which of them are there.

Guarantees: keys are YCSB's (`user` and the hash of the record's number), so they come in no order; a record counts as
there only when every record before it is, so a reader never asks for one that is still on its way.
Leaves to others: sending. Sans-IO.
"""

from __future__ import annotations

from fnv import fnv64

# Values are slices of one block at so many offsets: different enough, and nothing is generated per request.
OFFSETS = 4096


def key_of(number: int) -> str:
    """The key of record `number`, counted from 0."""
    return f"user{fnv64(number)}"


class Values:
    """Values of `size` bytes out of `block`, which has `size` + OFFSETS random bytes."""

    def __init__(self, block: bytes, size: int) -> None:
        self._block = block
        self._size = size

    def pick(self, draw: float) -> bytes:
        """A value for a float in [0, 1)."""
        start = int(draw * OFFSETS)
        return self._block[start : start + self._size]


class Inserts:
    """Numbers for new records. `count` is how many records are there without a gap, at first those loaded."""

    def __init__(self, loaded: int) -> None:
        self.count = loaded
        self._next = loaded
        self._beyond_gap: set[int] = set()
        self._given_back: list[int] = []

    def take(self) -> int:
        """The number of the record to insert next; one that was given back comes first."""
        if self._given_back:
            return self._given_back.pop()
        self._next += 1
        return self._next - 1

    def acknowledge(self, number: int) -> None:
        """Record `number`, which was taken, is stored."""
        self._beyond_gap.add(number)
        while self.count in self._beyond_gap:
            self._beyond_gap.remove(self.count)
            self.count += 1

    def give_back(self, number: int) -> None:
        """Record `number`, which was taken, is perhaps not stored: another insert has to put it."""
        self._given_back.append(number)
