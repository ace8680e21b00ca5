"""Where a range of keys is best cut in two.

Guarantees: a point has keys on both sides, but where keys rise with time: then it is right after the newest, so that
the new partition begins empty and takes all that comes; it is never the first bound of the range; it is as short as two
neighbours allow. Leaves to others: seeing the keys (`node_heat`, `middle`), the cut itself (control). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from kvstore.keys import KEY_BYTES_MAX

SAMPLES_MIN = 32
RISING_SAMPLES_MIN = 16
# Nearly all that is newer lies beyond nearly all that is older: what is drawn by chance does so to a tenth.
RISING_QUANTILE = 0.9
RISING_SHARE = 0.8
# A point that leaves less of the load than this on one side is not worth a cut.
SIDE_SHARE_MIN = 0.1
SHOWN_BYTES_MAX = 64


class SplitPoint(msgspec.Struct, frozen=True):
    """The first key of the new partition, or None; `reason` says why there, or why not."""

    key: bytes | None
    reason: str


def separator(lower: bytes, upper: bytes) -> bytes:
    """The shortest key after `lower` that is not after `upper`; `lower` is less than `upper`."""
    assert lower < upper, "a point lies between two keys"
    shared = 0
    while shared < len(lower) and lower[shared] == upper[shared]:
        shared += 1
    return upper[: shared + 1]


def is_rising(written: Sequence[bytes]) -> bool:
    """Whether keys are written in their order.

    Args:
        written: keys that were written, the newest last.
    """
    if len(written) < RISING_SAMPLES_MIN:
        return False
    half = len(written) // 2
    older, newer = sorted(written[:half]), written[half:]
    limit = older[min(half - 1, int(half * RISING_QUANTILE))]
    return sum(key > limit for key in newer) >= RISING_SHARE * len(newer)


def split_by_load(
    written: Sequence[bytes], read: Sequence[bytes], writes: float, reads: float, start: bytes, end: bytes
) -> SplitPoint:
    """A key with half of the load on each side.

    Args:
        written: keys of recent writes, the newest last; read: of reads.
        writes: how many there are in a second; reads: likewise.
        start: first bound of the range; end: its end (empty: no end). Keys beyond them do not count.
    """
    written = [key for key in written if _is_within(key, start, end)]
    read = [key for key in read if _is_within(key, start, end)]
    if len(written) + len(read) < SAMPLES_MIN:
        return SplitPoint(None, "too few of its reads and writes were seen")
    if writes >= reads and is_rising(written):
        return _after(max(written), end)
    weighed = [(key, writes / len(written)) for key in written] + [(key, reads / len(read)) for key in read]
    return _median(sorted(weighed))


def _is_within(key: bytes, start: bytes, end: bytes) -> bool:
    return key >= start and (not end or key < end)


def _after(newest: bytes, end: bytes) -> SplitPoint:
    point = newest + b"\x00"
    if len(newest) >= KEY_BYTES_MAX or (end and point >= end):
        return SplitPoint(None, "keys rise with time, and there is none after the newest")
    return SplitPoint(point, "keys rise with time: right after the newest")


def _median(weighed: Sequence[tuple[bytes, float]]) -> SplitPoint:
    total = sum(weight for _, weight in weighed)
    if total <= 0:
        return SplitPoint(None, "it has no load")
    passed, best, point = 0.0, 0.0, None
    for (lower, weight), (upper, _) in pairwise(weighed):
        passed += weight
        smaller = min(passed, total - passed)
        if lower != upper and smaller > best:
            best, point = smaller, (lower, upper)
    if point is None or best < SIDE_SHARE_MIN * total:
        return SplitPoint(None, f"nearly all of its load is on one key, {shown(_heaviest(weighed))}")
    return SplitPoint(separator(*point), "half of its load is on each side, as far as keys allow")


def _heaviest(weighed: Iterable[tuple[bytes, float]]) -> bytes:
    sums: dict[bytes, float] = {}
    for key, weight in weighed:
        sums[key] = sums.get(key, 0.0) + weight
    return max(sums, key=sums.__getitem__)


def shown(key: bytes) -> str:
    """A key as it stands in a sentence."""
    more = "…" if len(key) > SHOWN_BYTES_MAX else ""
    return repr(key[:SHOWN_BYTES_MAX].decode("utf-8", "backslashreplace")) + more
