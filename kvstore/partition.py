"""One copy of a partition on this node: which role it has, and the fence around it.

Guarantees: a map entry older than one already seen is ignored; leadership is taken only by a compare-and-set that is
known to have landed, in an epoch that this process asked for and never led before; a leader that restarts asks for the
next epoch instead of going on in its old one; a copy that finds its own state damaged stops. Leaves to others: what a
leader and a follower do (`replication`). Sans-IO. PROTOCOL "Control", "Restarted leader".

    follower ──entry names this copy leader, not asked by this process──▶ asks for epoch + 1
    follower ──the entry it asked for stands──▶ leader(epoch)
    leader   ──an entry with another leader or a higher epoch──▶ follower
    any      ──its own state is damaged──▶ quarantined
"""

from __future__ import annotations

import msgspec

from kvstore.effects import Alarm, AskCas, Effect, Report, Send
from kvstore.instant import Instant
from kvstore.messages import (
    Acked,
    Append,
    CopyReport,
    CutTail,
    Entry,
    EpochVector,
    Fault,
    Reconcile,
    Refused,
)
from kvstore.replication.copy import Copy
from kvstore.replication.follower import Follower
from kvstore.replication.leader import Budget, Leader
from kvstore.replication.retention import Retention, old_rows
from kvstore.storage.engine import Batch, Snapshot
from kvstore.storage.records import DamagedRow

ASK_AGAIN_MS = 1000

Replicated = Reconcile | Append | CutTail | EpochVector | Acked | Refused


