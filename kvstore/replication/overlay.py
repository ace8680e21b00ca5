"""What a leader knows of keys beyond what its `data` holds.

Guarantees: `committed` has the newest committed row of every key that has one not yet applied, `at_end` the row at the
log's end of every key that has a record not yet applied; None stands for an absent key; whenever a key is removed,
`removed_seq` of it changes. Leaves to others: what is
committed or applied (`leader`). Sans-IO. PROTOCOL "Read path".
"""

from __future__ import annotations

from collections import deque

import xxhash

REMOVAL_CLASSES = 256

Seen = tuple[int, bytes | None]


class Overlay:
    """Both by key, as (seq, row)."""

    __slots__ = ("_removed", "_unapplied", "at_end", "committed")

    def __init__(self) -> None:
        self.committed: dict[bytes, Seen] = {}
        self.at_end: dict[bytes, Seen] = {}
        self._unapplied: deque[tuple[int, bytes]] = deque()
        self._removed: dict[int, int] = {}

    def commit(self, seq: int, key: bytes, row: bytes | None) -> None:
        """The record `seq`, which leaves `row`, is committed."""
        self.committed[key] = (seq, row)
        self._unapplied.append((seq, key))
        if row is None:
            self._removed[_class_of(key)] = seq

    def removed_seq(self, key: bytes) -> int:
        """The last record by which this key, or another one of its class, was removed since the leader began."""
        return self._removed.get(_class_of(key), 0)

    def forget(self, applied_seq: int) -> None:
        """Drop what `data` now holds."""
        unapplied = self._unapplied
        while unapplied and unapplied[0][0] <= applied_seq:
            _, key = unapplied.popleft()
            for index in (self.committed, self.at_end):
                seen = index.get(key)
                if seen is not None and seen[0] <= applied_seq:
                    del index[key]

    def within(self, start: bytes, end: bytes) -> dict[bytes, bytes | None]:
        """The committed rows of keys with start <= key < end; an empty `end` is none."""
        if not self.committed:
            return {}
        return {key: row for key, (_, row) in self.committed.items() if start <= key and (not end or key < end)}


def _class_of(key: bytes) -> int:
    """Keys fall into a bounded number of classes: removals of others cost a reader a second look, and no memory."""
    return xxhash.xxh3_64_intdigest(key) % REMOVAL_CLASSES
