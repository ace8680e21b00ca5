"""Routing: from a key to the partition that holds it, and to the node that leads it.

Guarantees: decides from one immutable map at a time; a newer entry that a node told replaces an older one, never the
other way round; nobody is sent to a partition that has gained or lost keys by a change which is not known here yet; the
operations of a batch on one key keep their order. Leaves to others: sending anything (`dispatch`), what a key is
(`kvstore.keys`). Sans-IO. PROTOCOL "Keyspaces and layout".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from cluster.cluster_map import ClusterMap
from cluster.gateway.operations import Change, Operation
from cluster.gateway.tenant_names import TenantNames
from cluster.partitioning import Partitioner, UnknownTenant
from cluster.partitioning.of_keyspace import partitioner_of
from kvstore.errors import NoLeader, NotFound
from kvstore.keys import key_hash
from kvstore.map_values import Entry, KeyspaceInfo, Tenant
from kvstore.messages import MapUpdate


class TenantNotKnown(NoLeader):
    """The map at hand names no partition for this tenant: control is to be asked (`ResolveTenant`)."""

    def __init__(self, keyspace: str, tenant: bytes) -> None:
        super().__init__(f"a tenant of keyspace {keyspace!r} has no partition yet")
        self.keyspace = keyspace
        self.tenant = tenant


class Router:
    """The worker's view of the cluster; starts from an empty map and takes news of it."""

    def __init__(self, cluster_id: bytes) -> None:
        self.map = ClusterMap.empty(cluster_id)
        self._partitioners: dict[str, Partitioner] = {}
        # Of each keyspace what every request takes: its partitioner's `locate`, and its layout.
        self._locators: dict[str, tuple[Callable[[bytes], int], int]] = {}
        self._keyspaces: dict[str, KeyspaceInfo] = {}
        # The records whose partitions all have entries, which stay: every request asks, and some have thousands.
        self._placed: dict[str, KeyspaceInfo] = {}
        self._by_leader: dict[str, tuple[ClusterMap, dict[str, list[tuple[int, int]]]]] = {}
        # Of each keyspace with a directory, what its listing walks: as many as the map has, in order.
        self._tenant_names: dict[str, TenantNames] = {}

    def take(self, update: MapUpdate) -> None:
        """News from control."""
        before, self.map = self.map, self.map.updated(update)
        self._list_new(update.tenants, before)
        resettled = {tenant.keyspace for tenant in update.tenants}
        for name, keyspace in self.map.keyspaces.items():
            if self._keyspaces.get(name) != keyspace or name in resettled:
                self._rebuild(keyspace)

    def _list_new(self, tenants: Sequence[Tenant], before: ClusterMap) -> None:
        """Have those of these tenants in the listings that are in the map and were not before."""
        listed = {(tenant.keyspace, tenant.name) for tenant in tenants if tenant.keyspace in self._tenant_names}
        for keyspace, name in listed:
            if name in self.map.tenants.of(keyspace).homes and name not in before.tenants.of(keyspace).homes:
                self._tenant_names[keyspace].add(name)

    def _rebuild(self, keyspace: KeyspaceInfo) -> None:
        self._keyspaces[keyspace.name] = keyspace
        self._by_leader.pop(keyspace.name, None)
        if keyspace.is_deleted:
            self._partitioners.pop(keyspace.name, None)
            self._locators.pop(keyspace.name, None)
            self._tenant_names.pop(keyspace.name, None)
            self._placed.pop(keyspace.name, None)
        else:
            partitioner = partitioner_of(keyspace, self.map.tenants)
            self._partitioners[keyspace.name] = partitioner
            self._locators[keyspace.name] = partitioner.locate, keyspace.layout
            if keyspace.strategy == "directory" and keyspace.name not in self._tenant_names:
                self._tenant_names[keyspace.name] = TenantNames(self.map.tenants.of(keyspace.name).homes)

    def take_entry(self, entry: Entry) -> None:
        """News from a node that was asked and does not lead."""
        self.map = self.map.with_entries((entry,))

    def route(self, keyspace: str, key: bytes) -> Entry:
        """The map entry of the partition that `key` belongs to.

        Raises:
            NotFound: there is no such keyspace.
            TenantNotKnown: its tenant has no partition.
            NoLeader: its partitions are not placed yet, or news of which keys they have are still to come.
        """
        known = self._locators.get(keyspace)
        if known is None:
            raise self._missing(keyspace)
        locate, layout = known
        try:
            entry = self.map.entries.get(locate(key))
        except UnknownTenant as error:
            raise TenantNotKnown(keyspace, error.tenant) from None
        if entry is None or entry.layout > layout:
            raise self._not_placed(keyspace, entry)
        return entry

    def locator(self, keyspace: str) -> Callable[[bytes], int] | None:
        """What tells the partition of each of a keyspace's keys, as long as the map is the same; None where there is no
        such keyspace."""
        known = self._locators.get(keyspace)
        return None if known is None else known[0]

    def tenants_from(self, keyspace: str, first: bytes) -> Iterator[tuple[bytes, int]]:
        """The tenants of a keyspace with a directory whose names are not below `first`, by name, each with its
        partition. To be read in the same turn of the loop."""
        homes = self.map.tenants.of(keyspace).homes
        pids = frozenset(self._keyspaces[keyspace].pids)
        return ((name, homes[name]) for name in self._tenant_names[keyspace].onwards(first) if homes[name] in pids)

    def is_placed(self, keyspace: str) -> bool:
        """Whether all of a keyspace's partitions have entries."""
        known = self._keyspaces.get(keyspace)
        if known is None or known.is_deleted:
            return False
        if self._placed.get(keyspace) is known:
            return True
        is_placed = self.map.entries.keys() >= set(known.pids)
        if is_placed:
            self._placed[keyspace] = known
        return is_placed

    def pids_within(self, keyspace: str, start: bytes, end: bytes) -> Sequence[int]:
        """The partitions that may have keys from `start` up to but not including `end` (empty: no end), in order, by
        what is known of the keyspace; raises NotFound and NoLeader where it is not there or not placed."""
        if not self.is_placed(keyspace):
            raise self._missing(keyspace) if keyspace not in self._partitioners else self._not_placed(keyspace, None)
        return self._partitioners[keyspace].pids_within(start, end)

    def entries_within(self, keyspace: str, start: bytes = b"", end: bytes = b"") -> list[Entry]:
        """The map entries of the partitions that may have keys from `start` up to but not including `end` (empty: no
        end), in order. Raises as `route`, but for tenants."""
        partitioner = self._partitioners.get(keyspace)
        if partitioner is None:
            raise self._missing(keyspace)
        layout = self._keyspaces[keyspace].layout
        found: list[Entry] = []
        for pid in partitioner.pids_within(start, end):
            entry = self.map.entries.get(pid)
            if entry is None or entry.layout > layout:
                raise self._not_placed(keyspace, entry)
            found.append(entry)
        return found

    def by_leader(self, keyspace: str, start: bytes = b"", end: bytes = b"") -> dict[str, list[tuple[int, int]]]:
        """The partitions of `entries_within`, each as (pid, version of its entry), by the node that leads them; those
        without leader under no name. Raises as that does. Not to be changed."""
        if start or end:
            return _grouped(self.entries_within(keyspace, start, end))
        cached_map, by_leader = self._by_leader.get(keyspace, (None, {}))
        if cached_map is not self.map:
            by_leader = _grouped(self.entries_within(keyspace))
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

    def _not_placed(self, keyspace: str, entry: Entry | None) -> NoLeader:
        if entry is not None:
            return NoLeader(f"the keys of partition {entry.pid} have changed: news of where they are is still to come")
        return NoLeader(f"the partitions of keyspace {keyspace!r} are not placed yet: too few nodes have joined")

    def _missing(self, keyspace: str) -> NotFound | NoLeader:
        if keyspace == "default":
            return NoLeader("no node has joined yet")
        return NotFound(f"there is no keyspace {keyspace!r}")


def _grouped(entries: Sequence[Entry]) -> dict[str, list[tuple[int, int]]]:
    by_leader: dict[str, list[tuple[int, int]]] = {}
    for entry in entries:
        leader = "" if entry.leader is None else entry.leader.node
        by_leader.setdefault(leader, []).append((entry.pid, entry.ver))
    return by_leader


def waves(operations: Sequence[Operation]) -> list[list[int]]:
    """Cut a batch into waves that are sent one after the other.

    Returns:
        Lists of positions. Within a wave no key is met twice, but for reads alone; an operation is in a later wave
        than every earlier one that it must come after.
    """
    if operations and len({operation.key for operation in operations}) == len(operations):
        return [list(range(len(operations)))]
    cut: list[list[int]] = []
    last: dict[bytes, tuple[int, bool]] = {}
    for position, operation in enumerate(operations):
        key, writes, wave = operation.key, isinstance(operation, Change), 0
        if key in last:
            wave, after_write = last[key]
            wave += writes or after_write
        last[key] = (wave, writes)
        if wave == len(cut):
            cut.append([])
        cut[wave].append(position)
    return cut
