"""How a scan gets along its range: which partitions it asks together, and in which order.

Guarantees: the legs of a scan cover its range without gap or overlap, in its direction; of a keyspace whose partitions
are ranges of keys a leg has only partitions of the range that is left, and the first legs one each, so that a page that
one partition fills asks few; of any other keyspace the only leg has all that may have keys. A leg that was not ended is
made anew from behind the last key that left, by whatever the keyspace is by then. Leaves to others: who leads them
(`scans`), what becomes of their answers (`scan_merge`). Sans-IO. PROTOCOL "Range scans".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from cluster.gateway.courtesy import PAGE_BYTES
from cluster.gateway.scan_merge import ItemStyle, KeyRange, ScanMerge
from kvstore.map_values import KeyspaceInfo

# A page is mostly in one partition, or over the bound of two; who has met that many is on a long way.
SINGLE_LEGS = 2
LEG_PARTITIONS_MAX = 16


class Leg(msgspec.Struct, frozen=True):
    """`pids` are asked for `keys`; `rest` is what is left of the range behind it, None where nothing is."""

    pids: tuple[int, ...]
    keys: KeyRange
    rest: KeyRange | None = None


def leg_of(keyspace: KeyspaceInfo, pids: Sequence[int], keys: KeyRange, number: int) -> Leg:
    """The next leg of a scan that has `keys` left, which may be in `pids`, and made `number` legs before."""
    count = 1 if number < SINGLE_LEGS else min(LEG_PARTITIONS_MAX, 2 << (number - SINGLE_LEGS))
    if keyspace.strategy != "range" or len(pids) <= count:
        return Leg(tuple(pids), keys)
    if keys.reverse:
        taken = pids[-count:]
        bound = keyspace.bounds[keyspace.pids.index(taken[0]) - 1]
        return Leg(tuple(taken), KeyRange(bound, keys.end, True), KeyRange(keys.start, bound, True))
    taken = pids[:count]
    bound = keyspace.bounds[keyspace.pids.index(taken[-1])]
    return Leg(tuple(taken), KeyRange(keys.start, bound), KeyRange(bound, keys.end))


class Walk:
    """A scan on its way: what is left of it, and how it goes on.

    Args:
        limit: how many items are wanted.
        reads_ahead: as for `ScanMerge`.

    Attributes:
        rest, left: what has not left yet of the range (None where that is nothing), and of the items.
        missing: partitions that were given up.
        page_bytes, reads_ahead: as for `ScanMerge`; they may be changed.
    """

    def __init__(self, keyspace: str, keys: KeyRange, style: ItemStyle, limit: int, reads_ahead: bool = False) -> None:
        self.keyspace = keyspace
        self.rest: KeyRange | None = keys
        self.left = limit
        self.missing: set[int] = set()
        self.page_bytes = PAGE_BYTES
        self.reads_ahead = reads_ahead
        self._style = style
        self._legs = 0

    def leg(self, keyspace: KeyspaceInfo, pids: Sequence[int]) -> Leg:
        """The next leg, of a scan that has something left; `pids` may have keys of it."""
        assert self.rest is not None
        return leg_of(keyspace, pids, self.rest, self._legs)

    def merge(self, leg: Leg, by_leader: Mapping[str, Sequence[tuple[int, int]]]) -> ScanMerge:
        """The merging of a leg; `by_leader` as for `ScanMerge`."""
        merge = ScanMerge(by_leader, leg.keys, self._style, limit=self.left, page_bytes=self.page_bytes)
        self.steer(merge)
        return merge

    def steer(self, merge: ScanMerge) -> None:
        """Have the merge go on as the scan is to go on by now."""
        merge.page_bytes, merge.reads_ahead = self.page_bytes, self.reads_ahead

    def went(self, leg: Leg, merge: ScanMerge) -> None:
        """The merge of this leg is over, or is to be made anew."""
        self.left = merge.left
        if merge.is_over:
            self._legs += 1
            self.rest = leg.rest
        else:
            self.rest = merge.rest if leg.rest is None else _joined(merge.rest, leg.rest)


def _joined(near: KeyRange, far: KeyRange) -> KeyRange:
    """Two neighbours as one range."""
    return KeyRange(far.start, near.end, True) if near.reverse else KeyRange(near.start, far.end)
