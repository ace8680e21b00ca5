"""What a leader knows of one follower.

Guarantees: `acked` is only ever an end that the follower named as durable and that is part of the leader's log; rows
are streamed in order with a bounded number of bytes under way; a follower that was silent is asked where it stands
before anything else is sent; only a learner is ever told to begin anew. Leaves to others: what an ack is worth
(`followers`). Sans-IO. PROTOCOL "Reconciliation", "Backfill".

    asked ──vector, equal──────────▶ streaming ──silence──▶ asked
      └────vector, divergent──▶ cutting ──ack of the cut──▶ streaming
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from kvstore.instant import Instant
from kvstore.map_values import Entry, Rid
from kvstore.messages import Acked, Append, BeginBackfill, CutTail, EpochVector, Reconcile
from kvstore.replication.copy import Copy
from kvstore.replication.log import common_end
from kvstore.storage.engine import Snapshot

WINDOW_BYTES = 16 * 1024 * 1024
APPEND_BYTES_MAX = 4 * 1024 * 1024
SILENCE_MS = 1000
START_GRACE_MS = 3000
ASK_AGAIN_MS = 300
ORDER_AGAIN_MS = 2000
NEWS_MS = 50
JOIN_LAG_RECORDS = 1000
LEASE_MS = 2000
NEVER_MS = -(1 << 62)


class Role(Enum):
    """`LEARNER`: its acks count for nothing; `JOINING`: it must ack, the map does not name it yet; `MEMBER`: of the
    in-sync set in the map."""

    LEARNER = "learner"
    JOINING = "joining"
    MEMBER = "member"


class PeerState(Enum):
    ASKED = "asked"
    CUTTING = "cutting"
    STREAMING = "streaming"


class Peer:
    """One copy beside the leader's."""

    def __init__(self, rid: Rid, role: Role, now: Instant) -> None:
        self.rid = rid
        self.role = role
        self.state = PeerState.ASKED
        self.acked = 0
        self.is_alive = False
        self.is_full = False
        self.is_backfilling = False
        self.granted_ms = NEVER_MS
        self.confirmed = 0
        self.member_ms = now.mono_ms
        self._lease_due_ms = now.mono_ms
        self._join_end = 0
        self.base_seq = 0
        self.equal_seq = 0
        self._is_known = False
        self._cut_end = 0
        self._sent_end = 0
        self._commit_seq = 0
        self._told_ms = -ASK_AGAIN_MS
        self._told_commit_seq = -1
        self._under_way: deque[tuple[int, int]] = deque()
        self._bytes_under_way = 0
        self._heard_ms = now.mono_ms
        self._asked_ms = -ASK_AGAIN_MS

    def ask_vector(self, entry: Entry, now: Instant) -> Reconcile:
        """Begin again with this follower."""
        if self._is_idle:
            self._heard_ms = now.mono_ms
        self.state = PeerState.ASKED
        self._asked_ms = now.mono_ms
        self._under_way.clear()
        self._bytes_under_way = 0
        return Reconcile(entry.pid, self.rid, entry.epoch, entry.ver)

    def take_vector(self, message: EpochVector, copy: Copy, now: Instant) -> CutTail | None:
        """Compare logs; returns the cut that the follower needs, if any.

        A vector that comes while rows are streamed tells of a gap, or is late: the stream goes back to its end, which
        at worst sends rows twice, but never behind what was acked, for that is no longer kept. A cut is asked for only
        before streaming.
        """
        end = common_end(copy.log.starts, copy.log.end, message.starts, message.log_end)
        self._take_completeness(end, message.backfilling)
        if self.state is PeerState.CUTTING or (self.state is PeerState.STREAMING and end < message.log_end):
            return None
        self._heard_ms = now.mono_ms
        if end < message.log_end:
            self.state = PeerState.CUTTING
            self._cut_end = end
            return CutTail(copy.name.pid, self.rid, message.epoch, end)
        self._stream_from(max(end, self.acked))
        return None

    def take_ack(self, message: Acked, now: Instant) -> None:
        """The follower's log is durable up to `message.log_end`, in this leader's epoch."""
        if message.log_end > self.acked or not self._under_way:
            self._heard_ms = now.mono_ms
        self.is_full = message.full
        self._take_completeness(message.log_end, message.backfilling)
        if self.state is PeerState.CUTTING and message.log_end == self._cut_end:
            self._stream_from(message.log_end)
        self.acked = max(self.acked, message.log_end)
        self._commit_seq = max(self._commit_seq, message.commit_seq)
        while self._under_way and self._under_way[0][0] <= message.log_end:
            self._bytes_under_way -= self._under_way.popleft()[1]

    def lags(self, copy: Copy) -> bool:
        """Whether it counts for nothing and lacks so much that it is sent rows at a pace only."""
        return self.role is Role.LEARNER and not self._is_held and copy.log.end - self._sent_end > JOIN_LAG_RECORDS

    def can_send(self, copy: Copy) -> bool:
        """Whether rows wait that this follower can be sent now."""
        has_window = self._bytes_under_way < WINDOW_BYTES and not self._is_held
        return self._sent_end < copy.log.end and self.state is PeerState.STREAMING and has_window

    @property
    def _is_held(self) -> bool:
        """Whether rows would only take the last room of a store that is full: its data is not complete, so it applies
        none of them. One that is complete gets them, for deletes make room."""
        has_begun = self.is_backfilling and not self.has_to_begin
        return self.role is Role.LEARNER and self.is_full and has_begun

    @property
    def owes_ack(self) -> bool:
        """Whether rows are under way to it."""
        return bool(self._under_way)

    def next_append(
        self, copy: Copy, entry: Entry, view: Snapshot, now: Instant, bytes_max: int | None = None
    ) -> Append | BeginBackfill | None:
        """The next rows this follower lacks, None when it has all or its window is full.

        A learner that lacks rows which are no longer kept is told to begin anew, and so is an empty one that lacks
        many: data takes less than all the records that led to it.
        """
        if not self.can_send(copy):
            return None
        if self._sent_end == 0 and self.role is Role.LEARNER and copy.log.base[0] > JOIN_LAG_RECORDS:
            return self._miss_rows(copy, entry, now)
        rows, previous, last = copy.log.rows_after(self._sent_end, bytes_max or APPEND_BYTES_MAX, copy.prefix, view)
        if not rows:
            return self._miss_rows(copy, entry, now)
        if not self._under_way:
            self._heard_ms = now.mono_ms
        append = Append(entry.pid, self.rid, entry.epoch, self._sent_end, previous, copy.commit_seq, rows)
        size = sum(map(len, rows))
        self._under_way.append((last, size))
        self._bytes_under_way += size
        self._sent_end = last
        self._told_commit_seq = copy.commit_seq
        self._told_ms = now.mono_ms
        return append

    def _miss_rows(self, copy: Copy, entry: Entry, now: Instant) -> BeginBackfill | None:
        """It cannot be sent the rows that it lacks: a learner begins anew, in its turn, so that it may have to be told
        often; whoever must ack is as good as silent."""
        if self.role is not Role.LEARNER:
            self.is_alive = False
            return None
        self.ask_vector(entry, now)
        if self.has_to_begin:
            self._asked_ms += ORDER_AGAIN_MS - ASK_AGAIN_MS
        base_seq, base_checksum = copy.log.base
        self.base_seq = base_seq
        self.is_backfilling = True
        starts = [(epoch, seq) for epoch, seq in copy.log.starts if seq <= base_seq]
        return BeginBackfill(entry.pid, self.rid, entry.epoch, base_seq, base_checksum, starts, copy.log.time_ms)

    @property
    def has_to_begin(self) -> bool:
        """Whether it was told to begin anew, and is not known to have."""
        return self.acked < self.base_seq

    def _take_completeness(self, end: int, is_backfilling: bool) -> None:
        """Whether the data of a log that is equal up to `end` is complete. Below the base that is late news of the copy
        that was told to begin anew, whose own end, with a tail that was never committed, may lie beyond."""
        if end >= self.base_seq:
            self.is_backfilling = is_backfilling

    def idle_append(self, copy: Copy, entry: Entry, now: Instant) -> Append | None:
        """News of what is committed, for a follower that has every row, where no rows have carried it lately; again
        until it says that it knows.

        A follower whose store was full, or whose data was not complete, is told too, whatever it knows and lacks: only
        its ack says that this is over.
        """
        if self._commit_seq >= copy.commit_seq and not self.is_full and not self.is_backfilling:
            return None
        silent_ms = now.mono_ms - self._told_ms
        if silent_ms < (ASK_AGAIN_MS if self._told_commit_seq == copy.commit_seq else NEWS_MS):
            return None
        if self.state is not PeerState.STREAMING or (self._sent_end != copy.log.end and not self._is_held):
            return None
        self._told_commit_seq = copy.commit_seq
        self._told_ms = now.mono_ms
        end = (0, 0) if self._is_held else (copy.log.end, copy.log.end_checksum)
        return Append(entry.pid, self.rid, entry.epoch, *end, copy.commit_seq, [])

    def is_silent(self, copy: Copy, now: Instant) -> bool:
        """Whether the follower owes an answer and must be asked again; after a second it counts as not alive."""
        if self.state is PeerState.STREAMING and not self._under_way:
            return False
        silent_ms = now.mono_ms - self._heard_ms
        if silent_ms >= SILENCE_MS:
            self.is_alive = False
        if self.state is PeerState.STREAMING:
            return silent_ms >= SILENCE_MS
        return now.mono_ms - self._asked_ms >= ASK_AGAIN_MS

    # ---- the in-sync set ----------------------------------------------------------------------------------------

    @property
    def must_ack(self) -> bool:
        """Whether nothing counts as committed that this follower does not have."""
        return self.role is not Role.LEARNER

    def stuck_ms(self, now: Instant) -> int:
        """For how long it owes an answer and made no progress."""
        return 0 if self._is_idle else now.mono_ms - self._heard_ms

    def is_stuck(self, now: Instant) -> bool:
        """Whether it made no progress, or granted no lease, for so long that it must leave the in-sync set."""
        without_lease_ms = now.mono_ms - max(self.granted_ms, self._lease_due_ms)
        grace_ms = SILENCE_MS if self._is_known else START_GRACE_MS
        return self.stuck_ms(now) >= grace_ms or without_lease_ms >= START_GRACE_MS

    def excuse(self, ms: int, now: Instant) -> None:
        """So much of the time counts neither as silence nor as time without a lease."""
        self._heard_ms = min(self._heard_ms + ms, now.mono_ms)
        self._lease_due_ms = min(max(self.granted_ms, self._lease_due_ms) + ms, now.mono_ms)

    def drop_lease(self, now: Instant) -> None:
        """It has to grant a lease anew."""
        self.granted_ms = NEVER_MS
        self._lease_due_ms = now.mono_ms

    def is_near(self, copy: Copy, now: Instant) -> bool:
        """Whether it was sent all there is and so little is unacked that it may begin to join, and whether it grants
        leases, which are then needed."""
        has_lease = now.mono_ms - self.granted_ms < LEASE_MS // 2
        is_sent = self._sent_end == copy.log.end
        return self.is_whole and has_lease and is_sent and copy.log.end - self.acked < JOIN_LAG_RECORDS

    @property
    def has_begun_anew(self) -> bool:
        """Whether what it holds now is not what was found equal in this epoch, if anything was."""
        return self.base_seq > self.equal_seq

    @property
    def is_whole(self) -> bool:
        """Whether it follows and its data is complete."""
        return self.is_alive and self.state is PeerState.STREAMING and not self.is_backfilling

    def begin_join(self, copy: Copy) -> None:
        """Count its acks from now on."""
        self.role = Role.JOINING
        self._join_end = copy.log.end

    def begin_membership(self, now: Instant) -> None:
        """The map names it as in sync."""
        if self.role is not Role.MEMBER:
            self.role = Role.MEMBER
            self.member_ms = now.mono_ms

    @property
    def has_joined(self) -> bool:
        """Whether its data is complete and it acked, in this epoch, all that the log held when it began to join."""
        is_whole = self.is_alive and not self.is_backfilling
        return self.role is Role.JOINING and is_whole and self.acked >= self._join_end

    def lost(self, now: Instant) -> None:
        """The connection to it is gone."""
        if self._is_idle:
            self._heard_ms = now.mono_ms
            self.state = PeerState.ASKED
        self.is_alive = False

    @property
    def _is_idle(self) -> bool:
        """Whether it owes nothing."""
        return self.state is PeerState.STREAMING and self.is_alive and not self._under_way

    def _stream_from(self, end: int) -> None:
        self.state = PeerState.STREAMING
        self._is_known = True
        self.is_alive = True
        self.acked = max(self.acked, end)
        self._sent_end = end
        self._told_commit_seq = -1
        self._commit_seq = 0
        self._under_way.clear()
        self._bytes_under_way = 0
