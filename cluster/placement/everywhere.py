"""Placement of reference keyspaces: each node has a copy of everything.

Guarantees: leaders are shared out as `balance` does, and stay where they may; copies follow from the nodes alone.
Leaves to others: making and dropping copies as nodes come and go (`control.repair`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.placement import Assignment, Member
from cluster.placement.balance import pick_leaders
from cluster.placement.ring import Ring


class EverywherePlacement:
    """The placement of keyspaces with as many copies as nodes."""

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Assign every partition to all members; see `Placement.place`."""
        members = sorted(members, key=lambda member: member.id)
        nodes = {member.id for member in members}
        ring = Ring(members)
        ordered = {pid: _in_order(current.get(pid, ()), list(ring.walk(pid)), nodes) for pid in pids}
        leading = {pid: held[0] for pid, held in current.items() if held and held[0] in nodes}
        leaders = pick_leaders(ordered, members, leading)
        return {pid: (leaders[pid], *(node for node in ordered[pid] if node != leaders[pid])) for pid in pids}


def _in_order(current: Sequence[str], walk: Sequence[str], nodes: set[str]) -> list[str]:
    held = [node for node in current if node in nodes]
    return [*held, *(node for node in walk if node not in held)]
