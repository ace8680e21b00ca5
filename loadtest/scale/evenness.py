"""How even placement is, how many copies a change of nodes moves, and what working that out costs.

Guarantees: all of it follows from the product's placement; seconds are CPU of this process. Leaves to others: what
moving takes (`schedule`), and showing it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TypeVar

from cluster.control.repair import ASKED_MAX
from cluster.placement import Assignment, Member
from cluster.placement.relocation import Relocation, relocations
from cluster.placement.shares import SLACK
from cluster.placement.substitutes import find_substitutes
from scale.clusters import placed

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """The fewest and the most that any node has; `promised` is the most that it may have."""

    least: int
    most: int
    share: float
    promised: int


@dataclass(frozen=True)
class Change:
    """Copies that a change of nodes makes anew elsewhere; `ideal` is what could not be less on average."""

    moved: int
    ideal: float
    cpu_s: float
    after: Spread


@dataclass(frozen=True)
class ZoneLoss:
    """A cluster over zones that gets a node, or loses a zone; `rounds` are the scans of repair that it takes to choose
    new places."""

    nodes: int
    partitions: int
    replicas: int
    place_s: float
    join: Change
    loss: Change
    rounds: int


def spread(counts: Counter[str], of: Collection[str], total: int) -> Spread:
    """How even `counts`, which add up to `total`, are over the nodes `of`, of equal weight."""
    share = Fraction(total, len(of))
    held = [counts[node] for node in of]
    return Spread(min(held), max(held), float(share), ceil((1 + SLACK) * share))


def zone_loss(nodes: int, partitions: int, replicas: int, of: Sequence[Member], lost: str) -> ZoneLoss:
    """Have a node join, and instead make anew, as repair does, what a zone held."""
    first, place_s = timed(lambda: placed(partitions, of, replicas))
    newcomer = Member(f"node-{nodes:04}", of[0].zone)
    join, _ = change(first, partitions, [*of, newcomer], replicas, partitions * replicas / (nodes + 1))
    stay = [member for member in of if member.zone != lost]
    ids = {member.id for member in stay}
    held = {pid: [name for name in names if name in ids] for pid, names in first.items()}
    missing = {pid: names for pid, names in held.items() if len(names) < replicas}
    ideal = sum(replicas - len(names) for names in missing.values())
    loads = Counter(name for names in held.values() for name in names)
    rounds, moved, began_s = 0, 0, time.process_time()
    while missing:
        chosen = find_substitutes(missing, stay, ids, loads, partitions, replicas, ASKED_MAX)
        rounds += 1
        moved += len(chosen)
        loads.update(chosen.values())
        for pid, name in chosen.items():
            held[pid].append(name)
            if len(held[pid]) == replicas:
                del missing[pid]
    cpu_s = time.process_time() - began_s
    after = spread(loads, ids, partitions * replicas)
    return ZoneLoss(nodes, partitions, replicas, place_s, join, Change(moved, float(ideal), cpu_s, after), rounds)


def copy_counts(assignment: Assignment) -> Counter[str]:
    """How many copies each node has."""
    return Counter(name for names in assignment.values() for name in names)


def change(
    before: Assignment, partitions: int, of: Sequence[Member], replicas: int, ideal: float
) -> tuple[Change, Sequence[Relocation]]:
    """What moves so that copies stand on the nodes `of`."""

    def work() -> tuple[Assignment, Sequence[Relocation]]:
        after = placed(partitions, of, replicas, before)
        return after, relocations(before, after)

    (after, moves), cpu_s = timed(work)
    total = partitions * replicas
    even = spread(copy_counts(after), [member.id for member in of], total)
    return Change(len(moves), ideal, cpu_s, even), moves


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What comes of `work`, and the CPU that it took."""
    began_s = time.process_time()
    result = work()
    return result, time.process_time() - began_s
