"""Placement by counting: copy k of partition i stands on node (i + k) modulo the number of nodes.

Guarantees: partition i is the i-th of its keyspace, nodes are counted by id; nothing else matters, so a node more or
less moves nearly everything. It is here to compare. Leaves to others: evenness by weight, zones. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.placement import Assignment, Member


class ModuloPlacement:
    """The placement of the strategy `hash`."""

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Assign every partition, whatever is `current`; see `Placement.place`."""
        nodes = sorted(member.id for member in members)
        copies = range(min(replicas, len(nodes)))
        return {pid: tuple(nodes[(place + copy) % len(nodes)] for copy in copies) for place, pid in enumerate(pids)}
