"""Which record the next operation is for: YCSB's zipfian, latest and uniform choice.

Guarantees: a pick is a record that exists, 0 to count - 1; the zipfian ranks follow the generator of Gray et al.
("Quickly generating billion-record synthetic databases") as YCSB uses it, theta 0.99; the same draws give the same
picks. Leaves to others: the source of chance, a callable that returns floats in [0, 1). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fnv import fnv64

THETA = 0.99
# YCSB draws ranks from this many and hashes them onto the records, so the share of the hottest does not depend on
# their number; the sum of 1/rank^theta over so many is a constant, as it is in YCSB.
SCRAMBLED_RANKS = 10_000_000_000
SCRAMBLED_ZETA = 26.46902820178302

Draw = Callable[[], float]


class Distribution(Protocol):
    """Chooses records."""

    def pick(self, count: int) -> int:
        """A record of the `count` (at least 1) that there are, 0 being the oldest."""
        ...


class Uniform:
    """Every record alike."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw

    def pick(self, count: int) -> int:
        return int(self._draw() * count)


class Zipfian:
    """Rank r is picked in proportion to 1 / (r + 1)^theta; rank 0 is the most frequent.

    Args:
        draw: the source of chance.
        count, zeta: a number of ranks whose sum of 1/rank^theta is known; it is summed up where it is not.
    """

    def __init__(self, draw: Draw, *, count: int = 0, zeta: float = 0.0) -> None:
        self._draw = draw
        self._count = count
        self._zeta = zeta

    def pick(self, count: int) -> int:
        if count != self._count:
            self._sum_up(count)
        scaled = self._draw() * self._zeta
        if scaled < 1.0 or count == 1:
            return 0
        if scaled < 1.0 + 0.5**THETA:
            return 1
        zeta_2 = 1.0 + 0.5**THETA
        eta = (1.0 - (2.0 / count) ** (1.0 - THETA)) / (1.0 - zeta_2 / self._zeta)
        rank = int(count * (eta * scaled / self._zeta - eta + 1.0) ** (1.0 / (1.0 - THETA)))
        return min(rank, count - 1)

    def _sum_up(self, count: int) -> None:
        if count < self._count:
            self._count, self._zeta = 0, 0.0
        self._zeta += sum(1.0 / rank**THETA for rank in range(self._count + 1, count + 1))
        self._count = count


class ScrambledZipfian:
    """Few records are hot, they are spread over all that there were at the first pick, and stay the hot ones when more
    come. YCSB guesses for that how many will come."""

    def __init__(self, draw: Draw) -> None:
        self._ranks = Zipfian(draw, count=SCRAMBLED_RANKS, zeta=SCRAMBLED_ZETA)
        self._spread_over = 0

    def pick(self, count: int) -> int:
        # Another modulus with each record that comes would move the hot ones each time.
        if not 0 < self._spread_over <= count:
            self._spread_over = count
        return fnv64(self._ranks.pick(SCRAMBLED_RANKS)) % self._spread_over


class Latest:
    """The newest record is the hottest."""

    def __init__(self, draw: Draw) -> None:
        self._ages = Zipfian(draw)

    def pick(self, count: int) -> int:
        return count - 1 - self._ages.pick(count)


DISTRIBUTIONS: dict[str, Callable[[Draw], Distribution]] = {
    "zipfian": ScrambledZipfian,
    "latest": Latest,
    "uniform": Uniform,
}
