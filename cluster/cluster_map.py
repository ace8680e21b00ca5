"""The cluster map: which nodes there are, which keyspaces, who holds and leads each partition, and what moves.

Guarantees: a map is an immutable value; every change is guarded by what its proposer saw, so that of two proposals
from the same state one lands; `map_ver` rises by one with each change that lands, an entry's `ver` with each change of
that entry. Leaves to others: durability (`control.map_store`), who may propose what (`control.controller`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from cluster.directories import Directories
from kvstore.map_values import Entry, KeyspaceInfo, Move, NodeInfo, Rebalance, Tenant
from kvstore.messages import MapUpdate

# Strategies in which keys change their partition.
RESHAPED = ("range", "directory")


@dataclass(frozen=True, slots=True)
class PutNode:
    """Write a node's record iff the stored one equals `guard` (None: there is none), and each of `beside` stands as it
    is given."""

    node: NodeInfo
    guard: NodeInfo | None
    beside: tuple[NodeInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class PutKeyspace:
    """Write a keyspace's record iff the stored one equals `guard` (None: there is none)."""

    keyspace: KeyspaceInfo
    guard: KeyspaceInfo | None


@dataclass(frozen=True, slots=True)
class PlaceKeyspace:
    """Write the first entries of a keyspace's partitions, all or none, iff no partition of them has an entry."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class PutEntry:
    """Replace a partition's entry iff the stored `ver` is `entry.ver - 1` and, where `move` is given, that move stands
    as it is given."""

    entry: Entry
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class PutMove:
    """Replace a move iff the stored one equals `guard` and its partition's entry has the version `ver`."""

    move: Move
    guard: Move
    ver: int


@dataclass(frozen=True, slots=True)
class PutRebalance:
    """Replace how moves are to go iff the stored `ver` is `rebalance.ver - 1`."""

    rebalance: Rebalance


@dataclass(frozen=True, slots=True)
class StartMoves:
    """Write how moves are to go, what becomes of those that are dropped, and new ones, all or nothing, iff the guard of
    `rebalance` holds, each of `dropped` holds, and afterwards no partition that is to move has a move that goes on."""

    rebalance: Rebalance
    moves: tuple[Move, ...]
    dropped: tuple[PutMove, ...] = ()


@dataclass(frozen=True, slots=True)
class Reshape:
    """Change which keys partitions have, all or nothing: entries, each iff the stored `ver` is `entry.ver - 1` (none
    for 1); the keyspace's record, where given, iff the stored one equals `guard`; and where a tenant's keys are."""

    entries: tuple[Entry, ...]
    keyspace: KeyspaceInfo | None = None
    guard: KeyspaceInfo | None = None
    tenant: Tenant | None = None


@dataclass(frozen=True, slots=True)
class PutTenant:
    """Write where a tenant's keys are iff the stored one equals `guard` (None: there is none)."""

    tenant: Tenant
    guard: Tenant | None


