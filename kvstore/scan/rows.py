"""The rows of a captured partition, as it stood when it was captured.

Guarantees: rows come in the order of the scan, each key once, what is newer than the view in its place; they are read
one at a time, as they are taken. Leaves to others: merging partitions (`page`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvstore.scan.capture import CapturedPart

Pair = tuple[bytes, bytes]


def with_overlay(rows: Iterator[Pair], part: CapturedPart, bound: bytes, reverse: bool) -> Iterator[Pair]:
    """Rows up to the bound, with what is newer in their places.

    Args:
        rows: from the beginning of the range on, possibly beyond its end.
        bound: the row key at which the range ends: the first that is not in it, or going down the last that is.
    """
    prefix = part.prefix
    newer = [(prefix + key, part.overlay[key]) for key in sorted(part.overlay, reverse=not reverse)]
    for pair in rows:
        row_key = pair[0]
        if row_key < bound if reverse else row_key >= bound:
            break
        while newer and (newer[-1][0] > row_key if reverse else newer[-1][0] < row_key):
            yield from _live(newer.pop())
        if newer and newer[-1][0] == row_key:
            yield from _live(newer.pop())
        else:
            yield pair
    while newer:
        yield from _live(newer.pop())


def _live(newer: tuple[bytes, bytes | None]) -> Iterator[Pair]:
    row_key, row = newer
    if row is not None:
        yield row_key, row
