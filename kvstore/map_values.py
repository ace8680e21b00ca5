"""What the cluster map is made of: nodes, keyspaces, partitions and what moves.

Guarantees: immutable values whose types are checked when they are decoded. Leaves to others: how they change
(`cluster.cluster_map`), who is told of them (`messages`). Sans-IO.

Words: `pid` is a partition's uid, never reused in a cluster; `ver` is the version of its map entry; a *copy* is named
by a `Rid`, a node and the uuid that was drawn when the copy was made. PROTOCOL "Identity".
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from kvstore.keys import KEY_BYTES_MAX, tenant_of

# A bound may be the key after the longest one.
Bound = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX + 1)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class Value(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of immutable values that stand inside messages."""


class Rid(Value, frozen=True):
    """Identity of one copy of a partition; `store` is 16 random bytes, made when the copy is made."""

    node: str
    store: bytes


class TransferState(StrEnum):
    """`COPYING`: the source serves the keys, the target is filled. `HANDED`, in the source's entry only: the target has
    all of them, and nobody serves them until the map switches. `SWITCHED`: the target serves them, the source deletes
    them. `ABORTING`, in the target's entry only: it deletes what it was filled with."""

    COPYING = "copying"
    HANDED = "handed"
    SWITCHED = "switched"
    ABORTING = "aborting"


class Transfer(Value, frozen=True):
    """Keys of the partition `source` that are to belong to `target`: those from `start` to `end` (empty: no end), or
    where `tenant` is given all of that tenant; none that the target has already is among them. `id` is used once.
    PROTOCOL "Transfer"."""

    id: int
    source: int
    target: int
    state: TransferState
    start: Bound = b""
    end: Bound = b""
    tenant: bytes | None = None

    def takes(self, key: bytes) -> bool:
        """Whether the key is one of them."""
        if self.tenant is not None:
            return tenant_of(key) == self.tenant
        return key >= self.start and (not self.end or key < self.end)


class Entry(Value, frozen=True):
    """One partition in the cluster map. `ver` rises by one at every change and guards compare-and-sets.

    `leader_boot` is the boot counter of the process that leads: no two processes ever ask for the same entry. `moving`
    is the copy that a move brings: a leader takes it into the in-sync set only in the epoch `verified_epoch`, in which
    it was compared and found equal (0: not yet). `layout` is the keyspace's when last a key came to this partition or
    left it: who routes by an older one may not ask here. `transfer` stands here until what it leaves behind is deleted.
    An entry without replicas is what stays of a partition that is no more.
    """

    pid: int
    keyspace: str
    ver: int
    epoch: int
    leader: Rid | None
    in_sync: tuple[Rid, ...]
    replicas: tuple[Rid, ...]
    adding: tuple[Rid, ...] = ()
    removing: tuple[Rid, ...] = ()
    min_in_sync: int = 1
    unclean_count: int = 0
    leader_boot: int = 0
    moving: Rid | None = None
    verified_epoch: int = 0
    layout: int = 0
    transfer: Transfer | None = None

    @property
    def hidden(self) -> Transfer | None:
        """The transfer whose keys this partition has rows of that it does not serve."""
        transfer = self.transfer
        if transfer is None:
            return None
        is_source = transfer.source == self.pid
        is_served = transfer.state is (TransferState.COPYING if is_source else TransferState.SWITCHED)
        return None if is_served else transfer

    def holds(self, node: str) -> Rid | None:
        """The copy that `node` has of this partition, if any."""
        for rid in (*self.replicas, *self.adding):
            if rid.node == node:
                return rid
        return None

    def admits(self, rid: Rid) -> bool:
        """Whether that copy may enter the in-sync set in this epoch."""
        is_verified = rid != self.moving or rid not in self.adding or self.verified_epoch == self.epoch
        return rid not in self.removing and is_verified


class Standing(StrEnum):
    """What a node is to the cluster: a `MEMBER` holds copies and leads; one that is `DRAINING` leads nothing for now;
    one that is `LEAVING` gives up its copies too, and one that is `DEAD` is not waited for; `REMOVED` is what stays in
    the map of a former member."""

    MEMBER = "member"
    DRAINING = "draining"
    LEAVING = "leaving"
    DEAD = "dead"
    REMOVED = "removed"


class NodeInfo(Value, frozen=True):
    """A member of the cluster. `boot` is the highest boot counter it was ever admitted with, and `process` the random
    name of the process that had it: an older image of the disk counts up to the same number in another process.
    `own_zone` and `own_weight` are what the node itself asked for last, before an operator changed it."""

    id: str
    address: str
    zone: str
    weight: float
    boot: int
    process: bytes = b""
    standing: Standing = Standing.MEMBER
    own_zone: str = ""
    own_weight: float = 0.0

    @property
    def may_host(self) -> bool:
        """Whether copies of partitions belong on it."""
        return self.standing in (Standing.MEMBER, Standing.DRAINING)


class KeyspaceInfo(Value, frozen=True):
    """A keyspace and its partitions in the order of its partitioner: equal arcs of the hash space, or ranges of keys.

    `replicas` is 0 where each node is to have a copy. `layout` rises whenever keys change their partition. Of strategy
    `range`, `bounds` has the first key of each partition but the first, and merges leave `least_partitions`; of `geo`,
    `zones` has how many of `pids` belong to each zone, in order, and `regions` the zone of each region, `default_zone`
    that of all others. A value has at most `max_value_bytes` (0: what the gateway allows) and ends after
    `default_ttl_ms` (0: never) where nothing else is said. What is deleted stays here without partitions, until another
    takes its name.
    """

    name: str
    strategy: str
    pids: tuple[int, ...]
    replicas: int
    min_in_sync: int
    layout: int = 0
    default_ttl_ms: Count = 0
    max_value_bytes: Count = 0
    bounds: tuple[bytes, ...] = ()
    zones: tuple[tuple[str, int], ...] = ()
    regions: tuple[tuple[bytes, str], ...] = ()
    default_zone: str = ""
    least_partitions: int = 1

    @property
    def is_deleted(self) -> bool:
        """Whether it is no more."""
        return not self.pids


class Tenant(Value, frozen=True):
    """Where the keys of one tenant of a `directory` keyspace are. It counts as long as `pid` is of that keyspace."""

    keyspace: str
    name: bytes
    pid: int


class MoveState(StrEnum):
    """`MOVING` and `ABORTING` go on, `DONE` and `ABORTED` are over."""

    MOVING = "moving"
    ABORTING = "aborting"
    DONE = "done"
    ABORTED = "aborted"


class Move(Value, frozen=True):
    """A copy of the partition `pid` is to go from the node `source` to the node `target`; `id` is used once. The last
    move of a partition stays in the map when it is over; `reason` says why one was aborted."""

    id: int
    pid: int
    source: str
    target: str
    state: MoveState = MoveState.MOVING
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it is not over yet."""
        return self.state in (MoveState.MOVING, MoveState.ABORTING)


class Rebalance(Value, frozen=True):
    """How moves are to go; `ver` rises by one at every change and guards it, `next_move` is the first id never used.

    `max_bytes_per_second` bounds what each node sends of copies to those that are filled, 0 for no bound.
    """

    ver: int = 0
    next_move: int = 1
    is_paused: bool = False
    max_bytes_per_second: Count = 0
