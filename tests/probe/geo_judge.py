"""Whether the copies of a `geo` keyspace are where they belong, by what `GET /v1/cluster` says.

Guarantees: a copy that the map names, made or about to be made, on a node of another zone than its partition's is told.
Leaves to others: asking, and how often. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def homes_of(document: Mapping[str, Any]) -> dict[int, str]:
    """The zone to which each partition belongs, as `GET /v1/keyspaces/NAME` tells."""
    return {one["id"]: one["zone"] for one in document["placement"]}


def zones_of(status: Mapping[str, Any], keyspace: str) -> dict[int, str]:
    """The zone in which each partition of the keyspace is: that of its first copy."""
    zone = {node["id"]: node["zone"] for node in status["nodes"]}
    return {one["id"]: zone[one["replicas"][0]] for one in status["partitions"] if one["keyspace"] == keyspace}


def astray(status: Mapping[str, Any], homes: Mapping[int, str]) -> list[str]:
    """Copies that are outside the zone of their partition.

    Args:
        homes: the zone of each partition; of others nothing is judged.
    """
    zone = {node["id"]: node["zone"] for node in status["nodes"]}
    return [
        f"partition {one['id']} of zone {homes[one['id']]} has a copy on {node} of zone {zone.get(node)}"
        for one in status["partitions"]
        if one["id"] in homes
        for node in sorted({*one["replicas"], *one["in_sync"], *([one["leader"]] if one["leader"] else [])})
        if zone.get(node) != homes[one["id"]]
    ] + [
        f"partition {move['partition']} of zone {homes[move['partition']]} moves to {move['to']}"
        for move in status["moves"]
        if move["partition"] in homes and zone.get(move["to"]) != homes[move["partition"]]
    ]
