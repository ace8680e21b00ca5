"""One page of a scan over partitions of one node, merged in the order of keys.

Guarantees: the page holds every live key of every captured partition from the range's beginning up to its last key, or
up to the range's end when `is_done`, each once; of each partition one row more is read than it takes; it is made piece
by piece. Where keys are overdue or hidden the page is not valid: their end, or that of who hides them, has to be
committed first, then it is made anew. Leaves to others: the time it takes, and the waiting (`node.scanner`). Sans-IO.
PROTOCOL "Range scans", "Time to live".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Any

from kvstore.messages import Scan
from kvstore.scan.capture import CapturedPart, Within
from kvstore.scan.items import ItemForm, item_encoder
from kvstore.scan.rows import Pair, with_overlay
from kvstore.storage.engine import Snapshot, Table

PIECE_ROWS = 128
PIECE_BYTES = 128 * 1024
# A larger row is not kept while it waits for its turn, but read again.
KEPT_BYTES_MAX = 64 * 1024
OVERDUE_MAX = 1000


class _Downwards:
    """A key that compares the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: bytes) -> None:
        self.key = key

    def __lt__(self, other: _Downwards) -> bool:
        return self.key > other.key


# The next key of a partition, its row, the partition, where it ends, and its further rows.
Head = tuple[Any, bytes | None, CapturedPart, bytes, Iterator[Pair]]


class ScanPage:
    """Args: parts: what was captured; view: in which it stands; asked: the page; now_ms: the wall clock."""

    def __init__(self, parts: Sequence[CapturedPart], view: Snapshot, asked: Scan, now_ms: int) -> None:
        self.keys: list[bytes] = []
        self.items: list[bytes] = []
        self.is_done = False
        self.overdue: list[tuple[CapturedPart, bytes]] = []
        self._asked = asked
        self._parts = parts
        self._view = view
        self._encode = item_encoder(ItemForm(asked.form), asked.keys_only, now_ms)
        self._steps = self._make(parts)

    def step(self) -> bool:
        """Make the next piece; True when the page is made.

        Raises:
            DamagedRow: a row cannot be read.
        """
        return next(self._steps, None) is None

    @property
    def hidden(self) -> list[Within]:
        """Of which partitions it shows hidden keys, or leaves them out, and which range it covers; when it is made."""
        start, end = self._asked.start, self._asked.end
        if not self.is_done and self._asked.reverse:
            start = self.keys[-1]
        elif not self.is_done:
            end = self.keys[-1] + b"\x00"
        return [(part, start, end) for part in self._parts if part.hides(start, end)]

    def _make(self, parts: Sequence[CapturedPart]) -> Iterator[bool]:
        """Yields whenever a piece is done."""
        asked, keys, items, encode = self._asked, self.keys, self.items, self._encode
        reverse, limit, left_bytes, piece_bytes, skipped = asked.reverse, asked.limit, asked.bytes_max, 0, 0
        heads: list[Head] = []
        yield from self._open(parts, heads)
        while heads:
            head, row, part, bound, rows = heads[0]
            key = head.key if reverse else head
            if row is None:
                row = part.overlay.get(key) or self._view.get(Table.DATA, part.prefix + key) or b""
            piece_bytes += len(row)
            is_away = part.away is not None and part.away.takes(key)
            item = None if is_away else encode(part.pid, part.time_ms, key, row)
            if is_away:
                skipped += 1
            elif item is None:
                self.overdue.append((part, key))
            else:
                keys.append(key)
                items.append(item)
                left_bytes -= len(item)
            if left_bytes <= 0 or len(keys) >= limit or len(self.overdue) >= OVERDUE_MAX:
                return
            for row_key, row in rows:
                if row_key < bound if reverse else row_key >= bound:
                    heappop(heads)
                    break
                key = row_key[4:]
                kept = row if len(row) <= KEPT_BYTES_MAX else None
                heapreplace(heads, (_Downwards(key) if reverse else key, kept, part, bound, rows))
                break
            else:
                heappop(heads)
            if piece_bytes >= PIECE_BYTES or not (len(keys) + skipped) % PIECE_ROWS:
                piece_bytes = 0
                yield True
        self.is_done = True

    def _open(self, parts: Sequence[CapturedPart], heads: list[Head]) -> Iterator[bool]:
        """Find the first row of every partition."""
        asked, reverse, rows_at, piece_bytes = self._asked, self._asked.reverse, self._view.rows, 0
        for number, part in enumerate(parts, 1):
            low = part.prefix + asked.start
            high = part.prefix + asked.end if asked.end else part.prefix_end
            bound = low if reverse else high
            rows = rows_at(Table.DATA, high if reverse else low, reverse)
            if part.overlay:
                rows = with_overlay(rows, part, bound, reverse)
            for row_key, row in rows:
                piece_bytes += len(row)
                if row_key >= bound if reverse else row_key < bound:
                    key = row_key[4:]
                    kept = row if len(row) <= KEPT_BYTES_MAX else None
                    heads.append((_Downwards(key) if reverse else key, kept, part, bound, rows))
                break
            if piece_bytes >= PIECE_BYTES or not number % PIECE_ROWS:
                piece_bytes = 0
                yield True
        heapify(heads)
