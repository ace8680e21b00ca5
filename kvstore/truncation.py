"""Dropping what the logs of a node need no longer keep.

Guarantees: each log in its turn, a bounded number of rows and logs at a time, so that nobody is held up. Leaves to
others: what a log needs no longer (`retention`). Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from collections.abc import Mapping

from kvstore.effects import Effect
from kvstore.instant import Instant
from kvstore.partition import Partition
from kvstore.replication.retention import Retention
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import DamagedRow

ROWS_MAX = 1024
LOGS_MAX = 16


class Truncation:
    """Args: partitions: all copies of this node, by partition; dirty: of those, the ones with something for the next
    batch."""

    def __init__(self, partitions: Mapping[int, Partition], dirty: set[Partition]) -> None:
        self._partitions = partitions
        self._dirty = dirty
        self._waiting: list[int] = []

    def advance(self, view: Snapshot, now: Instant, retention: Retention) -> list[Effect]:
        """Drop the next rows."""
        effects: list[Effect] = []
        rows = ROWS_MAX
        self._waiting = self._waiting or list(self._partitions)
        for pid in self._waiting[: -LOGS_MAX - 1 : -1]:
            partition = self._partitions.get(pid)
            if partition is not None and not partition.is_quarantined:
                try:
                    rows -= partition.truncate_log(view, now, retention, rows)
                except DamagedRow as error:
                    effects += partition.quarantine(str(error))
                if partition.needs_batch:
                    self._dirty.add(partition)
            if rows <= 0:
                break
            self._waiting.pop()
        return effects
