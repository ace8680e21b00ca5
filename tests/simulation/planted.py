"""Rules broken on purpose: the suite must find each, or it proves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import msgspec
from simulation import planted_transfers, planted_txns
from simulation.clients import Writing
from simulation.disk import SimDisk
from simulation.sim_node import SimNode

from cluster.control import promotion
from kvstore import candidate
from kvstore.effects import Send
from kvstore.map_values import Entry
from kvstore.messages import Append, CutTail, Fault, WriteOne
from kvstore.replication import backfill
from kvstore.replication.copy import Copy
from kvstore.replication.follower import Follower
from kvstore.replication.followers import FOR_EVER_MS, LEASE_GUARD_MS, Followers
from kvstore.replication.outcomes_at_end import STALE, OutcomesAtEnd
from kvstore.replication.overlay import Overlay
from kvstore.replication.peer import LEASE_MS, Peer, Role
from kvstore.replication.stale_reads import StaleReads
from kvstore.replication.windows import Outcome
from kvstore.scan import page_at_once
from kvstore.storage.engine import Batch


def _ack_before_follower() -> AbstractContextManager[object]:
    """The leader counts rows as held by its followers as soon as they are sent."""
    original = Peer.next_append

    def next_append(self: Peer, *args: object) -> Append | None:
        append = original(self, *args)  # type: ignore[arg-type]
        self.acked = max(self.acked, self._sent_end)
        return append

    return patch.object(Peer, "next_append", next_append)


def _no_epoch_check() -> AbstractContextManager[object]:
    """The follower takes rows of any epoch as if they were of the one it promised."""
    original = Follower.on_append

    def on_append(self: Follower, node: str, message: Append) -> list[Send]:
        return original(self, node, msgspec.structs.replace(message, epoch=self._copy.promised))

    return patch.object(Follower, "on_append", on_append)


def _fsync_off() -> AbstractContextManager[object]:
    """Disks say "durable" before it is so."""
    return patch.object(SimDisk, "is_honest", False)


def _join_before_ack() -> AbstractContextManager[object]:
    """A learner counts as a member before it has acked what the log held when it began to join."""
    has_joined = property(lambda self: self.role is Role.JOINING and self.is_alive)
    return patch.object(Peer, "has_joined", has_joined)


def _shrink_without_cas() -> AbstractContextManager[object]:
    """A leader goes on without a silent member before control knows."""

    def durable_end(self: Followers) -> int:
        return min([self._copy.durable_end, *(peer.acked for peer in self.counted if peer.is_alive)])

    return patch.object(Followers, "durable_end", durable_end)


def _chunk_without_as_of() -> AbstractContextManager[object]:
    """A learner stores chunks without bringing what it has to the seq at which they were read."""
    original = Copy._apply

    def apply(self: Copy, batch: Batch, upto: int, cursor: bytes | None) -> None:
        if cursor is None:
            original(self, batch, upto, cursor)

    return patch.object(Copy, "_apply", apply)


def _read_without_lease() -> AbstractContextManager[object]:
    """A leader serves reads for as long as it believes to lead."""
    original = Followers._reckon_lease

    def reckon(self: Followers) -> None:
        original(self)
        self.lease_end_ms = FOR_EVER_MS

    return patch.object(Followers, "_reckon_lease", reckon)


def _no_grace() -> AbstractContextManager[object]:
    """A follower takes over while a lease that it granted is still valid."""
    return patch.object(candidate, "GRACE_MS", 900)


def _lease_before_snapshot() -> AbstractContextManager[object]:
    """The clock that a lease is held against is read before the snapshot of the read is opened."""
    return patch.object(SimNode, "reads_clock_first", True)


def _scan_without_overlay() -> AbstractContextManager[object]:
    """A scan sees only what is applied."""
    return patch.object(Overlay, "within", lambda _self, _start, _end: {})


def _page_past_overlay() -> AbstractContextManager[object]:
    """A page at a look does not look whether anything is newer than its view."""
    return patch.object(page_at_once, "_is_any_within", lambda *_: False)


def _quorum_without_round() -> AbstractContextManager[object]:
    """A leader answers quorum reads without waiting for what its followers say."""
    return patch.object(Followers, "confirmed_number", FOR_EVER_MS)


def _stale_without_applied() -> AbstractContextManager[object]:
    """A follower takes what it was told is committed for what it has applied."""

    def learn(self: StaleReads, commit_seq: int, asked_ms: int, applied_seq: int) -> None:
        self._since_ms = max(self._since_ms, asked_ms)

    return patch.object(StaleReads, "learn", learn)


def _outcomes_not_filled() -> AbstractContextManager[object]:
    """A learner gets the data, but not what the partition remembers of writes."""
    return patch.object(backfill, "transferred_rows", lambda *_: iter(()))


def _blind_retry() -> AbstractContextManager[object]:
    """A write whose outcome is unknown is sent again as if it were another one."""
    original = Writing.marked

    def marked(self: Writing, ver: int) -> WriteOne:
        write = original(self, ver)
        return msgspec.structs.replace(write, token=b"", origin=0, number=0, floor=0) if write.again else write

    return patch.object(Writing, "marked", marked)


def _outcomes_forgotten() -> AbstractContextManager[object]:
    """A new leader does not take the outcomes of the rows that its log holds beyond what is applied."""
    return patch.object(OutcomesAtEnd, "take_row", lambda *_: None)


def _journal_dropped() -> AbstractContextManager[object]:
    """The journal is emptied, and what stood there only does not go to the log."""

    def save_journaled(self: Copy, batch: Batch) -> None:
        self._journaled = []

    return patch.object(Copy, "save_journaled", save_journaled)


def _cut_twice() -> AbstractContextManager[object]:
    """A follower cuts its tail whenever it is told to, also when it has accepted rows of that epoch."""
    original = Follower.on_cut

    def on_cut(self: Follower, node: str, message: CutTail) -> list[Send]:
        if self._copy.promised == message.epoch and message.end < self._copy.log.end:
            self._copy.reconciled = 0
        return original(self, node, message)

    return patch.object(Follower, "on_cut", on_cut)


def _lease_as_grace() -> AbstractContextManager[object]:
    """The first follower waits for just as long as a lease lasts, as if all clocks ran alike."""
    return patch.object(candidate, "GRACE_MS", LEASE_MS - LEASE_GUARD_MS - candidate.GRACE_STEP_MS)


def _below_floor() -> AbstractContextManager[object]:
    """A number that its window has forgotten is taken for a new write."""
    original = OutcomesAtEnd._find_number

    def find_number(self: OutcomesAtEnd, write: WriteOne) -> Outcome | Fault | None:
        found = original(self, write)
        return None if found is STALE and self.windows.get(write.origin) is not None else found

    return patch.object(OutcomesAtEnd, "_find_number", find_number)


def _dropped_as_new() -> AbstractContextManager[object]:
    """An incarnation that was dropped is taken for one that never wrote."""
    original = OutcomesAtEnd._find_number

    def find_number(self: OutcomesAtEnd, write: WriteOne) -> Outcome | Fault | None:
        found = original(self, write)
        return None if found is STALE and self.windows.get(write.origin) is None else found

    return patch.object(OutcomesAtEnd, "_find_number", find_number)


def _promotion_uncounted() -> AbstractContextManager[object]:
    """A promotion by force leaves no trace in the entry."""
    original = promotion._promoted

    def promoted(entry: Entry, *args: Any) -> Entry:
        return msgspec.structs.replace(original(entry, *args), unclean_count=entry.unclean_count)

    return patch.object(promotion, "_promoted", promoted)


def _promoted_beside_leader() -> AbstractContextManager[object]:
    """The operator's word is taken for it that the nodes of the in-sync copies are stopped."""
    original = promotion._promoted

    def promoted(entry: Entry, stopped: Any, status: Any, connected: Any) -> Entry:
        return original(entry, stopped, status, ())

    return patch.object(promotion, "_promoted", promoted)


