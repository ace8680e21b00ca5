"""The followers of one leader: who must ack, and who should be in the in-sync set.

Guarantees: a record counts as held only when the maximal in-sync set holds it, which is the map's set and those whom
this leader began to take in; nobody leaves that set but by a map entry that says so; a learner enters the map's set
only after it acked, in this epoch, all that the log held when it began to join; the lease ends before the first of them
may be promoted. Leaves to others: streaming to one follower (`peer`), asking control (`partition`). Sans-IO. PROTOCOL
"In-sync set", "Leases".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from kvstore.effects import Send
from kvstore.instant import Instant
from kvstore.map_values import Entry, Rid
from kvstore.messages import Acked, Chunk, EpochVector, PullChunk
from kvstore.replication.backfill import read_chunk
from kvstore.replication.copy import Copy
from kvstore.replication.peer import LEASE_MS, Peer, Role
from kvstore.storage.engine import Snapshot

PINNED_LOG_BYTES_MAX = 256 * 1024 * 1024
BLOCKED_MS = 2500
LEASE_GUARD_MS = 100
FOR_EVER_MS = 1 << 62


class Followers:
    """Args: copy: the leader's own; entry: the map entry that made it leader. Attributes: pinned_seq: log rows after it
    are kept for a transfer."""

    def __init__(self, copy: Copy, entry: Entry, now: Instant) -> None:
        self.entry = entry
        self.is_blocked = False
        self.counted: list[Peer] = []
        self.lease_end_ms = 0
        self.pinned_seq: int | None = None
        self._copy = copy
        self._peers: dict[str, Peer] = {}
        self.take_entry(entry, now)

    def __iter__(self) -> Iterator[tuple[str, Peer]]:
        return iter(self._peers.items())

    def get(self, rid: Rid) -> Peer | None:
        """What is known of that copy, None where it is no follower."""
        peer = self._peers.get(rid.node)
        return peer if peer is not None and peer.rid == rid else None

    @property
    def nodes(self) -> Iterable[str]:
        return self._peers

    # ---- the in-sync set ----------------------------------------------------------------------------------------

    def take_entry(self, entry: Entry, now: Instant) -> list[Send]:
        """A newer map entry of this epoch; returns what new followers are asked."""
        self.entry = entry
        mine = self._copy.name.rid
        copies = {rid.node: rid for rid in (*entry.replicas, *entry.adding) if rid != mine}
        for node in [node for node, peer in self._peers.items() if copies.get(node) != peer.rid]:
            del self._peers[node]
        sends: list[Send] = []
        for node, rid in copies.items():
            peer = self._peers.get(node)
            if peer is None:
                peer = self._peers[node] = Peer(rid, Role.LEARNER, now)
                sends.append(Send(node, peer.ask_vector(entry, now)))
            if rid in entry.in_sync:
                peer.begin_membership(now)
            elif peer.role is Role.MEMBER or rid in entry.removing:
                peer.role = Role.LEARNER
        self._count()
        return sends

    def wanted(self, now: Instant) -> Entry | None:
        """The entry that should follow the present one, None where that may stay."""
        entry, mine = self.entry, self._copy.name.rid
        stay = [rid for rid in entry.in_sync if rid == mine or not self._is_stuck(rid, now)]
        if len(stay) == len(entry.in_sync) and _is_whole_without_leaving(entry):
            stay = [rid for rid in stay if rid == mine or rid not in entry.removing]
        joined = [peer.rid for peer in self._peers.values() if peer.has_joined]
        in_sync = (*stay, *joined)
        if in_sync == entry.in_sync:
            return None
        placed = tuple(rid for rid in entry.adding if rid in joined)
        return msgspec.structs.replace(
            entry,
            ver=entry.ver + 1,
            in_sync=in_sync,
            replicas=(*entry.replicas, *placed),
            adding=tuple(rid for rid in entry.adding if rid not in placed),
        )

    def review(self, now: Instant, is_asking: bool) -> None:
        """Take learners in that are near the log's end, and let go of those that fell behind before they were members.

        Args:
            is_asking: the outcome of a compare-and-set is open: whoever it may have named must ack until it is known.
        """
        for peer in self._peers.values():
            if peer.role is Role.LEARNER and self._admits(peer) and peer.is_near(self._copy, now):
                peer.begin_join(self._copy)
            elif peer.role is Role.JOINING and not is_asking and peer.is_stuck(now):
                peer.role = Role.LEARNER
        self._count()
        self.is_blocked = any(peer.stuck_ms(now) >= BLOCKED_MS for peer in self.counted)

    def _admits(self, peer: Peer) -> bool:
        """Whether it may enter the in-sync set: one that moves, with the very data that was compared."""
        entry = self.entry
        is_moving = peer.rid == entry.moving and peer.rid in entry.adding
        return entry.admits(peer.rid) and not (is_moving and peer.has_begun_anew)

    def is_ready_to_lead(self, now: Instant, calm_ms: int) -> bool:
        """Whether the copy that the entry names first has been a member, without a break, for so long."""
        first = self.entry.replicas[0]
        peer = self._peers.get(first.node)
        if peer is None or peer.rid != first or peer.role is not Role.MEMBER or not peer.is_alive:
            return False
        return now.mono_ms - peer.member_ms >= calm_ms and now.mono_ms - peer.granted_ms < LEASE_MS

    def _is_stuck(self, rid: Rid, now: Instant) -> bool:
        peer = self._peers.get(rid.node)
        return peer is not None and peer.rid == rid and peer.is_stuck(now)

    def _count(self) -> None:
        self.counted = [peer for peer in self._peers.values() if peer.must_ack]
        self._reckon_lease()

    # ---- the lease ----------------------------------------------------------------------------------------------

    def granted(self, node: str, sent_ms: int) -> None:
        """A follower answered the ping that was sent at `sent_ms`."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.granted_ms = max(peer.granted_ms, sent_ms)
            self._reckon_lease()

    def confirmed(self, node: str, number: int) -> None:
        """A follower answered the round of that number: it follows."""
        peer = self._peers.get(node)
        if peer is not None:
            peer.confirmed = max(peer.confirmed, number)

    @property
    def confirmed_number(self) -> int:
        """The last round in which, or later, all who must ack said that they follow."""
        return min((peer.confirmed for peer in self.counted), default=FOR_EVER_MS)

    def drop_lease(self, now: Instant) -> None:
        """Whatever was granted before is not relied on any more."""
        for peer in self._peers.values():
            peer.drop_lease(now)
        self._reckon_lease()

    def _reckon_lease(self) -> None:
        """Nobody else can be promoted while one that must ack has granted a lease; alone, nobody else ever can."""
        granted_ms = min((peer.granted_ms for peer in self.counted), default=FOR_EVER_MS)
        self.lease_end_ms = granted_ms + LEASE_MS - LEASE_GUARD_MS

    # ---- what they hold -----------------------------------------------------------------------------------------

    def durable_end(self) -> int:
        """The last seq that the whole maximal in-sync set holds durably."""
        end = self._copy.durable_end
        for peer in self.counted:
            if peer.acked < end:
                end = peer.acked
        return end

    def copies(self, seq: int) -> int:
        """How many copies of the maximal in-sync set hold `seq` durably."""
        return 1 + sum(peer.acked >= seq for peer in self.counted)

    @property
    def is_full(self) -> bool:
        """Whether the store of one that must ack refuses what needs room."""
        return any(peer.is_full for peer in self.counted)

    @property
    def log_floor(self) -> int:
        """Rows that end below are needed by nobody; a learner that can use them, or a transfer, is waited for until too
        much is kept for it."""
        pins = self._copy.log_bytes <= PINNED_LOG_BYTES_MAX
        peers = self._peers.values()
        acked = [one.acked for one in peers if one.must_ack or (pins and one.is_alive and not one.has_to_begin)]
        pinned = [self.pinned_seq + 1] if pins and self.pinned_seq is not None else []
        return min([self._copy.applied_seq, *acked, *pinned])

    # ---- streaming ----------------------------------------------------------------------------------------------

    @property
    def can_send(self) -> bool:
        """Whether something waits that can be sent now."""
        return any(peer.can_send(self._copy) and not peer.lags(self._copy) for peer in self._peers.values())

    def pump(self, view: Snapshot, now: Instant) -> list[Send]:
        """What followers can be sent now: rows they lack, as far as their windows allow; but none that lag (`feed`).

        Raises:
            DamagedRow: a log row of the leader's is damaged.
        """
        sends: list[Send] = []
        for node, peer in self._peers.items():
            while not peer.lags(self._copy):
                message = peer.next_append(self._copy, self.entry, view, now)
                if message is None:
                    break
                sends.append(Send(node, message))
        return sends

    @property
    def has_laggard(self) -> bool:
        """Whether a learner is to be fed; one that was told to begin anew is not before it says where it stands."""
        lag = (peer for peer in self._peers.values() if peer.lags(self._copy))
        return any(peer.can_send(self._copy) or not peer.has_to_begin for peer in lag)

    def feed(self, bytes_max: int, view: Snapshot, now: Instant) -> Send | None:
        """The next rows, about so many bytes, for a learner that lags and owes no ack.

        Raises:
            DamagedRow: a log row of the leader's is damaged.
        """
        for node, peer in self._peers.items():
            if peer.lags(self._copy) and not peer.owes_ack:
                message = peer.next_append(self._copy, self.entry, view, now, bytes_max)
                if message is not None:
                    return Send(node, message)
        return None

    def chunk(self, node: str, pull: PullChunk, bytes_max: int, view: Snapshot) -> Chunk | None:
        """The data that a learner asked for; None where it is no follower, or not in this epoch. Raises DamagedRow."""
        if self._named(node, pull) is None:
            return None
        state, rows, done = read_chunk(self._copy.prefix, pull.cursor, min(bytes_max, pull.bytes_max), view)
        end = rows[-1][0] if rows else pull.cursor
        cursor, as_of = pull.cursor, state.applied_seq
        return Chunk(pull.pid, pull.rid, pull.epoch, cursor, end, as_of, rows, done, state.applied_ms)

    def tick(self, now: Instant, stalled_ms: int | None) -> list[Send]:
        """Ask silent followers again, tell idle ones what is committed.

        Args:
            stalled_ms: so much of the time the node's own batch hung, and hangs: nothing is sent then that a follower
                would take for a sign of life, nor is the time held against any; None where none hangs.
        """
        if stalled_ms is not None:
            for peer in self._peers.values():
                peer.excuse(stalled_ms, now)
            return []
        sends: list[Send] = []
        for node, peer in self._peers.items():
            if peer.is_silent(self._copy, now):
                sends.append(Send(node, peer.ask_vector(self.entry, now)))
            elif (idle := peer.idle_append(self._copy, self.entry, now)) is not None:
                sends.append(Send(node, idle))
        return sends

    # ---- what they say ------------------------------------------------------------------------------------------

    def on_vector(self, node: str, message: EpochVector, now: Instant) -> list[Send]:
        """A follower told where its log stands."""
        peer = self._named(node, message)
        cut = None if peer is None else peer.take_vector(message, self._copy, now)
        return [] if cut is None else [Send(node, cut)]

    def on_acked(self, node: str, message: Acked, now: Instant) -> None:
        """A follower's log is durable up to `message.log_end`."""
        peer = self._named(node, message)
        if peer is not None:
            peer.take_ack(message, now)

    def reconcile(self, node: str, now: Instant) -> list[Send]:
        """Begin, or begin again, with a follower that can be reached."""
        peer = self._peers.get(node)
        return [] if peer is None else [Send(node, peer.ask_vector(self.entry, now))]

    def lost(self, node: str, now: Instant) -> None:
        """The connection to a follower is gone."""
        if node in self._peers:
            self._peers[node].lost(now)

    def _named(self, node: str, message: EpochVector | Acked | PullChunk) -> Peer | None:
        """The peer that the message is of, None for one of another copy or epoch."""
        peer = self._peers.get(node)
        matches = peer is not None and message.rid == peer.rid and message.epoch == self.entry.epoch
        return peer if matches else None


def _is_whole_without_leaving(entry: Entry) -> bool:
    """Whether some copies are to leave, and all the others are in sync."""
    staying = (rid for rid in (*entry.replicas, *entry.adding) if rid not in entry.removing)
    return bool(entry.removing) and set(entry.in_sync).issuperset(staying)
