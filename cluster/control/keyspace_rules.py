"""What a request to make a keyspace must look like, and the record that it becomes.

Guarantees: a record that was made of a checked request has a partitioner and a placement; what does not pass is refused
by an error that names the parameter of the HTTP API. Leaves to others: writing it (`keyspaces`). Sans-IO.
"""

from __future__ import annotations

import itertools
import re

import msgspec

from cluster.cluster_map import ClusterMap
from cluster.control.admission import NAME_MAX, check_zone
from cluster.control.keyspace_messages import CreateKeyspace
from kvstore.errors import BadParameter
from kvstore.keys import KEY_BYTES_MAX
from kvstore.map_values import KeyspaceInfo

STRATEGIES = ("consistent", "hash", "range", "directory", "geo")
PARTITIONS_MAX = 4096
REPLICAS_MAX = 16
TTL_MS_MAX = 10 * 366 * 24 * 3600 * 1000
VALUE_BYTES_MAX = 16 * 1024**2

_NAME = re.compile(r"[a-z0-9_-]+", re.ASCII)


def check_keyspace(request: CreateKeyspace) -> None:
    """Check everything but whether there are nodes; raises BadParameter."""
    if len(request.name) > NAME_MAX or not _NAME.fullmatch(request.name):
        raise BadParameter(f"name: 1 to {NAME_MAX} of the characters a-z 0-9 _ -")
    if request.strategy not in STRATEGIES:
        raise BadParameter(f"strategy: one of {', '.join(STRATEGIES)}")
    if not 0 <= request.replicas <= REPLICAS_MAX:
        raise BadParameter(f'replicas: 1 to {REPLICAS_MAX}, or "all"')
    if not 1 <= request.min_in_sync <= (request.replicas or REPLICAS_MAX):
        raise BadParameter(f"min_in_sync: 1 to as many as replicas, at most {REPLICAS_MAX}")
    if not 0 <= request.default_ttl_ms <= TTL_MS_MAX:
        raise BadParameter("default_ttl: at most 10 years")
    if not 0 <= request.max_value_bytes <= VALUE_BYTES_MAX:
        raise BadParameter(f"max_value_bytes: at most {VALUE_BYTES_MAX}")
    _check_splits(request)
    _check_regions(request)
    if partition_count(request) > PARTITIONS_MAX or request.partitions < 1:
        raise BadParameter(f"partitions: 1 to {PARTITIONS_MAX}, those of all zones together")


def _check_splits(request: CreateKeyspace) -> None:
    if request.strategy != "range":
        if request.bounds:
            raise BadParameter("splits: only a keyspace of strategy range has them")
        return
    if len(request.bounds) >= PARTITIONS_MAX:
        raise BadParameter(f"splits: at most {PARTITIONS_MAX - 1}")
    if any(not 1 <= len(bound) <= KEY_BYTES_MAX for bound in request.bounds):
        raise BadParameter(f"splits: each is a key of 1 to {KEY_BYTES_MAX} bytes")
    if any(one >= other for one, other in itertools.pairwise(request.bounds)):
        raise BadParameter("splits: each comes after the one before it, in byte order")


def _check_regions(request: CreateKeyspace) -> None:
    if request.strategy != "geo":
        if request.regions or request.default_zone:
            parameter = "regions" if request.regions else "default_zone"
            raise BadParameter(f"{parameter}: only a keyspace of strategy geo has them")
        return
    if not request.replicas:
        raise BadParameter("replicas: with strategy geo copies stay in their zone, so not on all nodes")
    check_zone("default_zone", request.default_zone)
    names = [name for name, _ in request.regions]
    if len(set(names)) < len(names):
        raise BadParameter("regions: each has one zone")
    for name, zone in request.regions:
        if not 1 <= len(name) <= KEY_BYTES_MAX or b"/" in name:
            raise BadParameter(f"regions: each is 1 to {KEY_BYTES_MAX} bytes without '/'")
        check_zone("regions", zone)


def check_zones(request: CreateKeyspace, cluster: ClusterMap) -> None:
    """Check that each zone has a node; raises BadParameter."""
    there = {node.zone for node in cluster.nodes.values() if node.may_host}
    for zone in _zones(request):
        if zone not in there:
            parameter = "default_zone" if zone == request.default_zone else "regions"
            raise BadParameter(f"{parameter}: there is no node in zone {zone}")


def partition_count(request: CreateKeyspace) -> int:
    """How many partitions the keyspace begins with."""
    if request.strategy == "range":
        return len(request.bounds) + 1
    return request.partitions * max(1, len(_zones(request)))


def record_of(request: CreateKeyspace, first_pid: int) -> KeyspaceInfo:
    """The keyspace's record, with partitions from that uid on."""
    return KeyspaceInfo(
        name=request.name,
        strategy=request.strategy,
        pids=tuple(range(first_pid, first_pid + partition_count(request))),
        replicas=request.replicas,
        min_in_sync=request.min_in_sync,
        default_ttl_ms=request.default_ttl_ms,
        max_value_bytes=request.max_value_bytes,
        bounds=request.bounds,
        zones=tuple((zone, request.partitions) for zone in _zones(request)),
        regions=tuple(sorted(request.regions)),
        default_zone=request.default_zone,
        least_partitions=partition_count(request) if request.strategy == "range" else 1,
    )


def is_same(request: CreateKeyspace, keyspace: KeyspaceInfo) -> bool:
    """Whether the keyspace is what the request asks for. Where ranges were split since, it may have begun as that."""
    asked = record_of(request, 0)
    is_shape_alike = len(asked.pids) == len(keyspace.pids) and asked.bounds == keyspace.bounds
    if not is_shape_alike and not (keyspace.strategy == "range" and keyspace.layout):
        return False
    return keyspace == msgspec.structs.replace(
        asked,
        pids=keyspace.pids,
        bounds=keyspace.bounds,
        layout=keyspace.layout,
        # Earlier versions wrote 1 for all.
        least_partitions=keyspace.least_partitions,
    )


def _zones(request: CreateKeyspace) -> list[str]:
    if request.strategy != "geo":
        return []
    return sorted({request.default_zone, *(zone for _, zone in request.regions)})
