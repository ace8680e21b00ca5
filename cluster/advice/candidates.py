"""The keyspaces among which the sample's owner has to choose: one for each strategy, made for the sample.

Guarantees: each is a keyspace as the cluster would have it, with its own partitioner and placement. Leaves to others:
what it does with the keys (`figures`). Sans-IO.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.advice.growth import grown_bounds, limit_for
from cluster.advice.sample import Sample
from cluster.directories import Directories
from cluster.partitioning import Partitioner
from cluster.partitioning.of_keyspace import partitioner_of
from cluster.placement import Member
from kvstore.heat.split_point import separator
from kvstore.keys import tenant_of
from kvstore.map_values import KeyspaceInfo, Tenant

NAME = "sample"
ZONES = ("a", "b")
GROWN = "range, grown"


@dataclass(frozen=True, slots=True)
class Cluster:
    """How large the cluster is to be, and each keyspace in it."""

    nodes: int
    replicas: int
    partitions: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """`label` is the strategy, and how the keyspace came about where that makes a difference; the last of `members` is
    the node that joins."""

    label: str
    keyspace: KeyspaceInfo
    partitioner: Partitioner
    members: Sequence[Member]


def candidates(sample: Sample, cluster: Cluster) -> list[Candidate]:
    """One keyspace of each strategy; of ranges one that is cut beforehand, and one that grows."""
    return [
        _candidate("consistent", cluster, cluster.partitions),
        _candidate("hash", cluster, cluster.partitions),
        _ranges("range", cluster, quantiles(sample.keys, cluster.partitions)),
        _ranges(GROWN, cluster, grown_bounds(sample.keys, limit_for(len(sample), cluster.partitions))),
        _directory(sample, cluster),
        _geo(sample, cluster),
    ]


def quantiles(keys: Sequence[bytes], count: int) -> list[bytes]:
    """The bounds of so many ranges with equally many of these keys; fewer ranges where there are fewer keys."""
    ordered = sorted(keys)
    cuts = sorted({len(ordered) * part // count for part in range(1, count)} - {0})
    return [separator(ordered[cut - 1], ordered[cut]) for cut in cuts]


def _candidate(
    label: str,
    cluster: Cluster,
    partitions: int,
    tenants: Directories | None = None,
    node_zones: Sequence[str] = ("default",),
    **fields: Any,
) -> Candidate:
    replicas = min(cluster.replicas, cluster.nodes // len(node_zones)) or 1
    strategy, _, _ = label.partition(",")
    keyspace = KeyspaceInfo(NAME, strategy, tuple(range(1, partitions + 1)), replicas, 1, **fields)
    members = [Member(f"n{number + 1}", node_zones[number % len(node_zones)]) for number in range(cluster.nodes + 1)]
    return Candidate(label, keyspace, partitioner_of(keyspace, tenants or Directories()), members)


def _ranges(label: str, cluster: Cluster, bounds: Sequence[bytes]) -> Candidate:
    return _candidate(label, cluster, len(bounds) + 1, bounds=tuple(bounds))


def _directory(sample: Sample, cluster: Cluster) -> Candidate:
    """A new tenant gets the partition with the fewest tenants, of those the one with the fewest keys at that time: as
    control chooses."""
    least = [(0, 0, pid) for pid in range(1, cluster.partitions + 1)]
    keys = Counter[int]()
    tenants: dict[bytes, int] = {}
    for key in sample.keys:
        tenant = tenant_of(key)
        if tenant not in tenants:
            held, known, pid = least[0]
            while known != keys[pid]:
                heapq.heapreplace(least, (held, keys[pid], pid))
                held, known, pid = least[0]
            heapq.heapreplace(least, (held + 1, known, pid))
            tenants[tenant] = pid
        keys[tenants[tenant]] += 1
    directories = Directories().with_tenants(Tenant(NAME, *home) for home in tenants.items())
    return _candidate("directory", cluster, cluster.partitions, directories)


def _geo(sample: Sample, cluster: Cluster) -> Candidate:
    """Two zones with half of the partitions and of the nodes each; a region goes to the zone that has fewer keys, the
    largest first, for nobody says here where the regions are."""
    zones = ZONES[: min(len(ZONES), cluster.nodes, cluster.partitions)]
    keys = dict.fromkeys(zones, 0)
    regions = []
    for region, count in sorted(sample.tenants.items(), key=lambda one: (-one[1], one[0])):
        zone = min(zones, key=lambda zone: keys[zone])
        keys[zone] += count
        regions.append((region, zone))
    shares = [cluster.partitions // len(zones)] * len(zones)
    shares[0] += cluster.partitions - sum(shares)
    return _candidate(
        "geo",
        cluster,
        cluster.partitions,
        node_zones=zones,
        zones=tuple(zip(zones, shares, strict=True)),
        regions=tuple(regions),
        default_zone=zones[0],
    )
