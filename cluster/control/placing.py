"""The first placement of keyspaces: copies are made on the nodes of a plan, then the entries are proposed.

Guarantees: no entry is proposed before every copy that it names was confirmed by its node; while a node of the plan is
away nothing is proposed, and the plan is made anew when the nodes suffice again; keyspaces do not wait for each other.
Leaves to others: where copies should be (`placement`), sending (`controller`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cluster.cluster_map import ClusterMap, PlaceKeyspace
from cluster.control.events import AskCopies, Effect
from cluster.control.proposals import Proposals
from cluster.control.repair import Hosts
from cluster.placement import Assignment, Member
from cluster.placement.of_keyspace import districts, placement_of
from kvstore.map_values import Entry, KeyspaceInfo, Rid


class Placing:
    """One keyspace on its way to its first entries.

    Args:
        keyspace: has partitions, none of which has an entry.
        plan: who is to hold what; all of those nodes are connected.
    """

    def __init__(self, keyspace: KeyspaceInfo, plan: Assignment) -> None:
        self.keyspace = keyspace
        self.plan = plan
        self.is_proposed = False
        self._unasked = {node for nodes in self.plan.values() for node in nodes}
        self._made: dict[tuple[int, str], Rid] = {}

    @property
    def nodes(self) -> set[str]:
        """The nodes that the plan needs."""
        return {node for nodes in self.plan.values() for node in nodes}

    def take_asks(self) -> Mapping[str, tuple[int, ...]]:
        """The partitions to ask each node for that was not asked yet."""
        asks = {node: tuple(pid for pid, nodes in self.plan.items() if node in nodes) for node in sorted(self._unasked)}
        self._unasked.clear()
        return asks

    def failed(self, node: str, pids: Iterable[int]) -> None:
        """The node may not have made these copies: ask again, for making copies is idempotent there."""
        if any(node in self.plan.get(pid, ()) for pid in pids):
            self._unasked.add(node)

    def made(self, node: str, rids: Sequence[tuple[int, Rid]]) -> None:
        """The node confirmed these copies."""
        for pid, rid in rids:
            if rid.node == node and node in self.plan.get(pid, ()):
                self._made[pid, node] = rid

    def entries(self) -> tuple[Entry, ...] | None:
        """The first entries, once every copy is confirmed: never-written copies start in sync."""
        if any((pid, node) not in self._made for pid, nodes in self.plan.items() for node in nodes):
            return None
        return tuple(self._first_entry(pid, nodes) for pid, nodes in self.plan.items())

    def _first_entry(self, pid: int, nodes: Sequence[str]) -> Entry:
        rids = tuple(self._made[pid, node] for node in nodes)
        return Entry(
            pid=pid,
            keyspace=self.keyspace.name,
            ver=1,
            epoch=0,
            leader=None,
            in_sync=rids,
            replicas=rids,
            min_in_sync=self.keyspace.min_in_sync,
        )


class FirstPlacements:
    """All keyspaces on their way to their first entries.

    Args:
        proposals: takes what is proposed.
        initial_nodes: how many nodes have to be connected for the first keyspace of all.
    """

    def __init__(self, proposals: Proposals, initial_nodes: int) -> None:
        self._proposals = proposals
        self._initial_nodes = initial_nodes
        self._placings: dict[str, Placing] = {}

    def has_work(self, cluster: ClusterMap) -> bool:
        """Whether there is, or was a moment ago, a keyspace that is not placed."""
        return bool(self._placings or _unplaced(cluster))

    def advance(self, cluster: ClusterMap, hosts: Hosts) -> list[Effect]:
        """Bring every keyspace that is not placed nearer to its entries."""
        unplaced = _unplaced(cluster)
        self._placings = {
            name: placing
            for name, placing in self._placings.items()
            if placing.keyspace == unplaced.get(name) and (placing.is_proposed or placing.nodes <= hosts.keys())
        }
        effects: list[Effect] = []
        for name, keyspace in unplaced.items():
            if name in self._placings:
                effects += self._propose(self._placings[name])
                continue
            plan = _plan(keyspace, cluster, hosts, self._initial_nodes)
            if plan is not None:
                self._placings[name] = Placing(keyspace, plan)
                effects += _asks(self._placings[name], hosts)
        return effects

    def _propose(self, placing: Placing) -> list[Effect]:
        entries = None if placing.is_proposed else placing.entries()
        if entries is None:
            return []
        placing.is_proposed = True
        return [self._proposals.propose([PlaceKeyspace(entries)], lambda *_: [])]

    def ask_copies(self, hosts: Hosts) -> list[Effect]:
        """Ask every node for the copies that it was not asked for yet, or did not make."""
        return [ask for placing in self._placings.values() for ask in _asks(placing, hosts)]

    def failed(self, node: str, pids: Sequence[int]) -> None:
        """The node may not have made these copies."""
        for placing in self._placings.values():
            placing.failed(node, pids)

    def made(self, node: str, rids: Sequence[tuple[int, Rid]]) -> None:
        """The node confirmed these copies."""
        for placing in self._placings.values():
            placing.made(node, rids)


def _asks(placing: Placing, hosts: Hosts) -> list[AskCopies]:
    asks = placing.take_asks()
    return [AskCopies(node, hosts[node].connection, pids) for node, pids in asks.items() if node in hosts]


def _unplaced(cluster: ClusterMap) -> dict[str, KeyspaceInfo]:
    there = cluster.keyspaces.items()
    return {name: one for name, one in there if not one.is_deleted and one.pids[0] not in cluster.entries}


def _plan(keyspace: KeyspaceInfo, cluster: ClusterMap, hosts: Hosts, initial_nodes: int) -> Assignment | None:
    """Who is to hold what, of the nodes that are connected; None while those are too few: of a cluster that holds
    nothing yet fewer than `initial_nodes`, else fewer than would hold a copy if all nodes were there."""
    nodes = [one for _, one in sorted(cluster.nodes.items()) if one.may_host]
    members = [Member(one.id, one.zone, one.weight) for one in nodes]
    there = [member for member in members if member.id in hosts]
    if not cluster.entries:
        if len(there) < max(1, initial_nodes):
            return None
        members = there
    for district in districts(keyspace, members):
        connected = sum(member.id in hosts for member in district.members)
        if connected < max(1, min(keyspace.replicas, len(district.members))):
            return None
    return placement_of(keyspace).place(keyspace.pids, there, keyspace.replicas or len(there), {})
