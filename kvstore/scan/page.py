"""One page of a scan over partitions of one node, merged in the order of keys.

Guarantees: the page holds every live key of every captured partition from the range's beginning up to its last key, or
up to the range's end when `is_done`, each once; little more is read than it takes; it is made piece by piece.
Where keys are overdue the page is not valid: their end has to be committed first, then it is made anew. Leaves to
others: the time it takes, and the waiting (`node.scanner`). Sans-IO. PROTOCOL "Range scans", "Time to live".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

from kvstore.messages import Scan
from kvstore.scan.capture import CapturedPart
from kvstore.scan.items import ItemForm, item_encoder
from kvstore.scan.rows import PartRows, Row
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import expiry_of

FILL_ROWS_MIN = 4
FILL_ROWS_MAX = 64
PIECE_ROWS = 128
PIECE_BYTES = 128 * 1024
ITEM_BYTES_GUESS = 200
OVERDUE_MAX = 1000


class ScanPage:
    """Args: parts: what was captured; view: in which it stands; asked: the page; now_ms: the wall clock."""

    def __init__(self, parts: Sequence[CapturedPart], view: Snapshot, asked: Scan, now_ms: int) -> None:
        self.keys: list[bytes] = []
        self.items: list[bytes] = []
        self.is_done = False
        self.overdue: list[tuple[CapturedPart, bytes]] = []
        self._size_bytes = 0
        self._asked = asked
        self._encode = item_encoder(ItemForm(asked.form), asked.keys_only, now_ms)
        self._sources = [PartRows(part, view, asked.start, asked.end, asked.reverse) for part in parts]
        self._steps = self._make()

    def step(self) -> bool:
        """Make the next piece; True when the page is made.

        Raises:
            DamagedRow: a row cannot be read.
        """
        return next(self._steps, None) is None

    def _make(self) -> Iterator[bool]:
        """Yields whenever a piece is done."""
        reverse = self._asked.reverse
        while not self._is_full:
            yield from self._fill()
            frontiers = [source.frontier for source in self._sources if source.frontier is not None]
            bound = (max(frontiers) if reverse else min(frontiers)) if frontiers else None
            rows: list[Row] = []
            for source in self._sources:
                rows += source.take(bound)
            rows.sort(key=itemgetter(0), reverse=reverse)
            yield from self._add(rows)
            if bound is None and not self._is_full:
                self.is_done = True
                return

    def _fill(self) -> Iterator[bool]:
        """Read more of the partitions of which little is left to take."""
        rows_max = self._rows_wanted()
        rows = size = 0
        for source in self._sources:
            while source.frontier is not None and source.pending < max(1, rows_max // 2):
                read, read_bytes = source.fill(rows_max)
                rows, size = rows + read, size + read_bytes
                if rows >= 2 * PIECE_ROWS or size >= PIECE_BYTES:
                    rows = size = 0
                    yield True
                if read_bytes >= PIECE_BYTES // 4:
                    break

    def _rows_wanted(self) -> int:
        """How many rows of each partition are likely to be taken yet."""
        asked, made = self._asked, len(self.keys)
        item_bytes = self._size_bytes // made + 1 if made else ITEM_BYTES_GUESS
        left = min(asked.limit - made, (asked.bytes_max - self._size_bytes) // item_bytes + 1)
        share = left // max(1, len(self._sources))
        return max(FILL_ROWS_MIN, min(FILL_ROWS_MAX, share + share // 4 + 2))

    @property
    def _is_full(self) -> bool:
        asked = self._asked
        is_full = len(self.keys) >= asked.limit or self._size_bytes >= asked.bytes_max
        return is_full or len(self.overdue) >= OVERDUE_MAX

    def _add(self, rows: list[Row]) -> Iterator[bool]:
        piece_bytes = self._size_bytes + PIECE_BYTES
        for number, (key, row, part) in enumerate(rows, 1):
            expiry_ms = expiry_of(row)
            if expiry_ms and expiry_ms <= part.time_ms:
                self.overdue.append((part, key))
            else:
                item = self._encode(part.pid, key, row)
                self.keys.append(key)
                self.items.append(item)
                self._size_bytes += len(item)
            if self._is_full:
                return
            if number % PIECE_ROWS == 0 or self._size_bytes >= piece_bytes:
                piece_bytes = self._size_bytes + PIECE_BYTES
                yield True
