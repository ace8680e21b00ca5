"""The live rows of one captured partition within a range of keys, read as far as they are wanted.

Guarantees: rows come in the order of the scan, each key once, as the partition stood when it was captured; what is read
at a time is bounded in rows and in bytes. Leaves to others: merging partitions (`page`), overdue rows. Sans-IO.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from kvstore.scan.capture import CapturedPart
from kvstore.storage.engine import Snapshot, Table, range_end

FILL_BYTES_MAX = 64 * 1024

Row = tuple[bytes, bytes, CapturedPart]


class PartRows:
    """Args: start, end: the range, without an end where that is empty; reverse: from the end down."""

    __slots__ = ("_end", "_first", "_overlaid", "_pending", "_reverse", "_rows", "frontier", "part")

    def __init__(self, part: CapturedPart, view: Snapshot, start: bytes, end: bytes, reverse: bool) -> None:
        self.part = part
        self.frontier: bytes | None = b""
        prefix = part.prefix
        self._rows = view.scan(Table.DATA, prefix + start, prefix + end if end else range_end(prefix), reverse)
        self._overlaid = sorted(part.overlay, reverse=reverse)
        self._reverse = reverse
        self._pending: list[Row] = []
        self._first = 0

    @property
    def pending(self) -> int:
        """How many rows are read and not taken."""
        return len(self._pending) - self._first

    def fill(self, rows_max: int) -> tuple[int, int]:
        """Read up to so many more rows, at least one if there is any; returns how many it read, and their bytes."""
        part, head, read, size = self.part, len(self.part.prefix), [], 0
        for row_key, row in self._rows:
            read.append((row_key[head:], row, part))
            size += len(row)
            if len(read) >= rows_max or size >= FILL_BYTES_MAX:
                self.frontier = read[-1][0]
                break
        else:
            self.frontier = None
        self._pending = self._pending[self._first :]
        self._first = 0
        self._pending += self._with_overlay(read) if self._overlaid else read
        return len(read), size

    def _with_overlay(self, read: list[Row]) -> list[Row]:
        """Rows as read, with what is newer up to the frontier in their places."""
        overlaid, part = self._overlaid, self.part
        if self.frontier is None:
            count = len(overlaid)
        elif self._reverse:
            count = bisect_right(overlaid, _Downwards(self.frontier), key=_Downwards)
        else:
            count = bisect_right(overlaid, self.frontier)
        if not count:
            return read
        rows: dict[bytes, bytes | None] = {key: row for key, row, _ in read}
        rows.update((key, part.overlay[key]) for key in overlaid[:count])
        del overlaid[:count]
        return [(key, row, part) for key in sorted(rows, reverse=self._reverse) if (row := rows[key]) is not None]

    def take(self, bound: bytes | None) -> list[Row]:
        """Take what is read up to and including `bound`, everything for None."""
        pending, first = self._pending, self._first
        if bound is None:
            end = len(pending)
        elif self._reverse:
            end = bisect_right(pending, _Downwards(bound), first, key=_downwards_key)
        else:
            end = bisect_left(pending, (bound + b"\x00",), first)
        self._first = end
        return pending[first:end]


class _Downwards:
    """A key that compares the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key

    def __lt__(self, other: _Downwards) -> bool:
        return self.key > other.key


def _downwards_key(row: Row) -> _Downwards:
    return _Downwards(row[0])
