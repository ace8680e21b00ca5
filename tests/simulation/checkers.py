"""The invariants, checked after every step, and what clients were promised.

Each `check_*` raises `Violation` naming the invariant of PROTOCOL "Invariants" that broke.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from simulation.control import SimControl
from simulation.sim_node import SimNode

from kvstore.messages import Written
from kvstore.partition import Partition
from kvstore.replication.copy import STATE, State
from kvstore.storage.engine import Table, range_end
from kvstore.storage.records import Record, RecordType, decode_log_row


class Violation(AssertionError):
    """A rule that keeps data safe was broken."""


class Invariants:
    """Watches all nodes of one simulation."""

    def __init__(self, nodes: dict[str, SimNode], control: SimControl) -> None:
        self.committed: dict[tuple[int, int], tuple[int, int]] = {}
        self.records: dict[tuple[int, int], Record] = {}
        self.checks = 0
        self._nodes = nodes
        self._control = control
        self._leaders: dict[tuple[int, int], tuple[str, int]] = {}
        self._seen: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._states: dict[tuple[int, int], int] = {}
        self._highest: dict[int, int] = {}

    def check(self) -> None:
        """Check everything that may have changed since the last step."""
        for node in self._nodes.values():
            if node.partitions is None:
                continue
            for partition in node.partitions:
                if partition.leader is not None:
                    self._check_one_leader(node, partition)
                self._check_progress(node, partition)
            if node.alarms:
                raise Violation(f"a copy stopped itself: {node.alarms}")

    def _check_one_leader(self, node: SimNode, partition: Partition) -> None:
        """I1: at most one leader for each partition and epoch."""
        assert partition.leader is not None
        assert node.partitions is not None
        who = (node.node_id, node.partitions.state.boot)
        first = self._leaders.setdefault((partition.pid, partition.leader.epoch), who)
        if first != who:
            raise Violation(f"I1: {first} and {who} lead partition {partition.pid} in epoch {partition.leader.epoch}")
        entry = self._control.map.entries[partition.pid]
        members = {rid.node for rid in entry.in_sync} - {node.node_id}
        if entry.epoch == partition.leader.epoch and set(partition.leader.peers) != members:
            raise Violation(f"I5: partition {partition.pid} counts {set(partition.leader.peers)}, the map {members}")

    def _check_progress(self, node: SimNode, partition: Partition) -> None:
        copy = partition.copy
        key = (node.node_id, partition.pid)
        epoch = 0 if partition.leader is None else partition.leader.epoch
        now = (copy.commit_seq, copy.applied_seq, epoch)
        if self._seen.get(key) == now:
            return
        self._seen[key] = now
        self.checks += 1
        if copy.applied_seq > copy.commit_seq:
            raise Violation(f"I4: {key} applied {copy.applied_seq}, committed {copy.commit_seq}")
        self._check_committed(node, partition)
        if partition.leader is not None:
            self._check_everywhere(node, partition)
        self._check_state(node, partition)

    def _check_committed(self, node: SimNode, partition: Partition) -> None:
        """I2, I3: what one copy calls committed, every copy has, row by row, in every epoch."""
        copy = partition.copy
        for held in copy.log.held_after(copy.applied_seq):
            head = held.head
            if head.last_seq > copy.commit_seq:
                break
            mark = (head.epoch, head.checksum)
            first = self.committed.setdefault((partition.pid, head.first_seq), mark)
            if first != mark:
                raise Violation(
                    f"I2: {node.node_id} has {mark} at {partition.pid}/{head.first_seq}, committed: {first}"
                )
            for seq, record, _ in held.changes:
                self.records[partition.pid, seq] = record

    def _check_everywhere(self, node: SimNode, partition: Partition) -> None:
        """I2: a leader calls committed only what stands on the disk of every member of the in-sync set."""
        copy = partition.copy
        begin = self._highest.get(partition.pid, 0)
        if copy.commit_seq <= begin:
            return
        self._highest[partition.pid] = copy.commit_seq
        for rid in self._control.map.entries[partition.pid].in_sync:
            end = self._disk_end(rid.node, partition.pid)
            if end < copy.commit_seq:
                raise Violation(
                    f"I2: {node.node_id} committed {copy.commit_seq} of partition {partition.pid}, {rid.node} has {end}"
                )

    def _disk_end(self, node_id: str, pid: int) -> int:
        number = self._copy_number(node_id, pid)
        prefix = number.to_bytes(4, "big")
        last = self._nodes[node_id].disk.snapshot().last(Table.LOG, prefix, range_end(prefix))
        return decode_log_row(last[1]).last_seq if last else 0

    def _copy_number(self, node_id: str, pid: int) -> int:
        """Copies are made in the order of their pids and are never made again in this simulation."""
        pids = sorted(p for p, entry in self._control.map.entries.items() if entry.holds(node_id))
        return pids.index(pid) + 1

    def _check_state(self, node: SimNode, partition: Partition) -> None:
        """I12: two copies that applied the same have the same rows, index and counters."""
        copy = partition.copy
        view = node.disk.snapshot()
        rows = tuple(view.scan(Table.DATA, copy.prefix, range_end(copy.prefix)))
        index = tuple(key[4:] for key, _ in view.scan(Table.EXPIRY, copy.prefix, range_end(copy.prefix)))
        digest = hash((tuple((key[4:], row) for key, row in rows), index))
        applied = self._applied_on_disk(node, partition)
        first = self._states.setdefault((partition.pid, applied), digest)
        if first != digest:
            raise Violation(f"I12: {node.node_id} differs from another copy of {partition.pid} at seq {applied}")
        if applied == copy.applied_seq == copy._saving_applied and copy.keys != len(rows):
            raise Violation(f"I12: {node.node_id} counts {copy.keys} keys in {partition.pid}, there are {len(rows)}")

    @staticmethod
    def _applied_on_disk(node: SimNode, partition: Partition) -> int:
        row = node.disk.snapshot().get(Table.META, partition.copy.prefix + STATE)
        return 0 if row is None else msgspec.msgpack.decode(row, type=State).applied_seq


class History:
    """What clients asked and were told, with the order in real time."""

    def __init__(self) -> None:
        self.acked: dict[tuple[int, int], bytes] = {}
        self.counts = {"done": 0, "failed_condition": 0, "unknown": 0, "reads": 0}
        self._newest: dict[bytes, tuple[int, int]] = {}

    def floor(self, key: bytes) -> tuple[int, int]:
        """The newest version of `key` that a client knew of when it asked."""
        return self._newest.get(key, (0, 0))

    def wrote(self, pid: int, key: bytes, written: Written) -> None:
        """A write was acknowledged."""
        self.counts["done"] += 1
        if written.seq:
            self.acked[pid, written.seq] = key
            self.saw(key, (written.epoch, written.seq))

    def saw(self, key: bytes, version: tuple[int, int]) -> None:
        self._newest[key] = max(self._newest.get(key, (0, 0)), version)

    def check_read(self, key: bytes, version: tuple[int, int], floor: tuple[int, int]) -> None:
        """A read shows nothing older than what was acknowledged before it began."""
        self.counts["reads"] += 1
        if version < floor:
            raise Violation(f"stale read of {key!r}: {version}, {floor} was acknowledged before")

    def check_acked_now(self, pid: int, written: Written, invariants: Invariants) -> None:
        """An answer leaves only after its record is committed."""
        invariants.check()
        if written.seq and (pid, written.seq) not in invariants.records:
            raise Violation(f"I6: {pid}/{written.seq} was acknowledged before it was committed")

    def check_acked(self, invariants: Invariants) -> None:
        """Every acknowledged write is committed under the seq that was told."""
        for (pid, seq), key in self.acked.items():
            record = invariants.records.get((pid, seq))
            if record is None or record.key != key:
                raise Violation(f"acknowledged write of {key!r} at {pid}/{seq} is not in the log: {record}")


def replay(records: Iterable[Record]) -> dict[bytes, bytes]:
    """The state that a log leaves."""
    state: dict[bytes, bytes] = {}
    for record in records:
        if record.type == RecordType.PUT:
            state[record.key] = record.value
        elif record.type in (RecordType.DELETE, RecordType.EXPIRE):
            state.pop(record.key, None)
    return state
