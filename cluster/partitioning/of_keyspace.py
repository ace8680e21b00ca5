"""Which partitioner a keyspace has.

Guarantees: the one place that knows the strategies' partitioners; what a keyspace's record and the tenants say is all
that counts. Leaves to others: checking the record (`control.keyspaces`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping

from cluster.partitioning import Partitioner
from cluster.partitioning.directory import DirectoryPartitioner
from cluster.partitioning.geo import GeoPartitioner
from cluster.partitioning.hash import HashPartitioner
from cluster.partitioning.range import RangePartitioner
from cluster.zones import pids_by_zone
from kvstore.map_values import KeyspaceInfo, Tenant


def partitioner_of(keyspace: KeyspaceInfo, tenants: Mapping[tuple[str, bytes], Tenant]) -> Partitioner:
    """The partitioner of a keyspace that is not deleted; `tenants` are those of all keyspaces."""
    match keyspace.strategy:
        case "range":
            return RangePartitioner(keyspace.pids, keyspace.bounds)
        case "directory":
            return DirectoryPartitioner(keyspace.pids, tenants_of(keyspace, tenants))
        case "geo":
            return GeoPartitioner(pids_by_zone(keyspace), dict(keyspace.regions), keyspace.default_zone)
        case _:
            return HashPartitioner(keyspace.pids)


def tenants_of(keyspace: KeyspaceInfo, tenants: Mapping[tuple[str, bytes], Tenant]) -> dict[bytes, int]:
    """Which partition has the keys of each of its tenants; those of a former keyspace of its name do not count."""
    pids = set(keyspace.pids)
    return {one.name: one.pid for one in tenants.values() if one.keyspace == keyspace.name and one.pid in pids}