@dataclass(frozen=True)
class Planted:
    """A broken rule: how it is broken, and the script that is to find it; chance is where none is named."""

    breaker: Callable[[], AbstractContextManager[object]]
    script: str = ""


PLANTED: Mapping[str, Planted] = {
    "ack_before_follower": Planted(_ack_before_follower),
    "no_epoch_check": Planted(_no_epoch_check, "old_rows"),
    "fsync_off": Planted(_fsync_off),
    "join_before_ack": Planted(_join_before_ack),
    "shrink_without_cas": Planted(_shrink_without_cas),
    "chunk_without_as_of": Planted(_chunk_without_as_of),
    "read_without_lease": Planted(_read_without_lease, "cut_off_leader"),
    "no_grace": Planted(_no_grace, "cut_off_leader"),
    "lease_as_grace": Planted(_lease_as_grace, "cut_off_leader"),
    "lease_before_snapshot": Planted(_lease_before_snapshot, "cut_off_leader"),
    "scan_without_overlay": Planted(_scan_without_overlay),
    "page_past_overlay": Planted(_page_past_overlay),
    "quorum_without_round": Planted(_quorum_without_round, "cut_off_leader"),
    "stale_without_applied": Planted(_stale_without_applied),
    "journal_dropped": Planted(_journal_dropped),
    "cut_twice": Planted(_cut_twice, "old_rows"),
    "outcomes_not_filled": Planted(_outcomes_not_filled),
    "blind_retry": Planted(_blind_retry),
    "outcomes_forgotten": Planted(_outcomes_forgotten),
    "below_floor": Planted(_below_floor),
    "dropped_as_new": Planted(_dropped_as_new),
    "promotion_uncounted": Planted(_promotion_uncounted, "forced"),
    "promoted_beside_leader": Planted(_promoted_beside_leader, "forced"),
    **{name: Planted(broken, script) for name, (broken, script) in planted_txns.BROKEN.items()},
    **{name: Planted(broken, script) for name, (broken, script) in planted_transfers.BROKEN.items()},
}


def breaker(planted: str) -> AbstractContextManager[object]:
    """What breaks the rule of that name while it is entered; nothing where none is named."""
    return PLANTED[planted].breaker() if planted else contextlib.nullcontext()
