"""All copies of one node: the protocol as one machine.

Guarantees: every event goes through here and comes out as effects; one batch at a time holds what all copies have to
save. The node and the simulation run this class and nothing else of the protocol. Leaves to others: disk, sockets,
timers (`node`, or the simulator). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from kvstore.effects import Alarm, Effect, Reply, Turn
from kvstore.instant import Instant
from kvstore.messages import CopyReport, Entry, Fault, ReadOne, Rid, WriteOne, Written
from kvstore.partition import Partition, Replicated
from kvstore.replication.copy import Copy, CopyName, load_copy, load_name
from kvstore.replication.leader import LATER, Budget, Later
from kvstore.replication.retention import Retention
from kvstore.storage.engine import Batch, Snapshot, Table, Usage
from kvstore.storage.records import DamagedRow

NODE_ROW = b"\x00\x00\x00\x00node"
APPLY_RECORDS_MIN = 256
UNLIMITED_BYTES = 1 << 62
NO_PARTITION = 0

UNKNOWN_PARTITION = Fault("no_leader", "this node has no copy of the partition")
QUARANTINED = Fault("no_leader", "this copy of the partition is damaged and stopped itself")


class NodeState(msgspec.Struct, frozen=True, array_like=True):
    """What a node knows of itself: persisted before it says a word."""

    node_id: str
    cluster_id: bytes
    boot: int
    next_copy: int


def load_node_state(view: Snapshot) -> NodeState | None:
    row = view.get(Table.META, NODE_ROW)
    return None if row is None else msgspec.msgpack.decode(row, type=NodeState)


class Partitions:
    """Args: state: of this node, its boot counter already raised; new_store_id: draws 16 random bytes;
    pending_bytes_max: how many bytes of uncommitted writes the node's leaders hold together."""

    def __init__(self, state: NodeState, new_store_id: Callable[[], bytes], pending_bytes_max: int) -> None:
        self.state = state
        self.usage = Usage(0, UNLIMITED_BYTES)
        self._new_store_id = new_store_id
        self._budget = Budget(pending_bytes_max)
        self._by_pid: dict[int, Partition] = {}
        self._dirty: set[Partition] = set()
        self._collected: list[Partition] = []
        self._reading: set[Partition] = set()
        self._state_changed = True

    def load(self, view: Snapshot) -> list[Effect]:
        """Read every copy back; a damaged one is quarantined, one that lost its name is only told of."""
        effects: list[Effect] = []
        for number in range(1, self.state.next_copy):
            try:
                name = load_name(number, view)
            except DamagedRow as error:
                effects.append(Alarm(NO_PARTITION, str(error)))
                continue
            try:
                self._add(load_copy(number, name, view))
            except DamagedRow as error:
                effects += self._add(Copy(number, name)).quarantine(str(error))
        return effects

    def __iter__(self) -> Iterator[Partition]:
        return iter(self._by_pid.values())

    def get(self, pid: int) -> Partition | None:
        return self._by_pid.get(pid)

    def _add(self, copy: Copy) -> Partition:
        partition = Partition(copy, self.state.boot, self._budget)
        self._by_pid[partition.pid] = partition
        return partition

    # ---- control ------------------------------------------------------------------------------------------------

    def join(self, cluster_id: bytes) -> None:
        """Belong to this cluster from now on; saved with the next batch."""
        self.state = msgspec.structs.replace(self.state, cluster_id=cluster_id)
        self._state_changed = True

    def create_copies(self, pids: list[int]) -> list[tuple[int, Rid]]:
        """Make empty copies; asked again, name those that exist. They count once the next batch is durable."""
        rids = []
        for pid in pids:
            partition = self._by_pid.get(pid)
            if partition is None:
                number = self.state.next_copy
                self.state = msgspec.structs.replace(self.state, next_copy=number + 1)
                self._state_changed = True
                rid = Rid(self.state.node_id, self._new_store_id())
                partition = self._add(Copy(number, CopyName(pid, rid)))
                self._dirty.add(partition)
            rids.append((pid, partition.copy.name.rid))
        return rids

    def on_entries(self, entries: list[Entry], now: Instant) -> list[Effect]:
        """Map entries arrived, by an update or as the answer to a compare-and-set."""
        effects: list[Effect] = []
        for entry in entries:
            partition = self._by_pid.get(entry.pid)
            if partition is not None and entry.holds(self.state.node_id) == partition.copy.name.rid:
                effects += partition.on_entry(entry, now)
                self._dirty.add(partition)
        return effects

    # ---- requests -----------------------------------------------------------------------------------------------

    def read(self, ticket: object, read: ReadOne, view: Snapshot, now: Instant) -> bytes | Fault | Later | None:
        """Answer one read, or `LATER`."""
        partition = self._by_pid.get(read.pid)
        if partition is None:
            return UNKNOWN_PARTITION
        leader = partition.leader
        if leader is None or read.ver != leader.entry.ver:
            return partition.refuse(read.ver) or QUARANTINED
        row = leader.read(ticket, read.key, view, now)
        if row is LATER:
            self._dirty.add(partition)
            self._reading.add(partition)
        return row

    def write(self, ticket: object, write: WriteOne, view: Snapshot, now: Instant) -> Written | Fault | Later:
        """Take one write, or say why not."""
        partition = self._by_pid.get(write.pid)
        if partition is None:
            return UNKNOWN_PARTITION
        leader = partition.leader
        if leader is None or write.ver != leader.entry.ver:
            return partition.refuse(write.ver) or QUARANTINED
        self._dirty.add(partition)
        return leader.write(ticket, write, view, now, self.is_full)

    @property
    def is_full(self) -> bool:
        """Whether client writes that need room are refused."""
        return self.usage.used + 2 * self._budget.used_bytes >= self.usage.limit

    # ---- replication --------------------------------------------------------------------------------------------

    def handle(self, node: str, message: Replicated, now: Instant) -> list[Effect]:
        """A message from the copy of a partition on `node`."""
        partition = self._by_pid.get(message.pid)
        if partition is None:
            return []
        effects = partition.handle(node, message, now)
        if partition.needs_batch:
            self._dirty.add(partition)
        return effects

    def reachable(self, node: str, now: Instant) -> list[Effect]:
        """A connection to `node` stands."""
        return [effect for partition in self._by_pid.values() for effect in partition.reachable(node, now)]

    def unreachable(self, node: str) -> None:
        """The connection to `node` is gone."""
        for partition in self._by_pid.values():
            partition.unreachable(node)

    # ---- batches ------------------------------------------------------------------------------------------------

    @property
    def needs_batch(self) -> bool:
        """Whether something waits for a batch, applies aside."""
        return self._state_changed or bool(self._dirty)

    @property
    def waiting(self) -> int:
        """How many copies have something for the next batch."""
        return len(self._dirty)

    def collect(self, view: Snapshot, now: Instant, apply_all: bool) -> Turn:
        """Form the next batch. Before the next call, `durable` must have been called."""
        assert not self._collected, "one batch at a time"
        batch = Batch()
        if self._state_changed:
            batch.put(Table.META, NODE_ROW, msgspec.msgpack.encode(self.state))
            self._state_changed = False
        at_once = []
        full = self.is_full
        if apply_all:
            self._dirty.update(partition for partition in self if partition.copy.unapplied)
        self._collected = sorted(self._dirty, key=_by_number)
        self._dirty.clear()
        for partition in self._collected:
            apply = apply_all or partition.copy.unapplied >= APPLY_RECORDS_MIN
            at_once += partition.collect(batch, view, now, apply, full)
        return Turn(batch, at_once)

    def durable(self) -> list[Effect]:
        """The batch of the last `collect` is durable: what waited for it may leave."""
        collected, self._collected = self._collected, []
        effects: list[Effect] = []
        for partition in collected:
            effects += partition.durable()
        return effects

    def tick(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Time has passed."""
        effects: list[Effect] = []
        for partition in self._by_pid.values():
            effects += partition.tick(view, now)
            if partition.needs_batch:
                self._dirty.add(partition)
        return effects

    def truncate_logs(self, view: Snapshot, now: Instant, retention: Retention) -> list[Effect]:
        """Drop what the logs need no longer keep, a bounded piece at a time."""
        effects: list[Effect] = []
        for partition in self:
            effects += partition.truncate_log(view, now, retention)
            if partition.needs_batch:
                self._dirty.add(partition)
        return effects

    def report(self) -> list[CopyReport]:
        """How the copies are."""
        return [partition.report() for partition in self._by_pid.values()]

    @property
    def has_reads_waiting(self) -> bool:
        """Whether reads wait for the end of a key."""
        return bool(self._reading)

    def retry_reads(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Answer the reads that waited for the end of a key which is now committed."""
        effects: list[Effect] = []
        for partition in sorted(self._reading, key=_by_number):
            leader = partition.leader
            for ticket, key in list(leader.overdue_reads()) if leader is not None else []:
                row = leader.read(ticket, key, view, now) if leader is not None else None
                if row is not LATER:
                    effects.append(Reply(ticket, row))
            if leader is None or not leader.has_reads_waiting:
                self._reading.discard(partition)
        return effects


def _by_number(partition: Partition) -> int:
    """An order that is the same in every run of a seed."""
    return partition.copy.number
