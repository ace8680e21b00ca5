"""The first placement of a keyspace: copies are made on the nodes of a plan, then the entries are proposed.

Guarantees: no entry is proposed before every copy that it names was confirmed by its node; while a node of the plan is
away nothing is proposed, and the plan is made anew when the nodes suffice again. Leaves to others: where copies should
be (`placement`), sending (`controller`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from cluster.placement import Member, Placement
from kvstore.map_values import Entry, KeyspaceInfo, Rid


class Placing:
    """One keyspace on its way to its first entries.

    Args:
        keyspace: has partitions, none of which has an entry.
        members: the nodes to place on, all of them connected.
        placement: decides who holds what.
    """

    def __init__(self, keyspace: KeyspaceInfo, members: Sequence[Member], placement: Placement) -> None:
        self.keyspace = keyspace
        self.plan = placement.place(keyspace.pids, members, keyspace.replicas, {})
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
