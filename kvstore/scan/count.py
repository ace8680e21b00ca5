"""Counting the keys of a range in partitions of one node.

Guarantees: each partition is counted as it stood when it was captured, from where it was asked to `next_start`, or to
the end of the range (None); at most about `KEYS_MAX` keys in all, a bounded piece at a time. Where keys are overdue or
hidden the count is not valid, as with a page. Leaves to others: what `page` does. Sans-IO. PROTOCOL "Range scans".
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from kvstore.scan.capture import CapturedPart, DamagedPart, Within
from kvstore.scan.page import OVERDUE_MAX, PIECE_BYTES
from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import DamagedRow, expiry_key, expiry_of

KEYS_MAX = 256 * 1024
PIECE_KEYS = 2048
PIECE_ROWS = 256

Pieces = Generator[bool, None, bytes | None]


class KeyCount:
    """Args: parts: each with the key to begin with; end: of the range, empty for none.

    Attributes:
        counts: (partition, keys, where to go on) of each partition that was begun.
    """

    def __init__(self, parts: Sequence[tuple[CapturedPart, bytes]], view: Snapshot, end: bytes) -> None:
        self.counts: list[tuple[int, int, bytes | None]] = []
        self.overdue: list[tuple[CapturedPart, bytes]] = []
        self.hidden: list[Within] = []
        self._view = view
        self._end = end
        self._left = KEYS_MAX
        self._away = 0
        self._steps = self._count(parts)

    def step(self) -> bool:
        """Count the next piece; True when all is counted. Raises DamagedPart."""
        return next(self._steps, None) is None

    def _count(self, parts: Sequence[tuple[CapturedPart, bytes]]) -> Iterator[bool]:
        for part, start in parts:
            if self._left <= 0 or len(self.overdue) >= OVERDUE_MAX:
                return
            before, self._away = self._left, 0
            try:
                next_start = yield from (self._all(part, start) if self._has_overdue(part) else self._keys(part, start))
            except DamagedRow as error:
                raise DamagedPart(part.pid, error) from error
            count = before - self._left - self._away + self._newer(part, start, next_start)
            self.counts.append((part.pid, count, next_start))
            end = self._end if next_start is None else next_start
            if part.hides(start, end):
                self.hidden.append((part, start, end))

    def _has_overdue(self, part: CapturedPart) -> bool:
        overdue = self._view.scan(Table.EXPIRY, part.prefix, expiry_key(part.prefix, part.time_ms + 1, b""))
        return next(overdue, None) is not None

    def _keys(self, part: CapturedPart, start: bytes) -> Pieces:
        """Count keys without a look at their rows; returns where to go on."""
        prefix, head = part.prefix, len(part.prefix)
        row_start, row_end = prefix + start, prefix + self._end if self._end else part.prefix_end
        while True:
            keys = self._view.keys(Table.DATA, row_start, row_end, PIECE_KEYS)
            self._left -= len(keys)
            if part.away is not None:
                self._away += sum(part.away.takes(key[head:]) for key in keys)
            if len(keys) < PIECE_KEYS:
                return None
            row_start = keys[-1] + b"\x00"
            if self._left <= 0:
                return row_start[head:]
            yield True

    def _all(self, part: CapturedPart, start: bytes) -> Pieces:
        """Count rows, and note those that are overdue; returns where to go on."""
        prefix, head = part.prefix, len(part.prefix)
        row_end, piece_bytes = prefix + self._end if self._end else part.prefix_end, 0
        for number, (row_key, row) in enumerate(self._view.scan(Table.DATA, prefix + start, row_end), 1):
            self._left -= 1
            piece_bytes += len(row)
            key, expiry_ms = row_key[head:], expiry_of(row)
            if part.away is not None and part.away.takes(key):
                self._away += 1
            elif expiry_ms and expiry_ms <= part.time_ms and key not in part.overlay:
                self.overdue.append((part, key))
            if self._left <= 0 or len(self.overdue) >= OVERDUE_MAX:
                return key + b"\x00"
            if piece_bytes >= PIECE_BYTES or number % PIECE_ROWS == 0:
                piece_bytes = 0
                yield True
        return None

    def _newer(self, part: CapturedPart, start: bytes, end: bytes | None) -> int:
        """By how many keys the overlay makes the count between `start` and `end` larger."""
        more = 0
        for key, row in part.overlay.items():
            if key < start or (end is not None and key >= end):
                continue
            if part.away is not None and part.away.takes(key):
                continue
            more += (row is not None) - (self._view.get(Table.DATA, part.prefix + key) is not None)
            if row is not None and 0 < expiry_of(row) <= part.time_ms:
                self.overdue.append((part, key))
        return more