Change = PutNode | PutKeyspace | PlaceKeyspace | PutEntry | PutMove | PutRebalance | StartMoves | Reshape | PutTenant


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """One version of the map. `cluster_id` is 8 random bytes, drawn when the cluster is made; `moves` has the last move
    of each partition that ever moved."""

    cluster_id: bytes
    map_ver: int
    nodes: Mapping[str, NodeInfo]
    keyspaces: Mapping[str, KeyspaceInfo]
    entries: Mapping[int, Entry]
    moves: Mapping[int, Move] = field(default_factory=dict)
    rebalance: Rebalance = field(default_factory=Rebalance)
    tenants: Directories = field(default_factory=Directories)

    @classmethod
    def empty(cls, cluster_id: bytes) -> ClusterMap:
        return cls(cluster_id, 0, {}, {}, {})

    def updated(self, update: MapUpdate) -> ClusterMap:
        """The map after news of it: an entry counts only with a higher `ver`, anything else only in an update that is
        not older than this map; `map_ver` never goes down."""
        entries = {**self.entries, **{entry.pid: entry for entry in update.entries if self._is_newer(entry)}}
        if update.map_ver < self.map_ver:
            return replace(self, entries=entries)
        return ClusterMap(
            self.cluster_id,
            update.map_ver,
            {**self.nodes, **{node.id: node for node in update.nodes}},
            {**self.keyspaces, **{one.name: one for one in update.keyspaces}},
            entries,
            {**self.moves, **{move.pid: move for move in update.moves}},
            self.rebalance if update.rebalance is None else update.rebalance,
            self.tenants.with_tenants(update.tenants),
        )

    def with_entries(self, entries: Iterable[Entry]) -> ClusterMap:
        """The map with each of these entries that is newer; `map_ver` stays (how a wrong leader's hint is taken)."""
        newer = {entry.pid: entry for entry in entries if self._is_newer(entry)}
        return replace(self, entries={**self.entries, **newer}) if newer else self

    @property
    def living(self) -> dict[int, Entry]:
        """The entries of partitions that are: without those that stay of deleted ones."""
        return {pid: entry for pid, entry in self.entries.items() if entry.replicas}

    @property
    def whole_keyspaces(self) -> list[KeyspaceInfo]:
        """All keyspaces by name, each with its partitions that have no keys yet, or none any more, after the others."""
        more: dict[str, list[int]] = {one.name: [] for one in self.keyspaces.values() if one.strategy in RESHAPED}
        listed = {pid for name in more for pid in self.keyspaces[name].pids}
        for entry in self.entries.values() if more else ():
            if entry.keyspace in more and entry.replicas and entry.pid not in listed:
                more[entry.keyspace].append(entry.pid)
        return [
            msgspec.structs.replace(one, pids=(*one.pids, *sorted(more[name]))) if more.get(name) else one
            for name, one in sorted(self.keyspaces.items())
        ]

    @property
    def active_moves(self) -> list[Move]:
        """The moves that are not over, in the order in which they were planned."""
        return sorted((move for move in self.moves.values() if move.is_active), key=lambda move: move.id)

    def full_update(self) -> MapUpdate:
        """The whole map as news for someone who knows nothing."""
        return MapUpdate(
            self.map_ver,
            list(self.nodes.values()),
            list(self.entries.values()),
            list(self.keyspaces.values()),
            list(self.moves.values()),
            self.rebalance,
            self.tenants.since(Directories()),
        )

    def since(self, before: ClusterMap) -> MapUpdate:
        """What stands here otherwise than in `before`, an earlier version of this map."""
        return MapUpdate(
            self.map_ver,
            [node for node in self.nodes.values() if before.nodes.get(node.id) != node],
            [entry for entry in self.entries.values() if before.entries.get(entry.pid) != entry],
            [one for one in self.keyspaces.values() if before.keyspaces.get(one.name) != one],
            [move for move in self.moves.values() if before.moves.get(move.pid) != move],
            self.rebalance if before.rebalance != self.rebalance else None,
            self.tenants.since(before.tenants),
        )

    def changed(self, changes: Sequence[Change]) -> tuple[ClusterMap, tuple[bool, ...]]:
        """Apply changes in order, each iff its guard holds; returns the map and which of them landed."""
        draft = _Draft(self)
        landed = tuple(draft.apply(change) for change in changes)
        return (draft.finished(self.map_ver + sum(landed)) if any(landed) else self), landed

    def shows(self, change: Change) -> bool:
        """Whether everything that the change writes stands here as it writes it."""
        draft = _Draft(self)
        draft.write(change)
        return draft.finished(self.map_ver) == self

    def touched(self, changes: Iterable[Change]) -> MapUpdate:
        """What stands in this map for everything that `changes` speak of."""
        nodes: set[str] = set()
        keyspaces: set[str] = set()
        pids: set[int] = set()
        moved: set[int] = set()
        tenants: list[Tenant] = []
        rebalance: Rebalance | None = None
        for change in changes:
            match change:
                case PutNode(node, _, beside):
                    nodes.update(one.id for one in (node, *beside))
                case PutKeyspace(keyspace):
                    keyspaces.add(keyspace.name)
                case PlaceKeyspace(placed):
                    pids.update(entry.pid for entry in placed)
                case PutEntry(entry):
                    pids.add(entry.pid)
                case PutMove(move):
                    moved.add(move.pid)
                    pids.add(move.pid)
                case StartMoves(_, moves, dropped):
                    rebalance = self.rebalance
                    over = {one.move.pid for one in dropped}
                    moved.update(over, (move.pid for move in moves))
                    pids.update(over)
                case PutRebalance():
                    rebalance = self.rebalance
                case Reshape(entries, keyspace, _, tenant):
                    pids.update(entry.pid for entry in entries)
                    keyspaces.update(() if keyspace is None else (keyspace.name,))
                    tenants += () if tenant is None else (tenant,)
                case PutTenant(tenant):
                    tenants.append(tenant)
        return MapUpdate(
            self.map_ver,
            [self.nodes[name] for name in sorted(nodes) if name in self.nodes],
            [self.entries[pid] for pid in sorted(pids) if pid in self.entries],
            [self.keyspaces[name] for name in sorted(keyspaces) if name in self.keyspaces],
            [self.moves[pid] for pid in sorted(moved) if pid in self.moves],
            rebalance,
            [standing for one in tenants if (standing := self.tenant(one)) is not None],
        )

    def tenant(self, like: Tenant) -> Tenant | None:
        """What stands here of that tenant."""
        return self.tenants.get((like.keyspace, like.name))

    def _is_newer(self, entry: Entry) -> bool:
        known = self.entries.get(entry.pid)
        return known is None or entry.ver > known.ver


