"""Range partitioning: each partition has the keys between two bounds.

Guarantees: the ranges cover all keys and do not overlap; keys are compared as bytes, whole: a hash tag means nothing
here, or keys beside each other would not be in one partition. Leaves to others: where the bounds should be. Sans-IO.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from cluster.partitioning import told


class RangePartitioner:
    """Partition i has the keys from bound i - 1 up to but not including bound i.

    Args:
        pids: uids of the partitions in the order of their ranges.
        bounds: the first key of each partition but the first, rising.
    """

    def __init__(self, pids: Sequence[int], bounds: Sequence[bytes]) -> None:
        if len(pids) != len(bounds) + 1 or any(one >= other for one, other in itertools.pairwise(bounds)):
            raise ValueError("a keyspace of ranges has one partition more than bounds, which rise")
        self._pids = tuple(pids)
        self._bounds = tuple(bounds)

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to."""
        return self._pids[bisect_right(self._bounds, key)]

    def pids_within(self, start: bytes, end: bytes) -> Sequence[int]:
        """Those whose ranges meet this one."""
        last = bisect_left(self._bounds, end) if end else len(self._bounds)
        return self._pids[bisect_right(self._bounds, start) : last + 1]

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each."""
        place = bisect_right(self._bounds, key)
        first = f"from {told(self._bounds[place - 1])}" if place else "from the first key"
        last = f"up to {told(self._bounds[place])}" if place < len(self._bounds) else "to the last key"
        return [
            f"key: {told(key)}, compared as bytes; hash tags mean nothing in ranges",
            f"range: number {place} of {len(self._pids)}, {first} {last}",
            f"partition: {self._pids[place]} has that range",
        ]