class Partition:
    """Args: copy: this node's copy; boot: the process's boot counter; budget: shared by all leaders of the node."""

    def __init__(self, copy: Copy, boot: int, budget: Budget) -> None:
        self.copy = copy
        self.leader: Leader | None = None
        self.is_quarantined = False
        self._boot = boot
        self._budget = budget
        self._follower = Follower(copy)
        self._stopped: list[Effect] = []
        self._asked: Entry | None = None
        self._asked_ms = -ASK_AGAIN_MS

    @property
    def pid(self) -> int:
        return self.copy.name.pid

    @property
    def ver(self) -> int:
        return 0 if self.copy.entry is None else self.copy.entry.ver

    # ---- the map ------------------------------------------------------------------------------------------------

    def on_entry(self, entry: Entry, now: Instant) -> list[Effect]:
        """A map entry arrived, by an update or as the answer to a compare-and-set."""
        if self.is_quarantined or entry.ver < self.ver:
            return []
        if entry.ver > self.ver:
            self.copy.adopt(entry)
        mine = self.copy.name.rid
        if entry.leader != mine:
            return self._follow(entry) if entry.leader is not None else self._ask_if_first(entry, now)
        if self.leader is not None and self.leader.epoch == entry.epoch:
            self.leader.entry = entry
            return []
        if entry == self._asked:
            return self._lead(entry, now)
        return [*self._follow(entry), *self._ask(entry, now)]

    def _ask_if_first(self, entry: Entry, now: Instant) -> list[Effect]:
        return self._ask(entry, now) if entry.replicas[0] == self.copy.name.rid else []

    def _ask(self, entry: Entry, now: Instant) -> list[Effect]:
        self._asked_ms = now.mono_ms
        self._asked = msgspec.structs.replace(
            entry, ver=entry.ver + 1, epoch=entry.epoch + 1, leader=self.copy.name.rid, leader_boot=self._boot
        )
        return [AskCas(self._asked)]

    def _lead(self, entry: Entry, now: Instant) -> list[Effect]:
        assert entry.epoch >= self.copy.promised, "no epoch below a promise is led"
        self._asked = None
        try:
            self.leader = Leader(self.copy, entry, self._budget, now)
        except DamagedRow as error:
            return self.quarantine(str(error))
        sends: list[Effect] = []
        for node in self.leader.peers:
            sends += self.leader.reconcile(node, now)
        return sends

    def _follow(self, entry: Entry) -> list[Effect]:
        if entry.epoch > self.copy.promised:
            self.copy.promise(entry.epoch)
        return self._resign()

    def _resign(self) -> list[Effect]:
        leader, self.leader = self.leader, None
        return [] if leader is None else [*leader.resign(), Report()]

    def quarantine(self, text: str) -> list[Effect]:
        """Stop: this copy's state is not what a correct process leaves."""
        self.is_quarantined = True
        return [*self._resign(), Alarm(self.pid, text)]

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
        if isinstance(message, EpochVector | Acked):
            return self._to_leader(node, message, now)
        if message.rid != self.copy.name.rid and not isinstance(message, Refused):
            return []
        if isinstance(message, Refused):
            return self._on_refused(message)
        if self.leader is not None and message.epoch <= self.leader.epoch:
            return []
        try:
            return self._to_follower(node, message)
        except DamagedRow as error:
            return self.quarantine(str(error))

    def _to_leader(self, node: str, message: EpochVector | Acked, now: Instant) -> list[Effect]:
        if self.leader is None:
            return []
        if isinstance(message, Acked):
            return self.leader.on_acked(node, message, now)
        effects: list[Effect] = [*self.leader.on_vector(node, message, now)]
        return effects + self.leader.advance()

    def _to_follower(self, node: str, message: Reconcile | Append | CutTail) -> list[Effect]:
        resigned: list[Effect] = []
        if isinstance(message, Reconcile):
            if message.ver < self.ver:
                return [Send(node, Refused(self.pid, message.rid, self.copy.promised))]
            resigned = self._resign() if self.leader is not None else []
            return [*resigned, *self._follower.on_reconcile(node, message)]
        if self.leader is not None:
            return []
        if isinstance(message, Append):
            return [*self._follower.on_append(node, message)]
        return [*self._follower.on_cut(node, message)]

    def _on_refused(self, message: Refused) -> list[Effect]:
        if self.leader is None or message.promised_epoch <= self.leader.epoch:
            return []
        return self._resign()

    def reachable(self, node: str, now: Instant) -> list[Effect]:
        """A connection to `node` stands: bring its copy up to date."""
        return [] if self.leader is None else [*self.leader.reconcile(node, now)]

    def unreachable(self, node: str) -> None:
        """The connection to `node` is gone."""
        if self.leader is not None:
            self.leader.lost(node)

    # ---- batches ------------------------------------------------------------------------------------------------

    @property
    def needs_batch(self) -> bool:
        """Whether something waits for a batch, applies aside."""
        if self.is_quarantined:
            return False
        leads = self.leader is not None and self.leader.has_queue
        return leads or self._follower.has_answer or self.copy.has_changes

    def collect(self, batch: Batch, view: Snapshot, now: Instant, apply: bool, full: bool) -> list[Send]:
        """Put everything that waits into `batch`; returns what may leave beside it.

        A quarantined copy's rows stay as they are: written over, their damage would be forgotten at the next start.
        """
        if self.is_quarantined:
            return []
        if self.leader is not None:
            self.leader.form_rows(now)
        self.copy.save(batch, apply)
        self._follower.prepare_answers(full)
        try:
            return [] if self.leader is None else self.leader.pump(view, now)
        except DamagedRow as error:
            self._stopped = self.quarantine(str(error))
            return []

    def durable(self) -> list[Effect]:
        """The batch of the last `collect` is durable."""
        self.copy.saved()
        effects: list[Effect] = [*self._follower.release_answers(), *self._stopped]
        self._stopped = []
        if self.leader is not None:
            self.leader.forget_applied()
            effects += self.leader.advance()
        return effects

    def tick(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Time has passed: ask again for what got no answer, and do the leader's housekeeping."""
        if self.is_quarantined:
            return []
        if self.leader is not None:
            try:
                return [*self.leader.tick(view, now), *self.leader.pump(view, now)]
            except DamagedRow as error:
                return self.quarantine(str(error))
        entry = self.copy.entry
        if entry is None or now.mono_ms - self._asked_ms < ASK_AGAIN_MS:
            return []
        if entry.leader == self.copy.name.rid:
            return self._ask(entry, now)
        return self._ask_if_first(entry, now) if entry.leader is None else []

    def truncate_log(self, view: Snapshot, now: Instant, retention: Retention) -> list[Effect]:
        """Drop what the log need no longer keep, a bounded piece at a time."""
        if self.is_quarantined:
            return []
        try:
            row_keys, size_bytes = old_rows(self.copy, self.log_floor, view, now, retention)
        except DamagedRow as error:
            return self.quarantine(str(error))
        if row_keys:
            self.copy.truncate(row_keys, size_bytes)
        return []

    @property
    def log_floor(self) -> int:
        """Log rows that end below this seq are needed by no member of the in-sync set."""
        acked = [] if self.leader is None else [peer.acked for peer in self.leader.peers.values()]
        return min([self.copy.applied_seq, *acked])

    def report(self) -> CopyReport:
        """How this copy is."""
        leader = self.leader
        serving = leader is not None and leader.is_serving
        epoch = leader.epoch if leader is not None else self.copy.promised
        return CopyReport(self.pid, epoch, serving, self.copy.keys, self.copy.size_bytes)