class _Draft:
    """The next version of a map, while changes meet their guards."""

    def __init__(self, cluster: ClusterMap) -> None:
        self._cluster_id = cluster.cluster_id
        self._nodes = dict(cluster.nodes)
        self._keyspaces = dict(cluster.keyspaces)
        self._entries = dict(cluster.entries)
        self._moves = dict(cluster.moves)
        self._rebalance = cluster.rebalance
        self._tenants = cluster.tenants
        self._new_tenants: dict[tuple[str, bytes], Tenant] = {}

    def finished(self, map_ver: int) -> ClusterMap:
        tenants = self._tenants.with_tenants(self._new_tenants.values())
        parts = self._nodes, self._keyspaces, self._entries, self._moves, self._rebalance, tenants
        return ClusterMap(self._cluster_id, map_ver, *parts)

    def apply(self, change: Change) -> bool:
        """Whether the change landed."""
        holds = self._holds(change)
        if holds:
            self.write(change)
        return holds

    def _holds(self, change: Change) -> bool:
        match change:
            case PutNode(node, guard, beside):
                return self._nodes.get(node.id) == guard and all(self._nodes.get(one.id) == one for one in beside)
            case PutKeyspace(keyspace, known):
                return self._keyspaces.get(keyspace.name) == known
            case PlaceKeyspace(placed):
                return not any(entry.pid in self._entries for entry in placed)
            case PutEntry(entry, move):
                return self._ver(entry.pid) == entry.ver - 1 and (move is None or self._moves.get(move.pid) == move)
            case PutMove(_, standing, ver):
                return self._moves.get(standing.pid) == standing and self._ver(standing.pid) == ver
            case PutRebalance(rebalance):
                return self._rebalance.ver == rebalance.ver - 1
            case StartMoves(rebalance, moves, dropped):
                over = {one.move.pid for one in dropped if not one.move.is_active}
                active = {move.pid for move in self._moves.values() if move.is_active} - over
                is_free = not active.intersection(move.pid for move in moves)
                return self._rebalance.ver == rebalance.ver - 1 and is_free and all(map(self._holds, dropped))
            case Reshape(entries, keyspace, known):
                is_known = keyspace is None or self._keyspaces.get(keyspace.name) == known
                return is_known and all((self._ver(entry.pid) or 0) == entry.ver - 1 for entry in entries)
            case PutTenant(tenant, known_tenant):
                name = tenant.keyspace, tenant.name
                return self._new_tenants.get(name, self._tenants.get(name)) == known_tenant

    def write(self, change: Change) -> None:
        """Carry out the change, whether or not its guard holds."""
        match change:
            case PutNode(node):
                self._nodes[node.id] = node
            case PutKeyspace(keyspace):
                self._keyspaces[keyspace.name] = keyspace
            case PlaceKeyspace(placed):
                self._entries.update((entry.pid, entry) for entry in placed)
            case PutEntry(entry):
                self._entries[entry.pid] = entry
            case PutMove(move):
                self._moves[move.pid] = move
            case PutRebalance(rebalance):
                self._rebalance = rebalance
            case StartMoves(rebalance, moves, dropped):
                self._rebalance = rebalance
                for one in dropped:
                    self.write(one)
                self._moves.update((move.pid, move) for move in moves)
            case Reshape(entries, changed, _, tenant):
                self._entries.update((entry.pid, entry) for entry in entries)
                if changed is not None:
                    self._keyspaces[changed.name] = changed
                if tenant is not None:
                    self._new_tenants |= _by_name((tenant,))
            case PutTenant(tenant):
                self._new_tenants |= _by_name((tenant,))

    def _ver(self, pid: int) -> int | None:
        entry = self._entries.get(pid)
        return None if entry is None else entry.ver


def _by_name(tenants: Iterable[Tenant]) -> dict[tuple[str, bytes], Tenant]:
    return {(one.keyspace, one.name): one for one in tenants}
