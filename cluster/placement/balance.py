"""Balancing leaders over the nodes that hold the copies.

Guarantees: every partition is led by a node that holds it; a leader that may stay stays; leaders are shared out by
weight within 5 %, rounded to whole partitions, wherever the copies allow that; where all are led, none changes unless
that brings the nodes closer to their shares, so that choosing again and again comes to rest. Leaves to others: where
copies are (`ring`), and the transfer of leadership. Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from cluster.placement import Member
from cluster.placement.fill import Fill
from cluster.placement.shares import ZoneRule, quotas, water_fill

_ONE = {"": ZoneRule(1, 1)}


def pick_leaders(
    copies: Mapping[int, Sequence[str]], members: Sequence[Member], leaders: Mapping[int, str]
) -> dict[int, str]:
    """Choose one of its copies as the leader of each partition.

    Args:
        copies: the nodes that hold each partition, the preferred first.
        members: all nodes, with their weights.
        leaders: who leads now, where someone does.
    """
    limits = {member.id: 0 for member in members}
    for nodes in copies.values():
        for node in nodes:
            limits[node] += 1
    shares = water_fill(
        {member.id: Fraction(member.weight) for member in members},
        {node: (0, limit) for node, limit in limits.items()},
        Fraction(len(copies)),
    )
    fill = Fill(copies, dict.fromkeys(limits, ""), _ONE, wanted=1)
    for pid in copies:
        if pid in leaders:
            fill.keep(pid, leaders[pid])
    allowed = quotas(shares, fill.loads(), limits, (), len(copies))
    fill.shed(allowed)
    for pid in fill.fill(list(copies), allowed):
        loads = fill.loads()
        within_reach = fill.reachable(pid)
        relieved = min(within_reach, key=lambda node: (loads[node] - shares[node], node))
        fill.fill([pid], {**loads, relieved: loads[relieved] + 1})
    picked = {pid: places[0] for pid, places in fill.places.items()}
    stands = {pid: leaders[pid] for pid, nodes in copies.items() if leaders.get(pid) in nodes}
    is_closer = _distance(picked.values(), shares) < _distance(stands.values(), shares)
    return picked if is_closer or len(stands) < len(copies) else stands


def _distance(leaders: Iterable[str], shares: Mapping[str, Fraction]) -> Fraction:
    """How far from their shares that leaves the nodes."""
    led = Counter(leaders)
    return sum(((led[node] - share) ** 2 for node, share in shares.items()), Fraction())
