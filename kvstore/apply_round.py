"""Applies of all copies of a node, spread over batches.

Guarantees: in a round each copy that has something to apply has its turn once, some copies with each batch, or with
every other one of those that somebody waits for, so that whoever waits for a batch waits for few applies; a round has
an end, however much is written meanwhile. Leaves to others: when one begins (the shell), applying (`replication.copy`),
and emptying the journal at its end (`partitions`). Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from collections.abc import Mapping

from kvstore.partition import Partition
from kvstore.replication.copy import JOURNALED_ROW_BYTES_MAX
from kvstore.storage.engine import Batch, Table

SHARE_RECORDS = 128
# A copy with so many does not wait for its turn.
WAITING_RECORDS_MAX = 256
HELD_BYTES_MAX = 2 * 1024 * 1024


class ApplyRound:
    """Args: partitions: all copies of this node, by partition.

    Attributes:
        share_records: with a batch, copies have their turn until they have so many records to apply.
    """

    def __init__(self, partitions: Mapping[int, Partition]) -> None:
        self.share_records = SHARE_RECORDS
        self._partitions = partitions
        self._waiting: list[int] | None = None
        self._held_bytes = 0
        self._is_taking = False

    @property
    def is_open(self) -> bool:
        """Whether copies wait for their turn."""
        return bool(self._waiting)

    @property
    def is_due(self) -> bool:
        """Whether a round had better begin: each large value that is not applied is in memory thrice."""
        return self._held_bytes > HELD_BYTES_MAX

    def begin(self) -> None:
        """A round begins, unless one is under way."""
        if self._waiting is None:
            self._waiting = [pid for pid, partition in self._partitions.items() if partition.copy.unapplied]
            self._held_bytes = 0

    def take_turns(self, is_beside: bool) -> tuple[set[Partition], bool]:
        """The copies that apply with the next batch, and whether a round ends with it.

        Args:
            is_beside: somebody waits for what else is in the batch; it is left alone if the one before was not.
        """
        if self._waiting is None or (is_beside and self._is_taking):
            self._is_taking = False
            return set(), False
        self._is_taking = True
        taken: set[Partition] = set()
        records = 0
        while self._waiting and records < self.share_records:
            partition = self._partitions.get(self._waiting.pop())
            if partition is not None:
                taken.add(partition)
                records += partition.copy.unapplied
        ends = not self._waiting
        if ends:
            self._waiting = None
        return taken, ends

    def note(self, batch: Batch) -> None:
        """Count the large rows that a batch adds to logs."""
        rows = batch.tables[Table.LOG].values()
        self._held_bytes += sum(len(row) for row in rows if row and len(row) > JOURNALED_ROW_BYTES_MAX)


def waits_no_longer(partition: Partition) -> bool:
    """Whether a copy applies with the next batch, whoever's turn it is."""
    return partition.copy.unapplied >= WAITING_RECORDS_MAX
