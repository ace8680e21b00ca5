"""A keyspace of ranges that grows as keys come: which bounds it ends with.

Guarantees: a partition that reaches its limit is cut where the product would cut it: right after the newest key where
keys rise, else in the middle. Leaves to others: splits by load, merges; what time passes. Sans-IO.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable

from kvstore.heat.split_point import is_rising, separator

RECENT = 64
# Ranges that are cut in the middle are on average so full.
FULL = 0.69


class _Growing:
    def __init__(self, keys: list[bytes], recent: Iterable[bytes]) -> None:
        self.keys = keys
        self.recent = deque(recent, RECENT)

    def add(self, key: bytes) -> None:
        insort(self.keys, key)
        self.recent.append(key)


def grown_bounds(keys: Iterable[bytes], limit: int) -> list[bytes]:
    """The first key of each partition but the first, when each has been cut at so many keys."""
    bounds: list[bytes] = []
    parts = [_Growing([], ())]
    for key in keys:
        place = bisect_right(bounds, key)
        part = parts[place]
        part.add(key)
        if len(part.keys) < limit:
            continue
        if is_rising(list(part.recent)):
            bound = max(part.recent) + b"\x00"
            cut = bisect_right(part.keys, bound)
        else:
            cut = len(part.keys) // 2
            bound = separator(part.keys[cut - 1], part.keys[cut])
        right = _Growing(part.keys[cut:], (one for one in part.recent if one >= bound))
        parts[place : place + 1] = [_Growing(part.keys[:cut], (one for one in part.recent if one < bound)), right]
        bounds.insert(place, bound)
    return bounds


def limit_for(count: int, partitions: int) -> int:
    """How many keys a partition may have so that about so many partitions come out."""
    return max(2, round(count / partitions / FULL))
