"""The index of times at which keys end. Sans-IO. PROTOCOL "Time to live"."""

from __future__ import annotations

from collections.abc import Iterator

from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import expiry_key, split_expiry_key

SWEEP_KEYS_MAX = 1000


def due_keys(prefix: bytes, view: Snapshot, time_ms: int) -> Iterator[tuple[bytes, int]]:
    """The first `SWEEP_KEYS_MAX` keys that the index says are over at `time_ms`, and when they are."""
    due = view.scan(Table.EXPIRY, prefix, expiry_key(prefix, time_ms + 1, b""))
    for (row_key, _), _ in zip(due, range(SWEEP_KEYS_MAX), strict=False):
        expiry_ms, key = split_expiry_key(row_key)
        yield key, expiry_ms
