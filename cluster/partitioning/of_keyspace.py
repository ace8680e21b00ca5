"""Which partitioner a keyspace has.

Guarantees: the one place that knows the strategies' partitioners; what a keyspace's record and the tenants say is all
that counts. Leaves to others: checking the record (`control.keyspaces`). Sans-IO.
"""

from __future__ import annotations

from cluster.directories import Directories
from cluster.partitioning import Partitioner
from cluster.partitioning.directory import DirectoryPartitioner
from cluster.partitioning.geo import GeoPartitioner
from cluster.partitioning.hash import HashPartitioner
from cluster.partitioning.range import RangePartitioner
from cluster.zones import pids_by_zone
from kvstore.map_values import KeyspaceInfo


def partitioner_of(keyspace: KeyspaceInfo, tenants: Directories) -> Partitioner:
    """The partitioner of a keyspace that is not deleted; `tenants` are those of all keyspaces."""
    match keyspace.strategy:
        case "range":
            return RangePartitioner(keyspace.pids, keyspace.bounds)
        case "directory":
            return DirectoryPartitioner(keyspace.pids, tenants.of(keyspace.name))
        case "geo":
            return GeoPartitioner(pids_by_zone(keyspace), dict(keyspace.regions), keyspace.default_zone)
        case _:
            return HashPartitioner(keyspace.pids)
