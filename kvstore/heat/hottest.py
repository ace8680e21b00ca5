"""The hottest keys of a stream, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005).

Guarantees: of the weight W that came, a key with more than W / `size` is among those that are kept; what is told of a
kept key is at most what really came for it, and falls short of it by at most W / `size`. Old weight is made to count
less by giving new weight more (forward decay), so nothing is touched as time passes. Leaves to others: time, and what
a weight means (`node_heat`). Sans-IO.
"""

from __future__ import annotations


class HottestKeys:
    """Args: size: how many keys are kept, at least one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: dict[bytes, float] = {}
        self._excess: dict[bytes, float] = {}

    def add(self, key: bytes, weight: float) -> None:
        """So much came for the key. One that is not kept takes the place, and the count, of the least one."""
        counts = self._counts
        if key in counts:
            counts[key] += weight
            return
        inherited = 0.0
        if len(counts) >= self._size:
            least = min(counts, key=counts.__getitem__)
            inherited = counts.pop(least)
            del self._excess[least]
        counts[key] = inherited + weight
        self._excess[key] = inherited

    def rescale(self, factor: float) -> None:
        """Have all that came count so many times as much."""
        self._counts = {key: count * factor for key, count in self._counts.items()}
        self._excess = {key: excess * factor for key, excess in self._excess.items()}

    def top(self, count_max: int) -> list[tuple[bytes, float]]:
        """The hottest keys and what came for each at least, the hottest first; none of which nothing is sure."""
        sure = [(key, count - self._excess[key]) for key, count in self._counts.items()]
        sure.sort(key=lambda one: (-one[1], one[0]))
        return sure[:count_max]
