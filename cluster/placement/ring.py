"""Consistent hashing with bounded load: weighted virtual nodes on a 64-bit ring.

Guarantees: a partition's copies stand on the next distinct nodes clockwise from its point on the ring, distinct zones
first, as far as no node gets more than 5 % above its share (rounded up) of copies or of leaders; when nodes come or
go, about their share moves and nothing else. Leaves to others: what is fair (`shares`), meeting it exactly (`fill`),
leaders (`balance`). Sans-IO.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Mapping, Sequence

import xxhash

from cluster.placement import Assignment, Member
from cluster.placement.balance import pick_leaders
from cluster.placement.fill import Fill
from cluster.placement.shares import Group, copy_shares, quotas, zone_rules
from cluster.placement.walk import Walk

POINTS_MAX = 128


class Ring:
    """Points of virtual nodes; the heaviest member has `POINTS_MAX` of them, the others in proportion, at least one.

    A virtual node's point depends on its node's id and number only, so that a member that joins takes nothing from
    the order of the others.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        heaviest = max(member.weight for member in members)
        points = sorted(
            (xxhash.xxh3_64_intdigest(f"node/{member.id}/{number}".encode()), member.id)
            for member in members
            for number in range(max(1, round(POINTS_MAX * member.weight / heaviest)))
        )
        self._hashes = [point for point, _ in points]
        self._nodes = [node for _, node in points]
        self._members = frozenset(member.id for member in members)

    def walk(self, pid: int, among: Collection[str] | None = None) -> Walk:
        """All nodes, or those `among` which alone count, in the order in which they come clockwise from the partition's
        point."""
        start = bisect.bisect_left(self._hashes, ring_point(pid))
        return Walk(self._nodes, start, self._members if among is None else among)


def ring_point(pid: int) -> int:
    """Where a partition stands on the ring."""
    return xxhash.xxh3_64_intdigest(f"partition/{pid}".encode())


class RingPlacement:
    """The placement of the strategies `consistent`, `range` and `directory`."""

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Assign every partition; see `Placement.place`."""
        members = sorted(members, key=lambda member: member.id)
        copies = min(replicas, len(members))
        ring = Ring(members)
        walks = {pid: ring.walk(pid) for pid in sorted(pids, key=ring_point)}
        placed = _place_copies(walks, members, copies, current)
        preferred = {pid: _in_order(placed[pid], current.get(pid, ()), walks[pid]) for pid in walks}
        leading = {pid: nodes[0] for pid, nodes in current.items() if nodes}
        leaders = pick_leaders(preferred, members, leading)
        return {pid: (leaders[pid], *(node for node in preferred[pid] if node != leaders[pid])) for pid in pids}


def _place_copies(
    walks: Mapping[int, Sequence[str]], members: Sequence[Member], copies: int, current: Assignment
) -> Mapping[int, Sequence[str]]:
    rules = zone_rules(members, copies)
    fill = Fill(walks, {member.id: member.zone for member in members}, rules, copies)
    for pid in walks:
        for node in current.get(pid, ()):
            fill.keep(pid, node)
    zones = [
        Group(
            tuple(member.id for member in members if member.zone == zone),
            len(walks) * rule.least,
            len(walks) * rule.most,
        )
        for zone, rule in rules.items()
    ]
    allowed = quotas(
        copy_shares(members, rules, len(walks), copies),
        fill.loads(),
        dict.fromkeys(fill.held, len(walks)),
        zones,
        len(walks) * copies,
    )
    fill.shed(allowed)
    helpless = fill.fill(list(walks), allowed)
    assert not helpless, f"quotas {allowed} cannot be met for partitions {helpless}"
    return fill.places


def _in_order(nodes: Sequence[str], current: Sequence[str], walk: Sequence[str]) -> list[str]:
    """`nodes` in the order they had, then in the order of the walk."""
    return sorted(nodes, key=lambda node: (current.index(node) if node in current else len(current), walk.index(node)))
