"""Which copies go where when nodes come, leave or change, and how even that leaves the nodes.

Guarantees: a plan is what the placement says of the assignment as it stands, and the same for the same arguments; no
partition gets a second copy on a node; what is even already moves nothing. Each node sends and takes its copies spread
over the plan, so that several can be under way at a time. Leaves to others: where copies should be (`Placement`),
carrying a plan out. Sans-IO.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from cluster.placement import Assignment, Member
from cluster.placement.shares import SLACK, copy_shares, zone_rules


@dataclass(frozen=True, slots=True)
class Relocation:
    """A copy of the partition goes from one node to another."""

    pid: int
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Load:
    """What a node holds and leads; `share` is how many copies would be fair, `most` how many it may have."""

    copies: int
    leads: int
    share: float
    most: int


def relocations(current: Assignment, desired: Assignment) -> list[Relocation]:
    """The ways that lead from one assignment to the other; copies that are missing or too many have none."""
    found: dict[tuple[str, str], deque[Relocation]] = {}
    for pid, nodes in sorted(desired.items()):
        held = current.get(pid, ())
        leaving = sorted(node for node in held if node not in nodes)
        coming = sorted(node for node in nodes if node not in held)
        for source, target in zip(leaving, coming, strict=False):
            found.setdefault((source, target), deque()).append(Relocation(pid, source, target))
    ordered: list[Relocation] = []
    while found:
        for way in sorted(found):
            ordered.append(found[way].popleft())
        found = {way: rest for way, rest in found.items() if rest}
    return ordered


def loads(current: Assignment, members: Sequence[Member], replicas: int) -> Mapping[str, Load]:
    """How the nodes that hold something, or should, stand."""
    copies = Counter(node for nodes in current.values() for node in nodes)
    leads = Counter(nodes[0] for nodes in current.values() if nodes)
    shares: Mapping[str, Fraction] = {}
    if members:
        wanted = min(replicas, len(members))
        shares = copy_shares(members, zone_rules(members, wanted), len(current), wanted)
    nodes = sorted(copies.keys() | shares.keys())
    nothing = Fraction(0)
    return {
        node: Load(
            copies[node],
            leads[node],
            float(shares.get(node, nothing)),
            ceil((1 + SLACK) * shares.get(node, nothing)),
        )
        for node in nodes
    }
