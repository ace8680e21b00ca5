"""One copy of a partition on this node: which role it has, and the fence around it.

Guarantees: a map entry older than one already seen is ignored; leadership is taken only by a compare-and-set that is
known to have landed, in an epoch that this process asked for and never led before; the in-sync set changes only by a
compare-and-set, and one whose outcome is open is asked again until a newer entry settles it; a copy that finds its own
state damaged stops. Leaves to others: when to ask for leadership (`candidate`), what a leader and a follower do
(`replication`). Sans-IO. PROTOCOL "Control", "In-sync set", "Failover".

    follower ──entry names this copy leader, not asked by this process──▶ asks for epoch + 1
    follower ──in sync, and nothing heard of the leader──▶ closed: refuses the leader, asks to lead in epoch + 1
    closed   ──a newer entry──▶ follower or leader
    follower ──the entry it asked for stands──▶ leader(epoch)
    leader   ──an entry with another leader or a higher epoch──▶ follower
    any      ──its own state is damaged──▶ quarantined
"""

from __future__ import annotations

from collections.abc import Callable

from kvstore.candidate import Candidate
from kvstore.effects import Alarm, Effect, Report, Send
from kvstore.instant import Instant
from kvstore.leader_asks import LeaderAsks
from kvstore.map_values import Entry, Rid
from kvstore.messages import (
    Acked,
    Append,
    BeginBackfill,
    Chunk,
    CopyReport,
    CutTail,
    EpochVector,
    Fault,
    PullChunk,
    Reconcile,
    Refused,
)
from kvstore.replication.copy import Copy, begin_backfill
from kvstore.replication.follower import Follower
from kvstore.replication.leader import Leader
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.replication.retention import Retention, old_rows
from kvstore.replication.stale_reads import StaleReads
from kvstore.storage.engine import Batch, Snapshot
from kvstore.storage.journal import Journal
from kvstore.storage.records import DamagedRow
from kvstore.transfer.reporting import report_of

Replicated = Reconcile | Append | CutTail | EpochVector | Acked | Refused | BeginBackfill | Chunk
Renumber = Callable[[int], int]


