"""All copies of one node: the protocol as one machine.

Guarantees: every event goes through here and comes out as effects; one batch at a time holds what all copies have to
save. The node and the simulation run this class and nothing else of the protocol. Leaves to others: disk, sockets,
timers (`node`, or the simulator). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec

from kvstore.apply_round import ApplyRound, waits_no_longer
from kvstore.doubts import Doubts
from kvstore.effects import Alarm, Effect, Send, Turn
from kvstore.filling import Filling
from kvstore.heat.node_heat import NodeHeat
from kvstore.instant import Instant
from kvstore.leases import Leases
from kvstore.map_values import Entry, Rid
from kvstore.messages import (
    Acked,
    Append,
    AskDigests,
    BeginBackfill,
    Chunk,
    Confirm,
    Confirmed,
    CopyReport,
    Digests,
    Fault,
    NodeReport,
    Ping,
    Pong,
    PullChunk,
    WriteOne,
    Written,
)
from kvstore.node_state import NODE_ROW, NodeState
from kvstore.partition import Partition, Replicated, by_number
from kvstore.reads import QUARANTINED, Reads, find_leader
from kvstore.replication.answers import Later
from kvstore.replication.copy import Copy
from kvstore.replication.copy_loading import load_copy, load_name
from kvstore.replication.copy_rows import CopyName
from kvstore.replication.gone import GoneCopies
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.storage.engine import Batch, Snapshot, Table, Usage
from kvstore.storage.journal import Journal
from kvstore.storage.records import DamagedRow
from kvstore.transfers import Transfers
from kvstore.truncation import Truncation
from kvstore.verification import Verifications

SWEPT_TOKENS_MIN = 8
JOURNAL_BYTES_MAX = 8 * 1024 * 1024
STOOD_STILL_MS = 1000
UNLIMITED_BYTES = 1 << 62
NO_PARTITION = 0

BetweenNodes = Ping | Pong | Confirm | Confirmed | AskDigests | Digests


class Partitions:
    """Args: state: of this node, its boot counter already raised; new_store_id: draws 16 random bytes;
    pending_bytes_max: how many bytes of uncommitted writes the node's leaders hold together."""

    def __init__(self, state: NodeState, new_store_id: Callable[[], bytes], pending_bytes_max: int) -> None:
        self.state = state
        self.usage = Usage(0, UNLIMITED_BYTES)
        self.backfills = 0
        self._new_store_id = new_store_id
        self.leaders = NodeLeaders(pending_bytes_max)
        self.by_pid: dict[int, Partition] = {}
        self.applies = ApplyRound(self.by_pid)
        self._leases = Leases(self.by_pid, state.boot)
        self._dirty: set[Partition] = set()
        held: set[Partition] = set()
        self.heat = NodeHeat()
        self.reads = Reads(self.by_pid, self._dirty, held, self.heat)
        self.doubts = Doubts(self.by_pid, self._dirty, held, self.reads.overdue, self.heat)
        self.filling = Filling(self.by_pid, lambda: self.is_full)
        self.transfers = Transfers(self.by_pid, self._dirty, self.filling, lambda: self.state.node_id)
        self.truncation = Truncation(self.by_pid, self._dirty)
        self.verifications = Verifications(self.by_pid, self._dirty)
        self._gone = GoneCopies()
        self._journal = Journal()
        self._kept: list[tuple[int, bytes]] = []
        self._lost: dict[int, Rid] = {}
        self._now = Instant(0, 0)
        self._ticked_ms: int | None = None
        self._collected: list[Partition] = []
        self._state_changed = True

    def load(self, view: Snapshot) -> list[Effect]:
        """Read every copy back; a damaged one is quarantined, one that lost its name is only told of.

        Where the journal is damaged nobody knows which copies lack the end of their logs: all are given up.
        """
        effects: list[Effect] = []
        self._gone.load(view)
        numbers = [number for number in range(1, self.state.next_copy) if number not in self._gone]
        try:
            journaled = self._journal.load(view)
        except DamagedRow as error:
            for number in numbers:
                self._gone.add(number)
            return [Alarm(NO_PARTITION, f"{error}: all copies of this node are given up")]
        for number in numbers:
            try:
                name = load_name(number, view)
            except DamagedRow as error:
                effects.append(Alarm(NO_PARTITION, str(error)))
                continue
            try:
                self._add(load_copy(number, name, view, journaled.get(number, [])))
            except DamagedRow as error:
                effects += self._add(Copy(number, name)).quarantine(str(error))
                self._kept += [(number, row) for row in journaled.get(number, [])]
        return effects

    def __iter__(self) -> Iterator[Partition]:
        return iter(self.by_pid.values())

    def get(self, pid: int) -> Partition | None:
        return self.by_pid.get(pid)

    def _add(self, copy: Copy) -> Partition:
        partition = Partition(copy, self.state.boot, self.leaders, self._renumber)
        self.by_pid[partition.pid] = partition
        return partition

    def _new_number(self) -> int:
        number = self.state.next_copy
        self.state = msgspec.structs.replace(self.state, next_copy=number + 1)
        self._state_changed = True
        return number

    def _renumber(self, former: int) -> int:
        self.backfills += 1
        self._gone.add(former)
        return self._new_number()

    # ---- control ------------------------------------------------------------------------------------------------

    def join(self, cluster_id: bytes, boot_floor: int) -> None:
        """Belong to this cluster from now on, unless this node belongs to one already; saved with the next batch.

        Args:
            cluster_id: the cluster's 8 bytes.
            boot_floor: the highest boot counter that the cluster knows of this node: a new store counts on from there.
        """
        if not self.state.cluster_id:
            boot = max(self.state.boot, boot_floor + 1)
            self.state = msgspec.structs.replace(self.state, cluster_id=cluster_id, boot=boot)
            self._leases = Leases(self.by_pid, boot)
            self._state_changed = True

    def retire(self) -> None:
        """Note that this node is no member any more; saved with the next batch."""
        self.state = msgspec.structs.replace(self.state, is_retired=True)
        self._state_changed = True

    def create_copies(self, pids: list[int]) -> list[tuple[int, Rid]]:
        """Make empty copies; asked again, name those that exist and are whole. They count once the next batch is
        durable."""
        rids = []
        for pid in pids:
            partition = self.by_pid.get(pid)
            if partition is None or partition.is_quarantined:
                number = self._new_number() if partition is None else self._renumber(partition.copy.number)
                rid = Rid(self.state.node_id, self._new_store_id())
                partition = self._add(Copy(number, CopyName(pid, rid)))
                self._dirty.add(partition)
            rids.append((pid, partition.copy.name.rid))
        return rids

    def on_entries(self, entries: list[Entry], now: Instant) -> list[Effect]:
        """Map entries arrived, by an update or as the answer to a compare-and-set."""
        effects: list[Effect] = []
        for entry in entries:
            partition = self.by_pid.get(entry.pid)
            named = entry.holds(self.state.node_id)
            if partition is not None and named != partition.copy.name.rid and entry.ver > partition.ver:
                effects += partition.resign()
            if partition is not None and named == partition.copy.name.rid:
                led = partition.leader
                effects += partition.on_entry(entry, now)
                if partition.leader is not led:
                    self._leases.hurry()
                self.transfers.look(partition)
                self._dirty.add(partition)
                self._lost.pop(entry.pid, None)
            elif named is not None:
                self._lost[entry.pid] = named
            else:
                self._lost.pop(entry.pid, None)
        return effects

    def drop_copies(self, entries: list[Entry]) -> list[Effect]:
        """Give up the copies that the map named before and, by these entries, names no more; rows go in pieces."""
        effects: list[Effect] = []
        for entry in entries:
            partition = self.by_pid.get(entry.pid)
            if partition is None or not partition.copy.is_dropped_by(entry):
                continue
            effects += partition.resign()
            del self.by_pid[entry.pid]
            self._gone.add(partition.copy.number)
            self._dirty.discard(partition)
            self.heat.forget(entry.pid)
            self.reads.forget(partition)
            self.doubts.forget(partition)
            self.filling.forget(partition)
            self.transfers.forget(partition)
            self.verifications.forget(partition)
        return effects

    # ---- requests -----------------------------------------------------------------------------------------------

    def write(self, ticket: object, write: WriteOne, view: Snapshot, now: Instant) -> Written | Fault | Later:
        """Take one write, or say why not."""
        found = find_leader(self.by_pid, write.pid, write.ver)
        if isinstance(found, Fault):
            return found
        partition, leader = found
        self._dirty.add(partition)
        self.heat.write(write.pid, write.key)
        try:
            result = leader.write(ticket, write, view, now, self.is_full)
        except DamagedRow as error:
            partition.stop(error)
            return QUARANTINED
        if leader.txns.has_waiting:
            self.doubts.wait(partition)
        return result

    @property
    def is_full(self) -> bool:
        """Whether client writes that need room are refused."""
        return self.usage.used + 2 * self.leaders.used_bytes >= self.usage.limit

    # ---- replication --------------------------------------------------------------------------------------------

    def handle(self, node: str, message: Replicated | PullChunk | BetweenNodes, now: Instant) -> list[Effect]:
        """A message from `node`, or from the copy of a partition there."""
        if not isinstance(message, (Append, Acked)):
            if isinstance(message, BetweenNodes):
                return self._handle_node(node, message, now)
            if isinstance(message, PullChunk):
                self.filling.on_pull(node, message)
                return []
        partition = self.by_pid.get(message.pid)
        if partition is None:
            return []
        if isinstance(message, BeginBackfill) and not self.filling.may_begin(partition):
            return []
        self._now = now
        effects = partition.handle(node, message, now)
        self.transfers.look(partition)
        if partition.needs_batch:
            self._dirty.add(partition)
        if isinstance(message, Chunk):
            self.filling.on_chunk(partition, message)
        return effects

    def _handle_node(self, node: str, message: BetweenNodes, now: Instant) -> list[Effect]:
        if isinstance(message, Ping):
            return [*self._leases.on_ping(node, message, now)]
        if isinstance(message, Confirm):
            return [*self.reads.confirmations.on_confirm(node, message)]
        if isinstance(message, AskDigests):
            return [*self.verifications.on_ask(node, message)]
        if isinstance(message, Digests):
            return self.verifications.on_digests(message, now)
        if isinstance(message, Pong):
            self._leases.on_pong(node, message)
        else:
            self.reads.confirmations.on_confirmed(node, message)
        return []

    def reachable(self, node: str, now: Instant) -> list[Effect]:
        """A connection to `node` stands."""
        return [effect for partition in self.by_pid.values() for effect in partition.reachable(node, now)]

    def unreachable(self, node: str, now: Instant) -> None:
        """The connection to `node` is gone."""
        for partition in self.by_pid.values():
            partition.unreachable(node, now)

    # ---- batches ------------------------------------------------------------------------------------------------

    @property
    def has_changes(self) -> bool:
        """Whether copies have something to save, applies aside."""
        return bool(self._dirty)

    @property
    def needs_batch(self) -> bool:
        """Whether something waits for a batch; a round of applies that is to begin does not count."""
        waits = self._state_changed or bool(self._dirty) or self.applies.is_open
        return waits or self._gone.has_changes or self._leases.needs_proof

    def collect(self, view: Snapshot, now: Instant, apply_due: bool) -> Turn:
        """Form the next batch, with which a round of applies begins if one is due. Before the next call, `durable` must
        have been called."""
        assert not self._collected, "one batch at a time"
        self._now = now
        batch = Batch()
        self._gone.save(batch)
        if self._state_changed:
            batch.put(Table.META, NODE_ROW, msgspec.msgpack.encode(self.state))
            self._state_changed = False
        at_once = []
        full = self.is_full
        if apply_due:
            self.applies.begin()
        applying, is_last = self.applies.take_turns(self.has_changes)
        journal = self._choose_journal(is_last)
        self._dirty.update(applying)
        self._collected = sorted(self._dirty, key=by_number)
        self._dirty.clear()
        for partition in self._collected:
            apply = partition in applying or waits_no_longer(partition)
            at_once += partition.collect(batch, view, now, apply, full, journal)
        self._sweep(batch, view)
        self.applies.note(batch)
        self._journal.save(batch, empty=journal is None)
        self._leases.begin_batch(batch, now)
        return Turn(batch, [*at_once, *self._leases.pings(now)])

    def _sweep(self, batch: Batch, view: Snapshot) -> None:
        """Forget tokens that count no more: the more is written, the more of them, so that they never pile up, and
        nobody is held up by what was once written in a rush."""
        left = SWEPT_TOKENS_MIN + len(batch) // 2
        for partition in self._collected:
            if left > 0:
                left -= partition.sweep(batch, view, left)

    def _choose_journal(self, ends_round: bool) -> Journal | None:
        """The journal, where the next batch may add to it; None where it is emptied."""
        journal = self._journal
        is_cut = any(partition.copy.empties_journal for partition in self._dirty)
        if not (ends_round or is_cut or journal.is_damaged or journal.size_bytes > JOURNAL_BYTES_MAX):
            return journal
        self._dirty.update(partition for partition in self if partition.copy.is_journaled)
        for number, row in self._kept:
            journal.add(number, row)
        return None

    def stream(self, view: Snapshot, now: Instant) -> list[Send]:
        """What may leave before the next batch is formed."""
        settled = [one for one in self._dirty if one.leader is not None and one.leader.is_settled]
        return [send for one in sorted(settled, key=by_number) for send in one.stream(view, now)]

    def durable(self) -> list[Effect]:
        """The batch of the last `collect` is durable: what waited for it may leave."""
        collected, self._collected = self._collected, []
        effects: list[Effect] = [*self._leases.end_batch()]
        for partition in collected:
            effects += partition.durable()
            effects += self.verifications.due(partition)
        return [*effects, *self.filling.pull(self._now)]

    def tick(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Time has passed."""
        passed_ms = 0 if self._ticked_ms is None else now.mono_ms - self._ticked_ms
        self.leaders.stalled_ms = passed_ms if self._leases.is_stalled(now) else None
        if passed_ms > STOOD_STILL_MS:
            for partition in self.by_pid.values():
                partition.stood_still(now)
        self._ticked_ms, self._now = now.mono_ms, now
        self._gone.sweep(view)
        self.heat.advance(now)
        effects: list[Effect] = [*self._leases.pings(now)]
        for partition in self.by_pid.values():
            effects += partition.tick(view, now)
            self.transfers.look(partition)
            if partition.needs_batch:
                self._dirty.add(partition)
            if partition.has_laggard:
                self.filling.feed(partition)
        effects += self.doubts.tick(view, now)
        return [*effects, *self.verifications.tick(now), *self.filling.pull(now)]

    def report(self) -> NodeReport:
        """How the copies are, and which are missing or damaged."""
        damaged = {one.pid: one.copy.name.rid for one in self if one.is_quarantined}
        lost = [(pid, rid.store) for pid, rid in {**damaged, **self._lost}.items()]
        return NodeReport(self.copies(self.by_pid), lost)

    def copies(self, pids: Iterable[int]) -> list[CopyReport]:
        """How the copies of these partitions are, as far as they are here."""
        rates, held = self.heat.rates, self.by_pid
        return [held[pid].report(self._now, rates(pid)) for pid in pids if pid in held]
