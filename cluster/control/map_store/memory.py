"""A map store without a disk, whose faults are chosen by a test.

Guarantees: the contract of `map_store`; on request a proposal's outcome is unknown, and then it has landed, lands
later (when `land_late` is called) or never does. Leaves to others: choosing faults. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from cluster.cluster_map import Change, ClusterMap
from cluster.control.id_windows import IdWindows
from cluster.control.map_store import Applied, Outcome
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.messages import MapUpdate


class Fault(Enum):
    """What happens to one proposal, whose outcome its proposer does not learn."""

    ANSWER_LOST = "it lands"
    LANDS_LATE = "it lands later"
    REQUEST_LOST = "it never lands"


class MemoryMapStore:
    """Holds a map for as long as the object lives.

    Args:
        cluster_id: 8 bytes.
        fault: asked once for each proposal; None lets it through.
    """

    def __init__(self, cluster_id: bytes, fault: Callable[[], Fault | None] = lambda: None) -> None:
        self._map = ClusterMap.empty(cluster_id)
        self._next_pid = 1
        self._next_incarnation = 1
        self._ids = IdWindows()
        self._fault = fault
        self._late: list[tuple[Change, ...]] = []

    async def load(self) -> ClusterMap:
        """The map as it stands."""
        return self._map

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """Propose changes; all of them share the fault that was chosen."""
        proposed = tuple(changes)
        fault = self._fault()
        if fault is None:
            self._map, landed = self._map.changed(proposed)
            outcomes = tuple(Outcome.LANDED if lands else Outcome.CONFLICT for lands in landed)
            return Applied(outcomes, self._map.touched(proposed))
        if fault is Fault.ANSWER_LOST:
            self._map, _ = self._map.changed(proposed)
        elif fault is Fault.LANDS_LATE:
            self._late.append(proposed)
        return Applied((Outcome.UNKNOWN,) * len(proposed), MapUpdate(self._map.map_ver, [], []))

    def land_late(self) -> None:
        """Let every proposal that was held back meet its guards now."""
        late, self._late = self._late, []
        for changes in late:
            self._map, _ = self._map.changed(changes)

    async def allocate_pids(self, count: int) -> int:
        """Reserve `count` uids."""
        first = self._next_pid
        self._next_pid += count
        return first

    async def draw_incarnation(self) -> int:
        """The next incarnation."""
        self._next_incarnation += 1
        return self._next_incarnation - 1

    async def draw_id_window(self, asked: DrawIdWindow) -> IdWindow:
        """The next window for ids."""
        self._ids, window = self._ids.drawn(asked)
        return window

    async def may_plan(self) -> bool:
        """Always: there is no other gateway."""
        return True

    async def close(self) -> None:
        """Nothing to release."""
