"""The cluster map: which nodes there are, which keyspaces, and who holds and leads each partition.

Guarantees: a map is an immutable value; every change is guarded by what its proposer saw, so that of two proposals
from the same state one lands; `map_ver` rises by one with each change that lands, an entry's `ver` with each change of
that entry. Leaves to others: durability (`control.map_store`), who may propose what (`control.controller`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kvstore.messages import Entry, KeyspaceInfo, MapUpdate, NodeInfo


@dataclass(frozen=True, slots=True)
class PutNode:
    """Write a node's record iff the stored one equals `guard` (None: there is none)."""

    node: NodeInfo
    guard: NodeInfo | None


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
    """Replace a partition's entry iff the stored `ver` is `entry.ver - 1`."""

    entry: Entry


Change = PutNode | PutKeyspace | PlaceKeyspace | PutEntry


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """One version of the map. `cluster_id` is 8 random bytes, drawn when the cluster is made."""

    cluster_id: bytes
    map_ver: int
    nodes: Mapping[str, NodeInfo]
    keyspaces: Mapping[str, KeyspaceInfo]
    entries: Mapping[int, Entry]

    @classmethod
    def empty(cls, cluster_id: bytes) -> ClusterMap:
        return cls(cluster_id, 0, {}, {}, {})

    def updated(self, update: MapUpdate) -> ClusterMap:
        """The map after news of it: an entry counts only with a higher `ver`, nodes and keyspaces only in an update
        that is not older than this map; `map_ver` never goes down."""
        current = update.map_ver >= self.map_ver
        nodes = {**self.nodes, **{node.id: node for node in update.nodes}} if current else self.nodes
        keyspaces = {**self.keyspaces, **{one.name: one for one in update.keyspaces}} if current else self.keyspaces
        newer = {entry.pid: entry for entry in update.entries if self._is_newer(entry)}
        entries = {**self.entries, **newer} if newer else self.entries
        return ClusterMap(self.cluster_id, max(self.map_ver, update.map_ver), nodes, keyspaces, entries)

    def with_entries(self, entries: Iterable[Entry]) -> ClusterMap:
        """The map with each of these entries that is newer; `map_ver` stays (how a wrong leader's hint is taken)."""
        newer = {entry.pid: entry for entry in entries if self._is_newer(entry)}
        if not newer:
            return self
        return ClusterMap(self.cluster_id, self.map_ver, self.nodes, self.keyspaces, {**self.entries, **newer})

    def full_update(self) -> MapUpdate:
        """The whole map as news for someone who knows nothing."""
        return MapUpdate(
            self.map_ver, list(self.nodes.values()), list(self.entries.values()), list(self.keyspaces.values())
        )

    def changed(self, changes: Sequence[Change]) -> tuple[ClusterMap, tuple[bool, ...]]:
        """Apply changes in order, each iff its guard holds; returns the map and which of them landed."""
        nodes, keyspaces, entries = dict(self.nodes), dict(self.keyspaces), dict(self.entries)
        landed: list[bool] = []
        for change in changes:
            match change:
                case PutNode(node, guard):
                    holds = nodes.get(node.id) == guard
                    if holds:
                        nodes[node.id] = node
                case PutKeyspace(keyspace, guard):
                    holds = keyspaces.get(keyspace.name) == guard
                    if holds:
                        keyspaces[keyspace.name] = keyspace
                case PlaceKeyspace(placed):
                    holds = not any(entry.pid in entries for entry in placed)
                    if holds:
                        entries.update((entry.pid, entry) for entry in placed)
                case PutEntry(entry):
                    stored = entries.get(entry.pid)
                    holds = stored is not None and stored.ver == entry.ver - 1
                    if holds:
                        entries[entry.pid] = entry
            landed.append(holds)
        if not any(landed):
            return self, tuple(landed)
        return ClusterMap(self.cluster_id, self.map_ver + sum(landed), nodes, keyspaces, entries), tuple(landed)

    def touched(self, changes: Iterable[Change]) -> MapUpdate:
        """What stands in this map for everything that `changes` speak of."""
        nodes: dict[str, NodeInfo] = {}
        keyspaces: dict[str, KeyspaceInfo] = {}
        entries: dict[int, Entry] = {}
        for change in changes:
            match change:
                case PutNode(node):
                    nodes.update({node.id: self.nodes[node.id]} if node.id in self.nodes else {})
                case PutKeyspace(keyspace):
                    name = keyspace.name
                    keyspaces.update({name: self.keyspaces[name]} if name in self.keyspaces else {})
                case PlaceKeyspace(placed):
                    entries.update((one.pid, self.entries[one.pid]) for one in placed if one.pid in self.entries)
                case PutEntry(entry):
                    entries.update({entry.pid: self.entries[entry.pid]} if entry.pid in self.entries else {})
        return MapUpdate(self.map_ver, list(nodes.values()), list(entries.values()), list(keyspaces.values()))

    def _is_newer(self, entry: Entry) -> bool:
        known = self.entries.get(entry.pid)
        return known is None or entry.ver > known.ver
