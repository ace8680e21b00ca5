"""A page that needs no more than a look: of a few rows that are as a view shows them.

Guarantees: a page that is made here is the one that `ScanPage` would make, of not more than about `PIECE_BYTES` that
are read. Leaves to others: every page that takes more than that (`page`). Sans-IO. PROTOCOL "Range scans".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heapreplace

from kvstore.instant import Instant
from kvstore.messages import Scan, Scanned
from kvstore.partition import Partition
from kvstore.replication.overlay import Seen
from kvstore.scan.items import ItemForm, text_items
from kvstore.scan.page import PIECE_BYTES, PIECE_ROWS
from kvstore.scan.rows import Pair
from kvstore.storage.engine import DATA, Snapshot

# The next key of a partition, its row, the partition, where it ends, and its further rows.
_Head = tuple[bytes, bytes, int, bytes, Iterator[Pair]]
_Heads = tuple[list[_Head], int]


def is_small(asked: Scan) -> bool:
    """Whether it asks for a page of which a look may be enough."""
    is_plain = not asked.reverse and not asked.keys_only and asked.form == ItemForm.JSON
    return is_plain and asked.limit <= PIECE_ROWS and len(asked.parts) <= PIECE_ROWS


def page_at_once(partitions: Mapping[int, Partition], asked: Scan, view: Snapshot, now: Instant) -> Scanned | None:
    """The page, None where it takes more to make it.

    Args:
        asked: a page that `is_small`.
        now: read after `view` was opened.
    """
    newer: list[Mapping[bytes, Seen]] = []
    heads = _first_rows(partitions, asked, view, now.mono_ms, newer)
    found = None if heads is None else _merged(heads, asked.limit)
    if found is None:
        return None
    keys, rows, pids = found
    is_done = len(keys) < asked.limit
    if newer and _is_any_within(newer, asked.start, asked.end if is_done else keys[-1] + b"\x00"):
        return None
    made = text_items(keys, rows, pids)
    if made is None or sum(map(len, made.items)) >= asked.bytes_max:
        return None
    return Scanned([] if made.tell_keys else keys, made.items, is_done, [])


def _is_any_within(newer: Sequence[Mapping[bytes, Seen]], start: bytes, end: bytes) -> bool:
    """Whether one of these keys is; an empty `end` is none."""
    return any(start <= key and (not end or key < end) for keys in newer for key in keys)


def _first_rows(
    partitions: Mapping[int, Partition],
    asked: Scan,
    view: Snapshot,
    mono_ms: int,
    newer: list[Mapping[bytes, Seen]],
) -> _Heads | None:
    """The first row of each partition, and how many further bytes may be read; None where rows are large, or one hides
    keys or is not led by its map entry's version. Rows that no view may have yet are added to `newer`."""
    heads: list[_Head] = []
    start, end, rows_at, left_bytes = asked.start, asked.end, view.rows, PIECE_BYTES
    for pid, ver in asked.parts:
        partition = partitions.get(pid)
        leader = None if partition is None else partition.leader
        if partition is None or leader is None or not leader.serves_every_key(ver, mono_ms) or leader.txns.in_doubt:
            return None
        if leader.overlay.committed:
            newer.append(leader.overlay.committed)
        copy = partition.copy
        bound = copy.prefix + end if end else copy.prefix_end
        further = rows_at(DATA, copy.prefix + start)
        for row_key, row in further:
            left_bytes -= len(row)
            if left_bytes < 0:
                return None
            if row_key < bound:
                heads.append((row_key[4:], row, pid, bound, further))
            break
    return heads, left_bytes


def _merged(first: _Heads, limit: int) -> tuple[list[bytes], list[bytes], list[int]] | None:
    """The first keys of all, the row and the partition of each; None where they are large."""
    heads, left_bytes = first
    heapify(heads)
    keys: list[bytes] = []
    rows: list[bytes] = []
    pids: list[int] = []
    while heads:
        key, row, pid, bound, further = heads[0]
        keys.append(key)
        rows.append(row)
        pids.append(pid)
        if len(keys) == limit:
            break
        for row_key, row in further:
            left_bytes -= len(row)
            if left_bytes < 0:
                return None
            if row_key < bound:
                heapreplace(heads, (row_key[4:], row, pid, bound, further))
            else:
                heappop(heads)
            break
        else:
            heappop(heads)
    return keys, rows, pids
