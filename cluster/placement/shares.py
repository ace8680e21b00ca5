"""Fair shares: how much each node should hold, and how much it may.

Guarantees: a share is proportional to the node's weight as far as two rules allow: a partition has at most one copy on
a node, and its copies are spread over zones as evenly as the zones' sizes allow. Quotas are whole numbers that add up,
lie between 95 % (rounded down) and 105 % (rounded up) of the shares, and are met by some assignment. Leaves to others:
finding that assignment (`fill`). Sans-IO.

Zones come before weights: where a zone is too small for its part of the copies, its nodes' shares grow, because a copy
in another zone is what survives the loss of a zone.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from cluster.placement import Member

SLACK = Fraction(5, 100)


@dataclass(frozen=True, slots=True)
class ZoneRule:
    """How many copies of one partition stand in a zone."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes whose quotas must add up to something between `least` and `most`."""

    ids: tuple[str, ...]
    least: int
    most: int


def zone_rules(members: Sequence[Member], copies: int) -> dict[str, ZoneRule]:
    """Spread `copies` (at most as many as members) of a partition over the zones as evenly as their sizes allow."""
    sizes: dict[str, int] = {}
    for member in members:
        sizes[member.zone] = sizes.get(member.zone, 0) + 1
    level = 1
    while sum(min(size, level) for size in sizes.values()) < copies:
        level += 1
    return {zone: ZoneRule(min(size, level - 1), min(size, level)) for zone, size in sizes.items()}


def copy_shares(
    members: Sequence[Member], rules: Mapping[str, ZoneRule], partitions: int, copies: int
) -> dict[str, Fraction]:
    """How many of `partitions` x `copies` copies each node should hold."""
    zones: dict[str, dict[str, Fraction]] = {zone: {} for zone in rules}
    for member in members:
        zones[member.zone][member.id] = Fraction(member.weight)
    of_zone = water_fill(
        {zone: sum(inside.values(), Fraction(0)) for zone, inside in zones.items()},
        {zone: (partitions * rule.least, partitions * rule.most) for zone, rule in rules.items()},
        Fraction(partitions * copies),
    )
    shares: dict[str, Fraction] = {}
    for zone, inside in zones.items():
        shares |= water_fill(inside, dict.fromkeys(inside, (0, partitions)), of_zone[zone])
    return shares


def water_fill(
    weights: Mapping[str, Fraction], bounds: Mapping[str, tuple[int, int]], total: Fraction
) -> dict[str, Fraction]:
    """Divide `total` in proportion to `weights`, each part within its bounds (which must allow `total`)."""
    fixed: dict[str, Fraction] = {}
    while True:
        free = {name: weight for name, weight in weights.items() if name not in fixed}
        rest = total - sum(fixed.values())
        level = rest / sum(free.values()) if free else Fraction(0)
        parts = {name: level * weight for name, weight in free.items()}
        above = {name: part - bounds[name][1] for name, part in parts.items() if part > bounds[name][1]}
        below = {name: bounds[name][0] - part for name, part in parts.items() if part < bounds[name][0]}
        if not above and not below:
            return fixed | parts
        if sum(above.values()) >= sum(below.values()):
            fixed |= {name: Fraction(bounds[name][1]) for name in above}
        else:
            fixed |= {name: Fraction(bounds[name][0]) for name in below}


def quotas(
    shares: Mapping[str, Fraction],
    loads: Mapping[str, int],
    limits: Mapping[str, int],
    groups: Iterable[Group],
    total: int,
) -> dict[str, int]:
    """Whole numbers that add up to `total`, as near to `loads` as 5 % of slack around `shares` allows.

    Args:
        shares: what would be fair; adds up to `total` and respects `limits` and `groups`.
        loads: what each holds now.
        limits: no quota above these.
        groups: disjoint sets of nodes with bounds on their sums.
    """
    low = {name: floor((1 - SLACK) * share) for name, share in shares.items()}
    high = {name: min(limits[name], ceil((1 + SLACK) * share)) for name, share in shares.items()}
    result = {name: min(max(loads.get(name, 0), low[name]), high[name]) for name in shares}

    def step(names: Iterable[str], by: int) -> None:
        edge = high if by > 0 else low
        movable = [name for name in names if result[name] != edge[name]]
        chosen = min(movable, key=lambda name: (by * (result[name] - shares[name]), name))
        result[chosen] += by

    bounded = list(groups) or [Group(tuple(shares), total, total)]
    for group in bounded:
        while (held := sum(result[name] for name in group.ids)) != min(max(held, group.least), group.most):
            step(group.ids, 1 if held < group.least else -1)
    _level_out(result, low, high, shares, bounded, total)
    return result


def _level_out(
    result: dict[str, int],
    low: Mapping[str, int],
    high: Mapping[str, int],
    shares: Mapping[str, Fraction],
    groups: Sequence[Group],
    total: int,
) -> None:
    """Have `result` add up to `total`, one step at a time of who is furthest behind its share, or ahead of it."""
    missing = total - sum(result.values())
    by = 1 if missing > 0 else -1
    edge = high if by > 0 else low
    group_of = {name: number for number, group in enumerate(groups) for name in group.ids}
    sums = [sum(result[name] for name in group.ids) for group in groups]
    queue = [(by * (result[name] - shares[name]), name) for name in group_of if result[name] != edge[name]]
    heapq.heapify(queue)
    while missing:
        distance, name = heapq.heappop(queue)
        number = group_of[name]
        if sums[number] == (groups[number].most if by > 0 else groups[number].least):
            continue
        result[name] += by
        sums[number] += by
        missing -= by
        if result[name] != edge[name]:
            heapq.heappush(queue, (distance + 1, name))
