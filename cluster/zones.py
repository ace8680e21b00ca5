"""Which partitions of a `geo` keyspace belong to which zone.

Guarantees: each partition belongs to one, in the order of the keyspace's record. Leaves to others: which keys they have
(`partitioning.geo`), where their copies are (`placement.zone`). Sans-IO.
"""

from __future__ import annotations

from kvstore.map_values import KeyspaceInfo


def pids_by_zone(keyspace: KeyspaceInfo) -> dict[str, tuple[int, ...]]:
    """The partitions of each zone."""
    found: dict[str, tuple[int, ...]] = {}
    first = 0
    for zone, count in keyspace.zones:
        found[zone] = keyspace.pids[first : first + count]
        first += count
    return found
