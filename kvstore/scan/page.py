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
from itertools import accumulate, compress
from typing import Any, cast

from kvstore.messages import Scan
from kvstore.scan.capture import CapturedPart, Within
from kvstore.scan.items import ItemForm, items_encoder
from kvstore.scan.rows import Pair, with_overlay
from kvstore.storage.engine import DATA, Snapshot

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
        self._encode = items_encoder(ItemForm(asked.form), asked.keys_only, now_ms)
        self._left_bytes = asked.bytes_max
        self._has_away = any(part.away is not None for part in parts)
        self._steps = self._make()

    def step(self) -> bool:
        """Make the next piece; True when the page is made.

        Raises:
            DamagedPart: a row cannot be read.
        """
        return next(self._steps, None) is None

    @property
    def hidden(self) -> list[Within]:
        """Of which partitions it shows hidden keys, or leaves them out, and which range it covers; when it is made."""
        parts = [part for part in self._parts if part.hidden]
        if not parts:
            return []
        start, end = self._asked.start, self._asked.end
        if not self.is_done and self._asked.reverse:
            start = self.keys[-1]
        elif not self.is_done:
            end = self.keys[-1] + b"\x00"
        return [(part, start, end) for part in parts if part.hides(start, end)]

    def _make(self) -> Iterator[bool]:
        """Yields whenever a piece is done."""
        heads: list[Head] = []
        yield from self._open(heads)
        while heads:
            if not self._take(self._next_rows(heads)):
                return
            yield True
        self.is_done = True

    def _open(self, heads: list[Head]) -> Iterator[bool]:
        """Find the first row of every partition."""
        start, end, reverse = self._asked.start, self._asked.end, self._asked.reverse
        rows_at, kept_max, piece_bytes = self._view.rows, KEPT_BYTES_MAX, 0
        for number, part in enumerate(self._parts, 1):
            low = part.prefix + start
            high = part.prefix + end if end else part.prefix_end
            bound = low if reverse else high
            rows = rows_at(DATA, high, True) if reverse else rows_at(DATA, low)
            if part.overlay:
                rows = with_overlay(rows, part, bound, reverse)
            pair = next(rows, None)
            if pair is not None:
                row_key, row = pair
                piece_bytes += len(row)
                if row_key >= bound if reverse else row_key < bound:
                    key = _Downwards(row_key[4:]) if reverse else row_key[4:]
                    heads.append((key, row if len(row) <= kept_max else None, part, bound, rows))
            if piece_bytes >= PIECE_BYTES or not number % PIECE_ROWS:
                piece_bytes = 0
                yield True
        heapify(heads)

    def _next_rows(self, heads: list[Head]) -> list[Head]:
        """Take the next rows off the heap, as many as make a piece or are still wanted."""
        reverse, kept_max = self._asked.reverse, KEPT_BYTES_MAX
        count = min(self._asked.limit - len(self.keys), PIECE_ROWS)
        left_bytes = min(self._left_bytes, PIECE_BYTES)
        taken: list[Head] = []
        while heads:
            head = heads[0]
            _, row, part, bound, rows = head
            if row is None:
                key = head[0].key if reverse else head[0]
                row = part.overlay.get(key) or self._view.get(DATA, part.prefix + key) or b""
                head = head[0], row, part, bound, rows
            taken.append(head)
            left_bytes -= len(row)
            pair = next(rows, None)
            if pair is None or (pair[0] < bound if reverse else pair[0] >= bound):
                heappop(heads)
            else:
                row_key, row = pair
                key = _Downwards(row_key[4:]) if reverse else row_key[4:]
                heapreplace(heads, (key, row if len(row) <= kept_max else None, part, bound, rows))
            if left_bytes <= 0 or len(taken) >= count:
                break
        return taken

    def _take(self, heads: list[Head]) -> bool:
        """Make items of these rows; False when the page is full."""
        columns = list(zip(*heads, strict=True))
        keys, rows, parts = list(columns[0]), columns[1], columns[2]
        if self._asked.reverse:
            keys = [key.key for key in keys]
        if self._has_away:
            here = [part.away is None or not part.away.takes(key) for key, part in zip(keys, parts, strict=True)]
            keys, rows, parts = list(compress(keys, here)), tuple(compress(rows, here)), tuple(compress(parts, here))
        encoded = self._encode(keys, rows, parts)
        if None in encoded:
            found = list(zip(keys, encoded, parts, strict=True))
            self.overdue += [(part, key) for key, item, part in found if item is None]
            del self.overdue[OVERDUE_MAX:]
            keys = [key for key, item, _ in found if item is not None]
        items = cast(list[bytes], encoded if len(keys) == len(encoded) else [item for item in encoded if item])
        left_bytes = self._left_bytes - sum(map(len, items))
        if left_bytes <= 0:
            count = 1 + sum(end < self._left_bytes for end in accumulate(map(len, items)))
            del keys[count:], items[count:]
        self._left_bytes = left_bytes
        self.keys += keys
        self.items += items
        return left_bytes > 0 and len(self.keys) < self._asked.limit and len(self.overdue) < OVERDUE_MAX