class Partition:
    """Args: copy: this node's copy; boot: the process's boot counter; shared: by all leaders of the node;
    renumber: gives up a local copy number, whose rows are then deleted, and returns a fresh one."""

    def __init__(self, copy: Copy, boot: int, shared: NodeLeaders, renumber: Renumber) -> None:
        self.copy = copy
        self.leader: Leader | None = None
        self.stale = StaleReads()
        self.is_quarantined = False
        self._shared = shared
        self._renumber = renumber
        self._follower = Follower(copy)
        self._stopped: list[Effect] = []
        self._candidate = Candidate(boot)
        self._asks = LeaderAsks(copy.name.rid)

    @property
    def pid(self) -> int:
        return self.copy.name.pid

    @property
    def ver(self) -> int:
        return 0 if self.copy.entry is None else self.copy.entry.ver

    @property
    def moves_in(self) -> bool:
        """Whether a move brings this copy, which is not in sync yet."""
        entry = self.copy.entry
        return self.moves_one and entry is not None and entry.moving == self.copy.name.rid

    @property
    def moves_one(self) -> bool:
        """Whether a move brings a copy, here or elsewhere, that is not in sync yet."""
        entry = self.copy.entry
        return entry is not None and entry.moving is not None and entry.moving in entry.adding

    @property
    def leader_node(self) -> str:
        """The other node that leads, by the newest entry seen; empty where that is none."""
        leader = None if self.copy.entry is None else self.copy.entry.leader
        return "" if leader is None or leader == self.copy.name.rid else leader.node

    # ---- the map ------------------------------------------------------------------------------------------------

    def on_entry(self, entry: Entry, now: Instant) -> list[Effect]:
        """A map entry arrived, by an update or as the answer to a compare-and-set."""
        if self.is_quarantined or entry.ver < self.ver:
            return []
        if entry.ver > self.ver:
            self.copy.adopt(entry)
            self._asks.settled()
            self._candidate.settled(now)
        leads = entry.leader == self.copy.name.rid
        if leads and self.leader is not None and self.leader.epoch == entry.epoch:
            self.leader.is_passing_on = self.leader.is_passing_on and entry.ver == self.leader.ver
            return [*self.leader.take_entry(entry, now), *self.leader.advance()]
        if leads and self._candidate.takes(entry) and entry.epoch >= self.copy.promised:
            return self._lead(entry, now)
        return [*self._follow(entry), *self._candidate.consider(self.copy, entry, now)]

    # ---- taking over --------------------------------------------------------------------------------------------

    def follows(self, rid: Rid, epoch: int) -> bool:
        """Whether this copy, if it is the one meant, still follows the leader of `epoch`: it has promised no higher one
        and does not ask to lead."""
        if self.is_quarantined or self.leader is not None or self._candidate.is_closed:
            return False
        return rid == self.copy.name.rid and epoch == self.copy.promised

    def grants(self, rid: Rid, epoch: int, now: Instant) -> bool:
        """Grant the leader of `epoch` its lease: this copy will not ask to lead for `GRACE_MS` from now on."""
        if not self.follows(rid, epoch):
            return False
        self._candidate.heard(now)
        return True

    def granted(self, node: str, epoch: int, sent_ms: int) -> None:
        """A follower granted this leader a lease, asked for at `sent_ms`."""
        if self.leader is not None and self.leader.epoch == epoch:
            self.leader.followers.granted(node, sent_ms)

    def commit_for(self, node: str, now: Instant) -> tuple[int, int] | None:
        """What is committed, in which layout, for the copy on `node`; None where this one does not surely lead it."""
        leader = self.leader
        if leader is None or now.mono_ms >= leader.sole_until_ms or node not in leader.followers.nodes:
            return None
        return self.copy.commit_seq, leader.layout

    def stood_still(self, now: Instant) -> None:
        """The process got no time: rely on nothing that was granted before, and hold no silence against the leader."""
        self._candidate.heard(now)
        if self.leader is not None:
            self.leader.followers.drop_lease(now)

    def ask_transfer(self, now: Instant) -> list[Effect]:
        """Ask the map, where that may be done now, for what is wanted of the transfer."""
        return [] if self.leader is None else [*self._asks.transfer(self.leader, now)]

    def _lead(self, entry: Entry, now: Instant) -> list[Effect]:
        try:
            self.leader = Leader(self.copy, entry, self._shared, now)
        except DamagedRow as error:
            return self.quarantine(str(error))
        followers = self.leader.followers
        return [send for node in followers.nodes for send in followers.reconcile(node, now)]

    def _follow(self, entry: Entry) -> list[Effect]:
        if entry.leader is not None and entry.epoch > self.copy.promised:
            self.copy.promise(entry.epoch)
        return self.resign()

    def resign(self) -> list[Effect]:
        """Lead no more: another copy does, or the map names this one no more."""
        leader, self.leader = self.leader, None
        self._asks.settled()
        return [] if leader is None else [*leader.resign(), Report()]

    def quarantine(self, text: str) -> list[Effect]:
        """Stop: this copy's state is not what a correct process leaves."""
        self.is_quarantined = True
        return [*self.resign(), Alarm(self.pid, text)]

    def stop(self, error: DamagedRow) -> None:
        """Quarantine this copy; what follows from that leaves with the next batch."""
        if not self.is_quarantined:
            self._stopped += self.quarantine(str(error))

    # ---- requests -----------------------------------------------------------------------------------------------

    def refuse(self, ver: int) -> Fault | None:
        """Why a request that was routed by map version `ver` cannot be served here, None when it can."""
        if ver == self.ver and self.leader is not None:
            return None
        if ver < self.ver:
            return Fault("wrong_leader", "the partition's map entry has changed", self.copy.entry)
        return Fault("no_leader", "this node does not lead the partition yet")

    # ---- replication --------------------------------------------------------------------------------------------

    def handle(self, node: str, message: Replicated, now: Instant) -> list[Effect]:
        """A message of another copy of this partition, which stands on `node`."""
        if self.is_quarantined:
            return []
        if isinstance(message, (Acked, EpochVector)):
            return self._to_leader(node, message, now)
        if message.rid != self.copy.name.rid and not isinstance(message, Refused):
            return []
        if isinstance(message, Refused):
            return self._on_refused(message)
        if self.leader is not None and message.epoch <= self.leader.epoch:
            return []
        if self._candidate.is_closed and message.epoch <= self.copy.promised:
            return []
        if message.epoch >= self.copy.promised:
            self._candidate.heard(now)
        try:
            return self._to_follower(node, message)
        except DamagedRow as error:
            return self.quarantine(str(error))

    def _to_leader(self, node: str, message: EpochVector | Acked, now: Instant) -> list[Effect]:
        if self.leader is None:
            return []
        followers = self.leader.followers
        if isinstance(message, Acked):
            followers.on_acked(node, message, now)
            return self.leader.advance()
        return [*followers.on_vector(node, message, now), *self.leader.advance()]

    def _to_follower(self, node: str, message: Reconcile | Append | CutTail | BeginBackfill | Chunk) -> list[Effect]:
        if isinstance(message, Append):
            return [] if self.leader is not None else [*self._follower.on_append(node, message)]
        if isinstance(message, Reconcile):
            if message.ver < self.ver and self.copy.entry is not None and message.epoch != self.copy.entry.epoch:
                return [Send(node, Refused(self.pid, message.rid, self.copy.promised))]
            resigned = self.resign() if self.leader is not None else []
            return [*resigned, *self._follower.on_reconcile(node, message)]
        if self.leader is not None:
            return []
        if isinstance(message, Chunk):
            return [*self._follower.on_chunk(node, message)]
        if isinstance(message, BeginBackfill):
            return self._begin_backfill(node, message)
        return [*self._follower.on_cut(node, message)]

    def _begin_backfill(self, node: str, message: BeginBackfill) -> list[Effect]:
        """Go on with an empty copy. A message that is late finds the log beyond its base, a member of the in-sync set
        never obeys: what it holds was acknowledged."""
        copy = self.copy
        is_member = copy.entry is None or copy.name.rid in copy.entry.in_sync
        if is_member or message.epoch != copy.promised or message.base_seq <= copy.log.end:
            return []
        self.copy = begin_backfill(self._renumber(copy.number), copy, message)
        self._follower = Follower(self.copy, leader_node=node)
        return []

    def next_pull(self, bytes_max: int) -> Send | None:
        """The question for the next piece of data, where one is missing."""
        copy, leader_node = self.copy, self._follower.leader_node
        if self.is_quarantined or not copy.wants_chunk or copy.backfill is None or not leader_node:
            return None
        return Send(leader_node, PullChunk(self.pid, copy.name.rid, copy.promised, copy.backfill.cursor, bytes_max))

    def _on_refused(self, message: Refused) -> list[Effect]:
        if self.leader is None or message.promised_epoch <= self.leader.epoch:
            return []
        return self.resign()

    def reachable(self, node: str, now: Instant) -> list[Effect]:
        """A connection to `node` stands: bring its copy up to date."""
        return [] if self.leader is None else [*self.leader.followers.reconcile(node, now)]

    def unreachable(self, node: str, now: Instant) -> None:
        """The connection to `node` is gone."""
        if self.leader is not None:
            self.leader.followers.lost(node, now)

    # ---- batches ------------------------------------------------------------------------------------------------

    @property
    def needs_batch(self) -> bool:
        """Whether something waits for a batch, applies aside."""
        leads = self.leader is not None and self.leader.has_queue
        return not self.is_quarantined and (leads or self._follower.has_answer or self.copy.has_changes)

    def collect(
        self, batch: Batch, view: Snapshot, now: Instant, apply: bool, full: bool, journal: Journal | None
    ) -> list[Send]:
        """Put everything that waits into `batch`; returns what may leave beside it. `journal` as for `Copy.save`.

        A quarantined copy's rows stay as they are: written over, their damage would be forgotten at the next start.
        """
        if self.is_quarantined:
            if journal is None:
                self.copy.save_journaled(batch)
            return []
        if self.leader is not None:
            self.leader.form_rows(now)
        try:
            self.copy.save(batch, apply, journal)
            self._follower.prepare_answers(full)
            return [] if self.leader is None else self.leader.followers.pump(view, now)
        except DamagedRow as error:
            self.stop(error)
            return []

    def sweep(self, batch: Batch, view: Snapshot, tokens_max: int) -> int:
        """Delete what of so many tokens counts no more, beside what `collect` put into `batch`; returns of how many."""
        if self.is_quarantined:
            return 0
        try:
            return self.copy.sweep(batch, view, tokens_max)
        except DamagedRow as error:
            self.stop(error)
            return 0

    def stream(self, view: Snapshot, now: Instant) -> list[Send]:
        """Send what waits before its batch, where nothing else is under way: all disks then write at the same time."""
        leader = self.leader
        if leader is None or self.is_quarantined or not leader.is_settled:
            return []
        leader.form_rows(now)
        try:
            return leader.followers.pump(view, now)
        except DamagedRow as error:
            self.stop(error)
            return []

    @property
    def has_laggard(self) -> bool:
        """Whether it leads a learner that is to be fed."""
        return self.leader is not None and self.leader.followers.has_laggard

    def feed(self, bytes_max: int, view: Snapshot, now: Instant) -> list[Effect]:
        """Send the next rows to a learner that lags, if one can take them."""
        try:
            send = None if self.leader is None else self.leader.followers.feed(bytes_max, view, now)
        except DamagedRow as error:
            return self.quarantine(str(error))
        return [] if send is None else [send]

    def durable(self) -> list[Effect]:
        """The batch of the last `collect` is durable."""
        has_applied = self.copy.saved()
        effects: list[Effect] = [*self._follower.release_answers(), *self._stopped]
        self._stopped = []
        if self.leader is not None:
            if has_applied:
                self.leader.forget_applied()
            effects += self.leader.advance()
        return effects

    def tick(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Time has passed: ask again for what got no answer, and do the leader's housekeeping."""
        if self.is_quarantined:
            return []
        if self.leader is not None:
            try:
                return self._tick_leader(self.leader, view, now)
            except DamagedRow as error:
                return self.quarantine(str(error))
        entry = self.copy.entry
        return [] if entry is None else [*self._candidate.tick(self.copy, entry, now)]

    def _tick_leader(self, leader: Leader, view: Snapshot, now: Instant) -> list[Effect]:
        leader.tick(view, now)
        followers = leader.followers
        sends = [*followers.tick(now, self._shared.stalled_ms), *followers.pump(view, now)]
        followers.review(now, self._asks.is_open)
        return [*sends, *leader.advance(), *self._asks.due(leader, now)]

    def truncate_log(self, view: Snapshot, now: Instant, retention: Retention, rows_max: int) -> int:
        """Drop what the log need no longer keep, so many rows at most; returns how many. Raises DamagedRow."""
        row_keys, size_bytes = old_rows(self.copy, self.log_floor, view, now, retention, rows_max)
        if row_keys:
            self.copy.truncate(row_keys, size_bytes)
        return len(row_keys)

    @property
    def log_floor(self) -> int:
        """Log rows that end below this seq are needed by no copy that counts, and by no transfer."""
        return self.copy.applied_seq if self.leader is None else self.leader.followers.log_floor

    def report(self, now: Instant, rates: tuple[float, float]) -> CopyReport:
        """How this copy is; it serves while it also holds its lease. Reads and writes have these rates."""
        leader = self.leader
        serving = leader is not None and leader.is_serving and now.mono_ms < leader.followers.lease_end_ms
        copy, log = self.copy, self.copy.log
        end = (log.starts[-1][0] if log.starts else 0, log.end)
        return CopyReport(
            self.pid,
            copy.promised if leader is None else leader.epoch,
            serving,
            copy.contents.keys,
            copy.contents.size_bytes,
            self.ver,
            *end,
            not copy.is_backfilling,
            *rates,
            len(copy.txns.prepared) + len(copy.txns.undone),
            report_of(leader),
        )


def by_number(partition: Partition) -> int:
    """An order of partitions that is the same in every run of a seed."""
    return partition.copy.number
