"""What a leader knows of keys beyond what its `data` holds.

Guarantees: `committed` has the newest committed row of every key that has one not yet applied, `at_end` the row at the
log's end of every key that has a record not yet applied; None stands for an absent key. Leaves to others: what is
committed or applied (`leader`). Sans-IO. PROTOCOL "Read path".
"""

from __future__ import annotations

from collections import deque

Seen = tuple[int, bytes | None]


class Overlay:
    """Both by key, as (seq, row)."""

    __slots__ = ("_unapplied", "at_end", "committed")

    def __init__(self) -> None:
        self.committed: dict[bytes, Seen] = {}
        self.at_end: dict[bytes, Seen] = {}
        self._unapplied: deque[tuple[int, bytes]] = deque()

    def commit(self, seq: int, key: bytes, row: bytes | None) -> None:
        """The record `seq`, which leaves `row`, is committed."""
        self.committed[key] = (seq, row)
        self._unapplied.append((seq, key))

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
