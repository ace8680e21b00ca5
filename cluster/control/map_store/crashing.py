"""For tests: a map store that knows the durable steps of control in the changes it is asked for, and crashes at one.

Guarantees: the contract of the store it wraps. Leaves to others: the names of the steps (`kvstore.crash_point`).
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.cluster_map import (
    Change,
    ClusterMap,
    PlaceKeyspace,
    PutEntry,
    PutKeyspace,
    PutMove,
    PutNode,
    PutRebalance,
    StartMoves,
)
from cluster.control.map_store import Applied, MapStore
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.crash_point import CrashPoint

STEPS: dict[type[Change], str] = {
    PutNode: "admit",
    PutKeyspace: "keyspace",
    PlaceKeyspace: "place",
    PutEntry: "cas",
    StartMoves: "start_moves",
    PutMove: "end_move",
    PutRebalance: "rebalance",
}


class CrashingMapStore:
    """Args: store: an open map store; point: where to crash."""

    def __init__(self, store: MapStore, point: CrashPoint) -> None:
        self._store = store
        self._point = point

    async def load(self) -> ClusterMap:
        return await self._store.load()

    async def apply(self, changes: Sequence[Change]) -> Applied:
        with self._point.around({STEPS[type(change)] for change in changes}):
            return await self._store.apply(changes)

    async def allocate_pids(self, count: int) -> int:
        with self._point.around({"allocate"}):
            return await self._store.allocate_pids(count)

    async def draw_incarnation(self) -> int:
        return await self._store.draw_incarnation()

    async def draw_id_window(self, asked: DrawIdWindow) -> IdWindow:
        return await self._store.draw_id_window(asked)

    async def may_plan(self) -> bool:
        return await self._store.may_plan()

    async def close(self) -> None:
        await self._store.close()
