"""Routing: from a key to the partition that holds it, and to the node that leads it.

Guarantees: decides from one immutable map at a time; a newer entry that a node told replaces an older one, never the
other way round; the operations of a batch on one key keep their order. Leaves to others: sending anything
(`dispatch`), what a key is (`kvstore.keys`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.cluster_map import ClusterMap
from cluster.partitioning.hash import HashPartitioner
from kvstore.errors import NoLeader, NotFound
from kvstore.keys import key_hash
from kvstore.map_values import Entry, KeyspaceInfo
from kvstore.messages import MapUpdate


class Router:
    """The worker's view of the cluster; starts from an empty map and takes news of it."""

    def __init__(self, cluster_id: bytes) -> None:
        self.map = ClusterMap.empty(cluster_id)
        self._partitioners: dict[str, HashPartitioner] = {}
        self._keyspaces: dict[str, KeyspaceInfo] = {}
        self._by_leader: dict[str, tuple[ClusterMap, dict[str, list[tuple[int, int]]]]] = {}

    def take(self, update: MapUpdate) -> None:
        """News from control."""
        self.map = self.map.updated(update)
        for name, keyspace in self.map.keyspaces.items():
            if self._keyspaces.get(name) != keyspace:
                self._keyspaces[name] = keyspace
                self._partitioners[name] = HashPartitioner(keyspace.pids)

    def take_entry(self, entry: Entry) -> None:
        """News from a node that was asked and does not lead."""
        self.map = self.map.with_entries((entry,))

    def route(self, keyspace: str, key: bytes) -> Entry:
        """The map entry of the partition that `key` belongs to.

        Raises:
            NotFound: there is no such keyspace.
            NoLeader: its partitions are not placed yet.
        """
        partitioner = self._partitioners.get(keyspace)
        if partitioner is None:
            raise self._missing(keyspace)
        entry = self.map.entries.get(partitioner.locate(key))
        if entry is None:
            raise self._not_placed(keyspace)
        return entry

    def entries(self, keyspace: str) -> list[Entry]:
        """The map entries of all partitions of a keyspace; raises as `route`."""
        info = self._keyspaces.get(keyspace)
        if info is None:
            raise self._missing(keyspace)
        entries = [self.map.entries[pid] for pid in info.pids if pid in self.map.entries]
        if len(entries) < len(info.pids):
            raise self._not_placed(keyspace)
        return entries

    def by_leader(self, keyspace: str) -> dict[str, list[tuple[int, int]]]:
        """All partitions of a keyspace, each as (pid, version of its entry), by the node that leads them; those without
        leader under no name. Raises as `route`. Not to be changed."""
        cached_map, by_leader = self._by_leader.get(keyspace, (None, {}))
        if cached_map is not self.map:
            by_leader = {}
            for entry in self.entries(keyspace):
                leader = "" if entry.leader is None else entry.leader.node
                by_leader.setdefault(leader, []).append((entry.pid, entry.ver))
            self._by_leader[keyspace] = self.map, by_leader
        return by_leader

    def explain(self, keyspace: str, key: bytes) -> tuple[Entry, str, list[str]]:
        """The entry, the key's hash as 16 hex digits, and one sentence per step of the choice; raises as `route`."""
        entry = self.route(keyspace, key)
        why = [f"keyspace: {keyspace}", *self._partitioners[keyspace].explain(key)]
        leader = entry.leader
        if leader is None:
            why.append(f"leader: none in epoch {entry.epoch}")
        else:
            address = self.map.nodes[leader.node].address if leader.node in self.map.nodes else "unknown"
            why.append(f"leader: {leader.node} at {address}, epoch {entry.epoch}, map entry version {entry.ver}")
        followers = [rid.node for rid in entry.replicas if rid != leader]
        why.append(f"followers: {', '.join(followers) or 'none'}")
        return entry, f"{key_hash(key):016x}", why

    def _not_placed(self, keyspace: str) -> NoLeader:
        return NoLeader(f"the partitions of keyspace {keyspace!r} are not placed yet: too few nodes have joined")

    def _missing(self, keyspace: str) -> NotFound | NoLeader:
        if keyspace == "default":
            return NoLeader("no node has joined yet")
        return NotFound(f"there is no keyspace {keyspace!r}")


def waves(keys: Iterable[tuple[bytes, bool]]) -> list[list[int]]:
    """Cut a batch into waves that are sent one after the other.

    Args:
        keys: of each operation its key, and whether it writes.

    Returns:
        Lists of positions. Within a wave no key is met twice, but for reads alone; an operation is in a later wave
        than every earlier one that it must come after.
    """
    cut: list[list[int]] = []
    last: dict[bytes, tuple[int, bool]] = {}
    for position, (key, writes) in enumerate(keys):
        wave = 0
        if key in last:
            wave, after_write = last[key]
            wave += writes or after_write
        last[key] = (wave, writes)
        if wave == len(cut):
            cut.append([])
        cut[wave].append(position)
    return cut
