"""Where a missing copy is made anew, while everything that exists stays.

Guarantees: a copy goes to the next node clockwise on the ring that can take it, zones with fewest of the partition's
copies first, as far as no node gets more than 5 % (rounded up) above its share, nor above where all would stand if what
is missing made them as even as it can; nobody gets a second copy of a partition. Where bounds, zones and connections
leave no room at once, bounds give way first, for a copy too many on a node is better than one too few. Leaves to
others: what is missing (`control.repair`). Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fractions import Fraction
from math import ceil

from cluster.placement import Member
from cluster.placement.fill import Fill
from cluster.placement.ring import Ring
from cluster.placement.shares import SLACK, ZoneRule, copy_shares, zone_rules

_ONE = {"": ZoneRule(1, 1)}


def find_substitutes(
    missing: Mapping[int, Collection[str]],
    members: Sequence[Member],
    available: Collection[str],
    loads: Counter[str],
    partitions: int,
    replicas: int,
    at_most: int,
) -> dict[int, str]:
    """Choose a node for one more copy of each partition, of the first `at_most`; one that nobody can hold is left out.

    Args:
        missing: the partitions that lack a copy, each with the nodes that have one.
        members: the nodes that copies are shared out to, those that hold some of them included.
        available: those of them on which a copy can be made now.
        loads: how many copies each node has, or was asked for.
        partitions: how many there are in all.
        replicas: how many copies each should have.
        at_most: how many partitions to choose for.
    """
    ring = Ring(members)
    zone_of = {member.id: member.zone for member in members}
    available_in: dict[str, set[str]] = {}
    for node in available:
        if node in zone_of:
            available_in.setdefault(zone_of[node], set()).add(node)
    candidates: dict[int, Sequence[str]] = {}
    for pid, held in missing.items():
        if len(candidates) >= at_most:
            break
        zones = Counter(zone_of[node] for node in held if node in zone_of)
        free = {zone: nodes.difference(held) for zone, nodes in available_in.items()}
        fewest = min((zones[zone] for zone, nodes in free.items() if nodes), default=None)
        if fewest is not None:
            able = set().union(*(nodes for zone, nodes in free.items() if zones[zone] == fewest))
            candidates[pid] = ring.walk(pid, able)
    copies = min(replicas, len(members))
    shares = copy_shares(members, zone_rules(members, copies), partitions, copies)
    level = _level([member for member in members if member.id in available], loads, len(candidates))
    room = {
        member.id: max(
            0, ceil((1 + SLACK) * min(shares[member.id], level * Fraction(member.weight))) - loads[member.id]
        )
        for member in members
    }
    fill = Fill(candidates, dict.fromkeys(zone_of, ""), _ONE, wanted=1)
    for pid in fill.fill(list(candidates), room):
        taken = fill.loads()
        relieved = min(fill.reachable(pid), key=lambda node: (loads[node] + taken[node] - shares[node], node))
        fill.fill([pid], {**taken, relieved: taken[relieved] + 1})
    return {pid: nodes[0] for pid, nodes in fill.places.items()}


def _level(members: Sequence[Member], loads: Counter[str], more: int) -> Fraction:
    """How many copies for its weight each of those would have that get some, if `more` were shared out evenly."""
    filled = sorted(members, key=lambda member: loads[member.id] / member.weight)
    while filled:
        weights = sum((Fraction(member.weight) for member in filled), Fraction(0))
        level = (more + sum(loads[member.id] for member in filled)) / weights
        if loads[filled[-1].id] <= level * Fraction(filled[-1].weight):
            return level
        filled.pop()
    return Fraction(0)
