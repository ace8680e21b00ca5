"""Which placement a keyspace has, and among which nodes each of its partitions may stand.

Guarantees: the one place that knows the strategies' placements; what a keyspace's record says is all that counts.
Leaves to others: checking the record (`control.keyspaces`), carrying out what a placement says. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.placement import Assignment, Member, Placement
from cluster.placement.everywhere import EverywherePlacement
from cluster.placement.modulo import ModuloPlacement
from cluster.placement.remembered import RememberedPlacement
from cluster.placement.ring import RingPlacement
from cluster.placement.zone import ZonePlacement
from cluster.zones import pids_by_zone
from kvstore.map_values import KeyspaceInfo


@dataclass(frozen=True, slots=True)
class District:
    """Partitions of a keyspace whose copies, `copies` of each, belong on the same nodes."""

    pids: tuple[int, ...]
    members: tuple[Member, ...]
    copies: int


def placement_of(keyspace: KeyspaceInfo) -> Placement:
    """The placement of a keyspace that is not deleted."""
    if not keyspace.replicas:
        return EverywherePlacement()
    match keyspace.strategy:
        case "hash":
            return ModuloPlacement()
        case "geo":
            return ZonePlacement({pid: zone for zone, pids in pids_by_zone(keyspace).items() for pid in pids})
        case _:
            return RingPlacement()


def districts(keyspace: KeyspaceInfo, members: Sequence[Member]) -> list[District]:
    """The districts of a keyspace: one, or with `geo` one for each zone."""
    if keyspace.strategy == "geo":
        return [
            District(pids, tuple(member for member in members if member.zone == zone), keyspace.replicas)
            for zone, pids in pids_by_zone(keyspace).items()
        ]
    return [District(keyspace.pids, tuple(members), keyspace.replicas or len(members))]


class Placements:
    """The placements of all keyspaces, each of which gives its last answer again where nothing changed."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[KeyspaceInfo, RememberedPlacement]] = {}

    def place(
        self, keyspace: KeyspaceInfo, members: Sequence[Member], current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Where the copies of a keyspace should be, its leaders first; see `Placement.place`."""
        known, placement = self._known.get(keyspace.name, (None, None))
        if placement is None or known != keyspace:
            placement = RememberedPlacement(placement_of(keyspace))
            self._known[keyspace.name] = keyspace, placement
        return placement.place(keyspace.pids, members, keyspace.replicas or len(members), current)
