"""The rows of one captured partition from where a scan begins, as the partition stood when it was captured.

Guarantees: rows come in the order of the scan, each key once, what is newer than the view in its place; they are read
one at a time, as they are taken. Leaves to others: where to stop (`page`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterator

from kvstore.messages import Scan
from kvstore.scan.capture import CapturedPart
from kvstore.storage.engine import Snapshot, Table

Pair = tuple[bytes, bytes]


def bound_of(part: CapturedPart, asked: Scan) -> bytes:
    """The row key at which the scan of the partition ends: the first that is not in it, or going down the last that
    is."""
    if asked.reverse:
        return part.prefix + asked.start
    return part.prefix + asked.end if asked.end else part.prefix_end


def rows_of(part: CapturedPart, view: Snapshot, asked: Scan) -> Iterator[Pair]:
    """(row key, row) from the beginning of the range on, possibly beyond its end."""
    if asked.reverse:
        rows = view.rows(Table.DATA, part.prefix + asked.end if asked.end else part.prefix_end, True)
    else:
        rows = view.rows(Table.DATA, part.prefix + asked.start)
    return _with_overlay(rows, part, asked) if part.overlay else rows


def _with_overlay(rows: Iterator[Pair], part: CapturedPart, asked: Scan) -> Iterator[Pair]:
    """Rows of the range, with what is newer in their places."""
    prefix, reverse, bound = part.prefix, asked.reverse, bound_of(part, asked)
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
