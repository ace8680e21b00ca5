"""The keys of a copy: their rows in `data`, the index of their ends, and how many they are.

Guarantees: the counters and the index change in the batch that changes a row. Leaves to others: which change is applied
when (`copy`). Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from kvstore.storage.engine import Batch, Table
from kvstore.storage.records import expiry_key, expiry_of, value_bytes


class Contents:
    """Of the copy under `prefix`. Attributes: keys: how many; size_bytes: of keys and values."""

    def __init__(self, prefix: bytes) -> None:
        self.keys = 0
        self.size_bytes = 0
        self._prefix = prefix

    def change(
        self, batch: Batch, key: bytes, row: bytes | None, replaced_bytes: int = -1, replaced_expiry_ms: int = 0
    ) -> None:
        """Put `row` (None: nothing) in the place of one of `replaced_bytes`, -1 for none, that ends at
        `replaced_expiry_ms`, 0 for never."""
        if replaced_bytes >= 0:
            self.keys -= 1
            self.size_bytes -= replaced_bytes
            if replaced_expiry_ms:
                batch.delete(Table.EXPIRY, expiry_key(self._prefix, replaced_expiry_ms, key))
        if row is None:
            batch.delete(Table.DATA, self._prefix + key)
            return
        self.keys += 1
        self.size_bytes += len(key) + value_bytes(row)
        batch.put(Table.DATA, self._prefix + key, row)
        expiry_ms = expiry_of(row)
        if expiry_ms:
            batch.put(Table.EXPIRY, expiry_key(self._prefix, expiry_ms, key), b"")
