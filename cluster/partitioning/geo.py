"""Partitioning by region: each region's keys are hashed over the partitions of one zone.

Guarantees: a key's region alone decides its zone; within the zone equal arcs of the hash space decide, as in `hash`.
Leaves to others: keeping copies in the zone (`placement.zone`), what a region is (`kvstore.keys.tenant_of`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.partitioning import told
from cluster.partitioning.hash import HashPartitioner
from cluster.partitioning.shared_tag import key_like_all
from kvstore.keys import tenant_of


class GeoPartitioner:
    """Args:
    zones: the uids of each zone's partitions, at least one.
    regions: the zone of each region.
    default_zone: that of all others.
    """

    def __init__(self, zones: Mapping[str, Sequence[int]], regions: Mapping[bytes, str], default_zone: str) -> None:
        if not {*regions.values(), default_zone} <= zones.keys():
            raise ValueError("a keyspace of regions has partitions in each zone that they name")
        self._pids = tuple(pid for pids in zones.values() for pid in pids)
        self._zones = {zone: HashPartitioner(pids) for zone, pids in zones.items()}
        self._regions = dict(regions)
        self._default_zone = default_zone

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to."""
        return self._zones[self._regions.get(tenant_of(key), self._default_zone)].locate(key)

    def pids_within(self, start: bytes, end: bytes) -> Sequence[int]:
        """All, for any key may have any region by a hash tag; one where all keys of the range have the same tag."""
        like_all = key_like_all(start, end)
        return self._pids if like_all is None else (self.locate(like_all),)

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each."""
        region = tenant_of(key)
        zone = self._regions.get(region, self._default_zone)
        why = "its region's" if region in self._regions else "the default, for the region is not listed"
        return [
            f"region: {told(region)}, the shard key of {told(key)} up to its first '/'",
            f"zone: {zone}, {why}",
            *self._zones[zone].explain(key),
        ]
