"""Placement inside zones: each partition's copies stand on nodes of its own zone only.

Guarantees: within a zone what the ring guarantees; where a zone has fewer nodes than copies asked for there are fewer
copies, and where it has none, those that there are stay. Leaves to others: which partition is of which zone. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.placement import Assignment, Member
from cluster.placement.ring import RingPlacement


class ZonePlacement:
    """The placement of the strategy `geo`.

    Args:
        zones: the zone of each partition.
    """

    def __init__(self, zones: Mapping[int, str]) -> None:
        self._zones = zones
        self._ring = RingPlacement()

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Assign every partition; see `Placement.place`. One whose zone has no member keeps what is assigned."""
        placed: dict[int, tuple[str, ...]] = {}
        for zone in dict.fromkeys(self._zones[pid] for pid in pids):
            mine = [pid for pid in pids if self._zones[pid] == zone]
            there = [member for member in members if member.zone == zone]
            now = {pid: tuple(current.get(pid, ())) for pid in mine}
            placed |= self._ring.place(mine, there, replicas, now) if there else now
        return {pid: placed[pid] for pid in pids}
