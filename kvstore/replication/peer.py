"""What a leader knows of one follower.

Guarantees: `acked` is only ever an end that the follower named as durable and that is part of the leader's log; rows
are streamed in order with a bounded number of bytes under way; a follower that was silent is asked where it stands
before anything else is sent. Leaves to others: what an ack is worth (`leader`). Sans-IO. PROTOCOL "Reconciliation".

    asked ──vector, equal──────────▶ streaming ──silence──▶ asked
      └────vector, divergent──▶ cutting ──ack of the cut──▶ streaming
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from kvstore.instant import Instant
from kvstore.messages import Acked, Append, CutTail, Entry, EpochVector, Reconcile, Rid
from kvstore.replication.copy import Copy
from kvstore.replication.log import common_end
from kvstore.storage.engine import Snapshot

WINDOW_BYTES = 16 * 1024 * 1024
APPEND_BYTES_MAX = 4 * 1024 * 1024
SILENCE_MS = 1000
ASK_AGAIN_MS = 300


class PeerState(Enum):
    ASKED = "asked"
    CUTTING = "cutting"
    STREAMING = "streaming"


class Peer:
    """One member of the in-sync set, the leader aside."""

    def __init__(self, rid: Rid) -> None:
        self.rid = rid
        self.state = PeerState.ASKED
        self.acked = 0
        self.is_alive = False
        self.is_full = False
        self._cut_end = 0
        self._sent_end = 0
        self._commit_seq = 0
        self._told_ms = -ASK_AGAIN_MS
        self._told_commit_seq = -1
        self._under_way: deque[tuple[int, int]] = deque()
        self._bytes_under_way = 0
        self._heard_ms = 0
        self._asked_ms = -ASK_AGAIN_MS

    def ask_vector(self, entry: Entry, now: Instant) -> Reconcile:
        """Begin again with this follower."""
        self.state = PeerState.ASKED
        self._asked_ms = now.mono_ms
        self._under_way.clear()
        self._bytes_under_way = 0
        return Reconcile(entry.pid, self.rid, entry.epoch, entry.ver)

    def take_vector(self, message: EpochVector, copy: Copy, now: Instant) -> CutTail | None:
        """Compare logs; returns the cut that the follower needs, if any.

        A vector that comes while rows are streamed tells of a gap, or is late: the stream goes back to its end, which
        at worst sends rows twice. A cut is asked for only before streaming.
        """
        end = common_end(copy.log.starts, copy.log.end, message.starts, message.log_end)
        if self.state is PeerState.CUTTING or (self.state is PeerState.STREAMING and end < message.log_end):
            return None
        self._heard_ms = now.mono_ms
        if end < message.log_end:
            self.state = PeerState.CUTTING
            self._cut_end = end
            return CutTail(copy.name.pid, self.rid, message.epoch, end)
        self._stream_from(end)
        return None

    def take_ack(self, message: Acked, now: Instant) -> None:
        """The follower's log is durable up to `message.log_end`, in this leader's epoch."""
        if message.log_end > self.acked or not self._under_way:
            self._heard_ms = now.mono_ms
        self.is_full = message.full
        if self.state is PeerState.CUTTING and message.log_end == self._cut_end:
            self._stream_from(message.log_end)
        self.acked = max(self.acked, message.log_end)
        self._commit_seq = max(self._commit_seq, message.commit_seq)
        while self._under_way and self._under_way[0][0] <= message.log_end:
            self._bytes_under_way -= self._under_way.popleft()[1]

    def can_send(self, copy: Copy) -> bool:
        """Whether rows wait that this follower can be sent now."""
        return (
            self._sent_end < copy.log.end and self.state is PeerState.STREAMING and self._bytes_under_way < WINDOW_BYTES
        )

    def next_append(self, copy: Copy, entry: Entry, view: Snapshot, now: Instant) -> Append | None:
        """The next rows this follower lacks, None when it has all or its window is full."""
        if not self.can_send(copy):
            return None
        rows, previous, last = copy.log.rows_after(self._sent_end, APPEND_BYTES_MAX, copy.prefix, view)
        if not rows:
            return None
        if not self._under_way:
            self._heard_ms = now.mono_ms
        append = Append(entry.pid, self.rid, entry.epoch, self._sent_end, previous, copy.commit_seq, rows)
        size = sum(map(len, rows))
        self._under_way.append((last, size))
        self._bytes_under_way += size
        self._sent_end = last
        self._told_commit_seq = copy.commit_seq
        return append

    def idle_append(self, copy: Copy, entry: Entry, now: Instant) -> Append | None:
        """News of what is committed, for a follower that has every row; again until it says that it knows.

        A follower whose store was full is told too, whatever it knows: only its ack says that there is room again.
        """
        if (
            self.state is not PeerState.STREAMING
            or self._sent_end != copy.log.end
            or (self._commit_seq >= copy.commit_seq and not self.is_full)
            or (self._told_commit_seq == copy.commit_seq and now.mono_ms - self._told_ms < ASK_AGAIN_MS)
        ):
            return None
        self._told_commit_seq = copy.commit_seq
        self._told_ms = now.mono_ms
        return Append(entry.pid, self.rid, entry.epoch, copy.log.end, copy.log.end_checksum, copy.commit_seq, [])

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

    def _stream_from(self, end: int) -> None:
        self.state = PeerState.STREAMING
        self.is_alive = True
        self.acked = max(self.acked, end)
        self._sent_end = end
        self._told_commit_seq = -1
        self._commit_seq = 0
        self._under_way.clear()
        self._bytes_under_way = 0
