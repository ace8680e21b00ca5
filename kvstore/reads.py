"""Reads of a node that are answered together, or not at once, or not by leaders alone.

Guarantees: a read that waits is answered once: when the end of its key is committed, when its leader is confirmed, or
with the leadership's end. Leaves to others: who confirms (`confirmations`), what a leader answers (`leader`; to plain
reads, `reads_at_once`), and what a copy that may be behind does (`stale_reads`). Sans-IO. PROTOCOL "Read path", "Time
to live".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvstore.confirmations import Confirmations
from kvstore.effects import Effect, Reply
from kvstore.heat.node_heat import NodeHeat
from kvstore.instant import Instant
from kvstore.messages import Absence, Fault, ReadOne, ReadStale, StaleResult
from kvstore.partition import Partition, by_number
from kvstore.reads_at_once import rows_at_once
from kvstore.replication.answers import LATER, NO_LEADER, Later
from kvstore.replication.leader import Leader
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import DamagedRow

UNKNOWN_PARTITION = Fault("no_leader", "this node has no copy of the partition")
QUARANTINED = Fault("no_leader", "this copy of the partition is damaged and stopped itself")


def find_leader(partitions: Mapping[int, Partition], pid: int, ver: int) -> tuple[Partition, Leader] | Fault:
    """Who here leads the partition by the map entry `ver`, or why nobody does."""
    partition = partitions.get(pid)
    if partition is None:
        return UNKNOWN_PARTITION
    leader = partition.leader
    if leader is None or ver != leader.ver:
        return partition.refuse(ver) or QUARANTINED
    return partition, leader


class Reads:
    """Args: partitions: all copies of this node, by partition; dirty: of those, the ones with something for the next
    batch; held: where somebody waits for a lock; heat: counts what is served. Attributes: overdue: where reads wait for
    the end of a key."""

    def __init__(
        self, partitions: Mapping[int, Partition], dirty: set[Partition], held: set[Partition], heat: NodeHeat
    ) -> None:
        self.confirmations = Confirmations(partitions)
        self._partitions = partitions
        self._dirty = dirty
        self._held = held
        self._heat = heat
        self.overdue: set[Partition] = set()

    def forget(self, partition: Partition) -> None:
        """The copy is gone, and its leadership has ended."""
        self.overdue.discard(partition)

    def at_once(
        self, reads: Sequence[ReadOne], view: Snapshot, now: Instant, bytes_max: int
    ) -> list[bytes | None] | None:
        """Answer reads as `rows_at_once` does; where that is None, or a row cannot be read, nothing was done."""
        try:
            rows = rows_at_once(self._partitions, reads, view, now, bytes_max)
        except DamagedRow:
            return None
        if rows is not None:
            self._heat.read_all(reads)
        return rows

    def plain(self, ticket: object, read: ReadOne, view: Snapshot, now: Instant) -> bytes | Fault | Later | None:
        """Answer one read, or `LATER`."""
        found = find_leader(self._partitions, read.pid, read.ver)
        if not isinstance(found, tuple):
            return found
        self._heat.read(read.pid, read.key)
        return self._row(*found, ticket, read.key, view, now)

    def quorum(self, ticket: object, read: ReadOne, view: Snapshot, now: Instant) -> bytes | Fault | Later | None:
        """Answer one read without trust in clocks, mostly `LATER`: when the in-sync set has confirmed who leads."""
        found = find_leader(self._partitions, read.pid, read.ver)
        if isinstance(found, Fault):
            return found
        partition, leader = found
        if not leader.is_serving:
            return NO_LEADER
        self._heat.read(read.pid, read.key)
        if leader.followers.counted:
            self.confirmations.wait(partition, leader, ticket, read.key, now)
            return LATER
        return self._row(partition, leader, ticket, read.key, view, now)

    def _row(
        self,
        partition: Partition,
        leader: Leader,
        ticket: object,
        key: bytes,
        view: Snapshot,
        now: Instant,
        is_confirmed: bool = False,
    ) -> bytes | Fault | Later | None:
        """What the leader answers; a copy whose row cannot be read stops."""
        try:
            row = leader.read(ticket, key, view, now, is_confirmed)
        except DamagedRow as error:
            return self.stop(partition, error)
        if row is LATER:
            self.wait(partition)
        return row

    def stop(self, partition: Partition, error: DamagedRow) -> Fault:
        """Quarantine a copy that has a row which cannot be read; what follows leaves in the next turn."""
        partition.stop(error)
        self._dirty.add(partition)
        return QUARANTINED

    def stale(self, ticket: object, asked: ReadStale, view: Snapshot, now: Instant) -> StaleResult | Fault | Later:
        """Answer one read as far as this copy knows how far behind it is. After `LATER` comes the row, up to date."""
        partition = self._partitions.get(asked.read.pid)
        if partition is None:
            return UNKNOWN_PARTITION
        if partition.is_quarantined:
            return QUARANTINED
        self._heat.read(asked.read.pid, asked.read.key)
        try:
            answer = partition.stale.read(ticket, asked, partition.copy, partition.leader, view, now)
        except DamagedRow as error:
            return self.stop(partition, error)
        if answer is LATER:
            self.wait(partition)
        return answer

    def absence(self, read: ReadOne) -> Absence | None:
        """What tells whether a key that its leader has just found absent was there meanwhile."""
        found = find_leader(self._partitions, read.pid, read.ver)
        if isinstance(found, Fault):
            return None
        leader = found[1]
        return read.pid, leader.layout, leader.epoch, leader.overlay.removed_seq(read.key)

    def wait(self, partition: Partition) -> None:
        """A read of this partition waits for the end of its key, which the next batch holds, or of a transaction."""
        self._dirty.add(partition)
        self.overdue.add(partition)
        if partition.leader is not None and partition.leader.txns.has_waiting:
            self._held.add(partition)

    @property
    def are_waiting(self) -> bool:
        """Whether reads wait for the end of a key, or for a confirmation."""
        return bool(self.overdue) or self.confirmations.is_waiting

    def retry(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Answer the reads that waited for the end of a key which is now committed, or for a confirmation that came."""
        effects: list[Effect] = []
        for waiting, read, fault in self.confirmations.settled(now):
            row = fault or self._row(waiting.partition, waiting.leader, read.ticket, read.key, view, now, True)
            if row is not LATER:
                effects.append(Reply(read.ticket, row))
        for partition in sorted(self.overdue, key=by_number):
            leader = partition.leader
            for ticket, key, is_confirmed in list(leader.overdue_reads()) if leader is not None else []:
                row = self._row(partition, leader, ticket, key, view, now, is_confirmed) if leader is not None else None
                if row is not LATER:
                    effects.append(Reply(ticket, row))
            if leader is None or not leader.has_reads_waiting:
                self.overdue.discard(partition)
        return [*effects, *self.confirmations.questions(now)]
