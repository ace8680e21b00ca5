"""Whether a leader takes requests and reads now, and why not.

Guarantees: one that does not serve yet, that passes leadership on, or that stands still for the sake of a transfer
takes nothing, and appends nothing for anybody; what it stood still for stays so until the map has settled whether its
keys were handed over. Leaves to others: asking the map (`leader_asks`), when to stand still (`transfer.source`), the
log (`leader`). Sans-IO. PROTOCOL "Write path", "Read path", "Transfer".
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from kvstore.effects import Send
from kvstore.instant import Instant
from kvstore.map_values import Entry, Transfer, TransferState
from kvstore.messages import Fault
from kvstore.replication.answers import (
    ELSEWHERE,
    FROZEN,
    FULL,
    NO_LEADER,
    NO_LEASE,
    NOT_ENOUGH,
    OVERLOADED,
    PASSING_ON,
)
from kvstore.replication.followers import Followers
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.replication.peer import NEVER_MS


class Gate:
    """Args: followers: of the leader; shared: by the node's leaders.

    Attributes:
        frozen_ms: since when it stands still for a transfer, None where it does not.
        is_draining: no transaction is prepared anew: it is about to stand still.
        is_handing: the map was asked to have the keys handed over, and no newer entry has settled that.
        wanted_transfer: what the map is to say of the partition's transfer; UNSET: what it says.
        hidden: the transfer whose keys are here and not served.
    """

    def __init__(self, followers: Followers, shared: NodeLeaders, now: Instant) -> None:
        self.is_serving = False
        self.is_passing_on = False
        self.since_ms = now.mono_ms
        self.followers = followers
        self.frozen_ms: int | None = None
        self.is_draining = False
        self.is_handing = False
        self.wanted_transfer: Transfer | UnsetType | None = UNSET
        self.hidden: Transfer | None = None
        self._frozen_for = 0
        self._shared = shared
        self._stand_by(followers.entry, now)

    @property
    def ver(self) -> int:
        """The version of the map entry that requests must know."""
        return self.followers.entry.ver

    @property
    def is_stalled(self) -> bool:
        """Whether the node's own batch hangs."""
        return self._shared.stalled_ms is not None

    @property
    def layout(self) -> int:
        """The keyspace's when last a key came here or left."""
        return self.followers.entry.layout

    # ---- the map ------------------------------------------------------------------------------------------------

    def heed(self, entry: Entry, now: Instant) -> list[Send]:
        """A newer map entry of this epoch, or the same again; returns what new followers are asked."""
        if entry.ver > self.ver:
            self.is_handing, self.wanted_transfer = False, UNSET
            self._stand_by(entry, now)
        return self.followers.take_entry(entry, now)

    def _stand_by(self, entry: Entry, now: Instant) -> None:
        transfer, self.hidden = entry.transfer, entry.hidden
        is_source = transfer is not None and transfer.source == entry.pid
        if transfer is not None and is_source and transfer.state is TransferState.HANDED:
            self.freeze(transfer.id, now)
        elif transfer is None or not is_source or transfer.state is not TransferState.COPYING:
            self.thaw()
            self.followers.pinned_seq = None
        elif transfer.id != self._frozen_for:
            self.thaw()

    def freeze(self, transfer_id: int, now: Instant) -> None:
        """Stand still from now on."""
        if self.frozen_ms is None:
            self.frozen_ms = now.mono_ms
        self._frozen_for = transfer_id
        self.is_draining = False

    def thaw(self) -> None:
        """Go on: nobody else can have been given what is here, or that is settled."""
        assert not self.is_handing, "only the map settles what it was asked for"
        self.frozen_ms, self.is_draining, self.wanted_transfer = None, False, UNSET

    # ---- requests -----------------------------------------------------------------------------------------------

    @property
    def closed(self) -> Fault | None:
        """Why nothing is taken now."""
        if not self.is_serving:
            return NO_LEADER
        if self.is_passing_on:
            return PASSING_ON
        return None if self.frozen_ms is None else FROZEN

    def refuses_key(self, key: bytes) -> Fault | None:
        """Why this key is not served here."""
        return None if self.hidden is None or not self.hidden.takes(key) else ELSEWHERE

    def refuses_reads(self, now: Instant) -> Fault | None:
        """Why this leader may not conclude, from its clock alone, that what it sees is the newest state."""
        if not self.is_serving:
            return NO_LEADER
        if self.frozen_ms is not None:
            return FROZEN
        return NO_LEASE if now.mono_ms >= self.followers.lease_end_ms or self.is_passing_on else None

    def serves_every_key(self, ver: int, mono_ms: int) -> bool:
        """Whether this leads by the map entry `ver`, and neither `refuses_reads` nor `refuses_key` has a reason."""
        followers = self.followers
        return (
            followers.entry.ver == ver
            and mono_ms < followers.lease_end_ms
            and self.is_serving
            and not self.is_passing_on
            and self.frozen_ms is None
            and self.hidden is None
        )

    @property
    def sole_until_ms(self) -> int:
        """Until when nobody else can commit anything; long ago where this leader does not serve."""
        if not self.is_serving:
            return NEVER_MS
        end_ms = self.followers.lease_end_ms
        if self.frozen_ms is not None:
            end_ms = min(end_ms, self.frozen_ms)
        return min(end_ms, self.since_ms) if self.is_passing_on else end_ms

    def refusal(self, needs_room: bool, full: bool) -> Fault | None:
        """Why nothing may be appended for a client now."""
        followers = self.followers
        if followers.is_blocked or len(followers.entry.in_sync) < followers.entry.min_in_sync:
            return NOT_ENOUGH
        if needs_room and (full or followers.is_full):
            return FULL
        if self._shared.used_bytes > self._shared.bytes_max:
            return OVERLOADED
        return None
