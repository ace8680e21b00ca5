"""What control runs with: a slice of the gateway's settings.

Guarantees: an immutable value. Leaves to others: checking ranges (the gateway's settings). Sans-IO.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ControlSettings:
    """How control admits nodes and places the keyspace `default`.

    Args:
        initial_nodes: partitions are placed once that many nodes are connected.
        partitions: their number, fixed when the keyspace is created.
        replicas: copies asked for of each partition.
        min_in_sync: in-sync copies below which a partition refuses writes.
        loopback_nodes: whether a node may be admitted at a loopback address.
        replace_after_s: how long a node may be away before its copies are made anew on others.
        manual_rebalance: nothing moves by itself but what is on nodes that are removed.
        moves_per_node: how many copies a node may send, and how many it may take, at a time.
        split_bytes: the size from which on a partition of a `range` keyspace is split.
        split_writes_per_s: the writes of a second from which on one is split that has more than its share of them.
        merge_after_s: how long neighbours of one must have been small and calm before they are merged.
        partitions_max: a `range` keyspace is split into so many at most.
    """

    initial_nodes: int = 1
    partitions: int = 64
    replicas: int = 2
    min_in_sync: int = 1
    loopback_nodes: bool = True
    replace_after_s: float = 600.0
    manual_rebalance: bool = False
    moves_per_node: int = 1
    split_bytes: int = 64 * 1024 * 1024
    split_writes_per_s: float = 500.0
    merge_after_s: float = 60.0
    partitions_max: int = 1024
