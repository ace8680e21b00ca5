"""A page that needs no more than a look: of a few rows of partitions that are as their views show them.

Guarantees: a page that is made here is the one that `ScanPage` would make. Leaves to others: every page that takes more
than that (`page`), and all that is large. Sans-IO. PROTOCOL "Range scans".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heapreplace

from kvstore.instant import Instant
from kvstore.messages import Scan, Scanned
from kvstore.partition import Partition
from kvstore.scan.items import Fields, ItemForm, plain_items
from kvstore.scan.page import PIECE_BYTES, PIECE_ROWS
from kvstore.scan.rows import Pair
from kvstore.storage.engine import DATA, Snapshot
from kvstore.storage.records import HEAD_BYTES, ROW_FORMAT, split_head

# The next key of a partition, its row, the partition, where it ends, and its further rows.
_Head = tuple[bytes, bytes, int, bytes, Iterator[Pair]]


def page_at_once(partitions: Mapping[int, Partition], asked: Scan, view: Snapshot, now: Instant) -> Scanned | None:
    """The page, None where it takes more to make it.

    Args:
        now: read after `view` was opened.
    """
    if asked.reverse or asked.keys_only or asked.form != ItemForm.JSON:
        return None
    if asked.limit > PIECE_ROWS or len(asked.parts) > PIECE_ROWS:
        return None
    heads = _heads(partitions, asked, view, now)
    fields = None if heads is None else _first_of(heads, asked.limit)
    items = None if fields is None else plain_items(fields)
    if fields is None or items is None or sum(map(len, items)) >= asked.bytes_max:
        return None
    return Scanned([field[0] for field in fields], items, len(fields) < asked.limit, [])


def _heads(partitions: Mapping[int, Partition], asked: Scan, view: Snapshot, now: Instant) -> list[_Head] | None:
    """The first row of each partition; None where one has more to say than its rows."""
    heads: list[_Head] = []
    start, end, mono_ms, rows_at = asked.start, asked.end, now.mono_ms, view.rows
    for pid, ver in asked.parts:
        partition = partitions.get(pid)
        leader = None if partition is None else partition.leader
        if partition is None or leader is None:
            return None
        if not leader.serves_all(ver, mono_ms) or leader.overlay.committed or leader.txns.in_doubt:
            return None
        copy = partition.copy
        bound = copy.prefix + end if end else copy.prefix_end
        rows = rows_at(DATA, copy.prefix + start)
        pair = next(rows, None)
        if pair is not None and pair[0] < bound:
            heads.append((pair[0][4:], pair[1], pid, bound, rows))
    heapify(heads)
    return heads


def _first_of(heads: list[_Head], limit: int) -> list[Fields] | None:
    """What is told of the first rows; None where one is not plain, or they are large."""
    fields: list[Fields] = []
    left_bytes = PIECE_BYTES
    while heads:
        key, row, pid, bound, rows = heads[0]
        if len(row) < HEAD_BYTES:
            return None
        row_format, epoch, seq, expiry_ms, length = split_head(row)
        begin = HEAD_BYTES + length
        left_bytes -= len(row)
        if row_format != ROW_FORMAT or expiry_ms or begin > len(row) or left_bytes < 0:
            return None
        fields.append((key, row[begin:], pid, epoch, seq, row[HEAD_BYTES:begin]))
        if len(fields) == limit:
            break
        pair = next(rows, None)
        if pair is None or pair[0] >= bound:
            heappop(heads)
        else:
            heapreplace(heads, (pair[0][4:], pair[1], pid, bound, rows))
    return fields
