"""The key in the middle of a partition, by bytes.

Guarantees: rows are read a bounded piece at a time, each from a view of its own, so nothing is pinned; reading ends at
the half of what the copy counts. What changes meanwhile makes the answer less exact and nothing else. Leaves to others:
when to go on (`node.split_finder`). Sans-IO.
"""

from __future__ import annotations

from kvstore.heat.split_point import SplitPoint, separator
from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import value_bytes

PIECE_ROWS = 256
PIECE_BYTES = 128 * 1024


class MiddleKey:
    """Args: prefix: of the copy's rows, which end at `prefix_end`; size_bytes: of its keys and values."""

    def __init__(self, prefix: bytes, prefix_end: bytes, size_bytes: int) -> None:
        self._prefix = prefix
        self._end = prefix_end
        self._position = prefix
        self._half_bytes = size_bytes / 2
        self._passed_bytes = 0
        self._neighbours: tuple[bytes, bytes] | None = None
        self._last: bytes | None = None

    def step(self, view: Snapshot) -> SplitPoint | None:
        """Read the next piece; None where that is not enough yet."""
        head, piece_bytes = len(self._prefix), 0
        for number, (row_key, row) in enumerate(view.scan(Table.DATA, self._position, self._end), 1):
            key = row_key[head:]
            if self._last is not None:
                self._neighbours = self._last, key
                if self._passed_bytes >= self._half_bytes:
                    return self._found()
            size_bytes = len(key) + value_bytes(row)
            self._last = key
            self._passed_bytes += size_bytes
            piece_bytes += size_bytes
            if piece_bytes >= PIECE_BYTES or number >= PIECE_ROWS:
                self._position = row_key + b"\x00"
                return None
        return self._found()

    def _found(self) -> SplitPoint:
        if self._neighbours is None:
            return SplitPoint(None, "it has fewer than two keys")
        return SplitPoint(separator(*self._neighbours), "half of its bytes is on each side")
