"""What a keyspace would do with a sample of keys, in figures.

Guarantees: copies are where the product's placement puts them, a key's partition is what its partitioner says; nothing
is estimated. Leaves to others: what follows from it (`verdict`). Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.advice.candidates import Candidate
from cluster.advice.sample import Sample
from cluster.placement import Assignment
from cluster.placement.of_keyspace import placement_of

# Keys that come one after the other are looked at so many together: about as many as a busy cluster takes in a moment.
WINDOWS = 200
WINDOW_MIN = 64

Scan = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one keyspace. Times the mean: `fullest_partition`, `fullest_node` (all copies); as shares: `moved` when a node
    joins, of all copies of keys, `moved_even` the newcomer's part; `at_a_time`, how much of the keys that come together
    goes to one node. `touched` has how many partitions each scan asks."""

    label: str
    partitions: int
    keys_of_partitions: Sequence[int]
    keys_of_nodes: Mapping[str, int]
    fullest_partition: float
    fullest_node: float
    moved: float
    moved_even: float
    at_a_time: float
    touched: Sequence[int]


def figures_of(candidate: Candidate, sample: Sample, scans: Sequence[Scan]) -> Figures:
    """What this keyspace does."""
    keyspace, partitioner = candidate.keyspace, candidate.partitioner
    placement = placement_of(keyspace)
    members = candidate.members[:-1]
    before = placement.place(keyspace.pids, members, keyspace.replicas, {})
    after = placement.place(keyspace.pids, candidate.members, keyspace.replicas, before)
    where = [partitioner.locate(key) for key in sample.keys]
    counts = Counter(where)
    of_partitions = [counts[pid] for pid in keyspace.pids]
    of_nodes = dict.fromkeys((member.id for member in members), 0)
    for pid, nodes in before.items():
        for node in nodes:
            of_nodes[node] += counts[pid]
    return Figures(
        candidate.label,
        len(keyspace.pids),
        of_partitions,
        of_nodes,
        max(of_partitions) * len(of_partitions) / len(sample),
        max(of_nodes.values()) * len(of_nodes) / sum(of_nodes.values()),
        _moved(before, after, counts) / sum(of_nodes.values()),
        1 / len(candidate.members),
        _at_a_time([before[pid][0] for pid in where]),
        [len(partitioner.pids_within(start, end)) for start, end in scans],
    )


def _moved(before: Assignment, after: Assignment, counts: Counter[int]) -> int:
    return sum(counts[pid] * len(set(nodes) - set(before[pid])) for pid, nodes in after.items())


def _at_a_time(leaders: Sequence[str]) -> float:
    """The largest part of a window that one node leads, on average over all windows."""
    width = max(WINDOW_MIN, len(leaders) // WINDOWS)
    windows = [leaders[first : first + width] for first in range(0, len(leaders), width)]
    return sum(max(Counter(window).values()) for window in windows) / len(leaders)
