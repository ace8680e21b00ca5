"""The invariants, checked after every step, and what clients were promised.

Each `check_*` raises `Violation` naming the invariant of PROTOCOL "Invariants" that broke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec
from simulation.control import SimControl
from simulation.copy_on_disk import CopyOnDisk, mark
from simulation.sim_node import SimNode
from simulation.timeline import Timeline
from simulation.txn_checkers import TxnWatch
from simulation.violation import Violation

from kvstore.map_values import Entry, Rid
from kvstore.partition import Partition
from kvstore.replication import outcomes, windows
from kvstore.replication.copy_rows import BACKFILL, STATE, Backfill, State
from kvstore.replication.outcomes import TOKEN, WINDOW, decode_token, outcome_rows
from kvstore.replication.windows import decode_window
from kvstore.storage.engine import Table, range_end
from kvstore.storage.records import LogRow, Record, RecordType, decode_value
from kvstore.transfer.records import PROGRESS_ROW, carried_in, effects_in
from kvstore.txn.records import payload_of
from kvstore.txn.state import txn_rows


class Invariants:
    """Watches all nodes of one simulation."""

    def __init__(self, nodes: dict[str, SimNode], control: SimControl, timeline: Timeline, txns: TxnWatch) -> None:
        self.timeline = timeline
        self.txns = txns
        self.committed: dict[tuple[int, int], tuple[int, int]] = {}
        self.records: dict[tuple[int, int], Record] = {}
        self.rows: dict[tuple[int, int], LogRow] = {}
        self.destroyed: set[Rid] = set()
        self.forced: set[int] = set()
        self.on_given_up: Callable[[int, int], None] = lambda pid, end: None
        self.checks = 0
        self._nodes = nodes
        self._control = control
        self._leaders: dict[tuple[int, int], tuple[str, int]] = {}
        self._seen: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._states: dict[tuple[int, int], int] = {}
        self._highest: dict[int, int] = {}
        self._entries: dict[int, Entry] = {}
        self._map: Mapping[int, Entry] = {}
        self._checked: dict[str, int] = {}

    def check(self) -> None:
        """Check everything that may have changed since the last step."""
        entries = self._control.map.entries
        if entries is not self._map:
            self._map = entries
            self._check_entries(entries)
            self._checked.clear()
        for node in self._nodes.values():
            if node.partitions is None or self._checked.get(node.node_id) == node.changes:
                continue
            self._checked[node.node_id] = node.changes
            for partition in node.partitions.by_pid.values():
                if partition.leader is not None:
                    self._check_one_leader(node, partition)
                self._check_progress(node, partition)
            if node.alarms and any(alarm.pid not in self.forced for alarm in node.alarms):
                raise Violation(f"a copy stopped itself: {node.alarms}")

    def _check_entries(self, entries: Mapping[int, Entry]) -> None:
        for entry in entries.values():
            known = self._entries.get(entry.pid)
            if known is None or known.ver != entry.ver:
                self._entries[entry.pid] = entry
                self._check_promotion(known, entry)
                if known is not None and entry.unclean_count > known.unclean_count:
                    self._give_up(entry)
                self._check_members(entry)

    def _check_promotion(self, known: Entry | None, entry: Entry) -> None:
        """I8: who is to lead was in sync, or an operator has forced it, which is counted."""
        was_in_sync = known is None or entry.leader is None or entry.leader in (known.leader, *known.in_sync)
        is_forced = known is not None and entry.unclean_count > known.unclean_count
        if not was_in_sync and not is_forced and known is not None and entry.ver == known.ver + 1:
            raise Violation(f"I8: {entry.leader} leads partition {entry.pid}, in sync were {known.in_sync}")

    def _check_members(self, entry: Entry) -> None:
        """I2: whom the map calls in sync has on its disk all that was ever called committed, log and data."""
        committed = self._highest.get(entry.pid, 0)
        for rid in entry.in_sync:
            end = committed if rid in self.destroyed else self._disk_end(rid)
            if end < committed:
                raise Violation(f"I2: {rid.node} is in sync in partition {entry.pid} with {end} of {committed}")

    def _check_one_leader(self, node: SimNode, partition: Partition) -> None:
        """I1: at most one leader for each partition and epoch."""
        assert partition.leader is not None
        assert node.partitions is not None
        who = (node.node_id, node.partitions.state.boot)
        first = self._leaders.setdefault((partition.pid, partition.leader.epoch), who)
        if first != who:
            raise Violation(f"I1: {first} and {who} lead partition {partition.pid} in epoch {partition.leader.epoch}")
        entry = self._map[partition.pid]
        if entry.epoch != partition.leader.epoch:
            return
        counted = {peer.rid for peer in partition.leader.followers.counted}
        if not counted.issuperset(rid for rid in entry.in_sync if rid != partition.copy.name.rid):
            raise Violation(f"I6: partition {partition.pid} counts {counted}, the map names {entry.in_sync}")

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
            first = self.committed.setdefault((partition.pid, head.first_seq), mark(head))
            if first != mark(head):
                raise Violation(
                    f"I2: {node.node_id} has {mark(head)} at {partition.pid}/{head.first_seq}, committed: {first}"
                )
            self.rows[partition.pid, head.first_seq] = head
            for seq, record, _ in held.changes:
                if (partition.pid, seq) not in self.records:
                    self.records[partition.pid, seq] = record
                    self.timeline.committed(partition.pid, head.epoch, seq, record)
                    self.txns.committed(partition.pid, head, seq, record)

    def _check_everywhere(self, node: SimNode, partition: Partition) -> None:
        """I2: a leader calls committed only what stands on the disk of every member of the in-sync set."""
        copy = partition.copy
        begin = self._highest.get(partition.pid, 0)
        if copy.commit_seq <= begin:
            return
        self._highest[partition.pid] = copy.commit_seq
        newest = next((held.head for held in copy.log.held_after(begin) if held.head.last_seq == copy.commit_seq), None)
        for rid in self._map[partition.pid].in_sync:
            if rid in self.destroyed:
                continue
            disk = CopyOnDisk.find(rid, self._nodes[rid.node].disk.snapshot())
            end = 0 if disk is None else disk.complete_end()
            if end < copy.commit_seq:
                raise Violation(
                    f"I2: {node.node_id} committed {copy.commit_seq} of partition {partition.pid}, {rid.node} has {end}"
                )
            other = None if disk is None or newest is None else disk.row(newest.first_seq)
            if newest is not None and other is not None and mark(other) != mark(newest):
                raise Violation(
                    f"I2: {node.node_id} committed {mark(newest)} at {partition.pid}/{newest.first_seq}, in sync"
                    f" {rid.node} has {mark(other)}"
                )

    def _disk_end(self, rid: Rid) -> int:
        disk = CopyOnDisk.find(rid, self._nodes[rid.node].disk.snapshot())
        return 0 if disk is None else disk.complete_end()

    def _give_up(self, entry: Entry) -> None:
        """An operator has made the leader of `entry` the truth: what it lacks is lost, and may be written otherwise. A
        copy that has applied what is lost stops itself.
        """
        assert entry.leader is not None
        self.forced.add(entry.pid)
        pid, disk = entry.pid, CopyOnDisk.find(entry.leader, self._nodes[entry.leader.node].disk.snapshot())
        assert disk is not None
        rows = [row for row in disk.rows() if self.committed.get((pid, row.first_seq)) == mark(row)]
        end = max((row.last_seq for row in rows), default=self._state_of(disk).applied_seq)
        for known in (self.committed, self.records, self.rows, self._states):
            for at in [one for one in known if one[0] == pid and one[1] > end]:
                del known[at]
        self._highest[pid] = min(self._highest.get(pid, 0), end)
        self.timeline.give_up(pid, end)
        self.on_given_up(pid, end)

    @staticmethod
    def _state_of(disk: CopyOnDisk) -> State:
        row = disk.view.get(Table.META, disk.prefix + STATE)
        return State(0, 0, 0, 0, 0, 0) if row is None else msgspec.msgpack.decode(row, type=State)

    def _check_state(self, node: SimNode, partition: Partition) -> None:
        """I12: two copies that applied the same have the same rows, index and counters."""
        copy = partition.copy
        view = node.disk.snapshot()
        backfill = view.get(Table.META, copy.prefix + BACKFILL)
        if copy.is_backfilling or (backfill and not msgspec.msgpack.decode(backfill, type=Backfill).done):
            return
        rows = tuple(view.scan(Table.DATA, copy.prefix, range_end(copy.prefix)))
        index = tuple(key[4:] for key, _ in view.scan(Table.EXPIRY, copy.prefix, range_end(copy.prefix)))
        state = self._state_of(CopyOnDisk(view, copy.prefix))
        applied = state.applied_seq
        remembered = (
            *outcome_rows(copy.prefix, view, state.applied_ms),
            *txn_rows(copy.prefix, view, state.applied_ms),
        )
        progress = view.get(Table.META, copy.prefix + PROGRESS_ROW)
        digest = hash((tuple((key[4:], row) for key, row in rows), index, remembered, progress))
        first = self._states.setdefault((partition.pid, applied), digest)
        if first != digest:
            raise Violation(f"I12: {node.node_id} differs from another copy of {partition.pid} at seq {applied}")
        if applied == copy.applied_seq == copy._saving_applied and copy.contents.keys != len(rows):
            raise Violation(
                f"I12: {node.node_id} counts {copy.contents.keys} keys in {partition.pid}, there are {len(rows)}"
            )

    def check_outcomes(self, node: SimNode, partition: Partition) -> None:
        """I10: what a copy remembers is what its log says, no more and no less."""
        prefix = partition.copy.prefix
        state = self._state_of(CopyOnDisk(node.disk.snapshot(), prefix))
        model = RememberedModel(partition.pid)
        seq = 1
        while seq <= state.applied_seq:
            head = self.rows[partition.pid, seq]
            model.take(head, [self.records[partition.pid, one] for one in range(seq, head.last_seq + 1)])
            seq = head.last_seq + 1
        found: dict[object, object] = {}
        for position, row in outcome_rows(prefix, node.disk.snapshot(), state.applied_ms):
            if position[:1] == TOKEN:
                remembered = decode_token(row)
                found[position[1:]] = remembered.origin or partition.pid, *remembered.outcome[:2]
            elif position[:1] == WINDOW:
                origin = int.from_bytes(position[1:], "big")
                found |= {(origin, number): one[:2] for number, one in decode_window(row).outcomes.items()}
        differ = found.items() ^ model.alive().items()
        if differ:
            raise Violation(
                f"I10: {node.node_id} and the log of partition {partition.pid} differ in {len(differ)}: {differ}"
            )


class RememberedModel:
    """What a partition should remember, said in the plainest way."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._time_ms = 0
        self._tokens: dict[bytes, tuple[int, tuple[int, int, int]]] = {}
        self._numbers: dict[int, dict[int, tuple[int, int]]] = {}
        self._floors: dict[int, int] = {}
        self._last_ms: dict[int, int] = {}

    def take(self, head: LogRow, records: list[Record]) -> None:
        self._time_ms = head.time_ms
        for seq, record in enumerate(records, head.first_seq):
            if record.token:
                self._tokens[record.token[:16]] = head.time_ms, (self._pid, head.epoch, seq)
            elif record.origin:
                self._numbers.setdefault(record.origin, {})[record.number] = head.epoch, seq
                self._floors[record.origin] = max(self._floors.get(record.origin, 0), record.floor)
                self._last_ms[record.origin] = head.time_ms
            for position, row in carried_in(record).remembered if record.type == RecordType.TRANSFER else ():
                if position[:1] == TOKEN:
                    known = decode_token(row)
                    self._tokens[position[1:]] = known.time_ms, (known.origin, *known.outcome[:2])
        for origin in [one for one, last_ms in self._last_ms.items() if head.time_ms >= last_ms + windows.KEEP_MS]:
            del self._numbers[origin], self._floors[origin], self._last_ms[origin]

    def alive(self) -> dict[object, object]:
        since_ms = self._time_ms - outcomes.TOKEN_KEEP_MS
        alive: dict[object, object] = {token: at for token, (time_ms, at) in self._tokens.items() if time_ms > since_ms}
        for origin, numbers in self._numbers.items():
            alive |= {(origin, number): at for number, at in numbers.items() if number >= self._floors[origin]}
        return alive


def replay(records: Iterable[Record]) -> dict[bytes, bytes]:
    """The state that a log leaves."""
    state: dict[bytes, bytes] = {}
    for record in records:
        if record.type == RecordType.PUT:
            state[record.key] = record.value
        elif record.type in (RecordType.DELETE, RecordType.EXPIRE):
            state.pop(record.key, None)
        payload = carried_in(record) if record.type == RecordType.TRANSFER else payload_of(record)
        for effect in effects_in(payload):
            if effect.row is None:
                state.pop(effect.key, None)
            else:
                state[effect.key] = decode_value(effect.row).value
    return state
