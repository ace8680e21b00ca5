"""Control in the simulation: the real map and its in-memory store, with answers late, lost or unknown."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
from simulation.network import CLUSTER_ID, Network
from simulation.world import World

from cluster.cluster_map import ClusterMap, PlaceKeyspace, PutEntry
from cluster.control.map_store.memory import Fault, MemoryMapStore
from kvstore.map_values import Entry, Rid

CONTROL = "control"

T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("the in-memory map store never waits")


class SimControl:
    """Args: network: cuts between `CONTROL` and a node hold here too; tell: (node, entries) delivers map entries."""

    def __init__(self, world: World, network: Network, tell: Callable[[str, list[Entry]], None]) -> None:
        self.is_faulty = False
        self.asked = 0
        self.failovers = 0
        self._world = world
        self._network = network
        self._deliver = tell
        self.store = MemoryMapStore(CLUSTER_ID, self._fault)

    @property
    def map(self) -> ClusterMap:
        return run_now(self.store.load())

    def place(self, entries: Sequence[Entry]) -> None:
        """The first entries of partitions that were never written."""
        run_now(self.store.apply([PlaceKeyspace(tuple(entries))]))

    def _tell(self, node: str, entries: list[Entry]) -> None:
        if self._network.can_reach(CONTROL, node):
            self._deliver(node, entries)

    def ask(self, node: str, entry: Entry) -> None:
        """A node's compare-and-set is on its way."""
        if not self._network.can_reach(node, CONTROL):
            return
        self._world.at(self._delay_ms(), lambda: self._decide(node, entry))

    def push(self, node: str) -> None:
        """Send a node the entries that name it, as they are now; they may arrive late."""
        entries = [entry for entry in self.map.entries.values() if entry.holds(node)]
        self._world.at(self._delay_ms(), lambda: self._tell(node, entries))

    def _decide(self, node: str, entry: Entry) -> None:
        self.asked += 1
        before = self.map.entries[entry.pid].leader
        run_now(self.store.apply([PutEntry(entry)]))
        current = self.map.entries[entry.pid]
        self.failovers += before is not None and current.leader is not None and before.node != current.leader.node
        for rid in (*current.replicas, *current.adding):
            if rid.node != node or not self.is_faulty or self._world.rng.random() < 0.7:
                self._world.at(self._delay_ms(), lambda to=rid.node: self._tell(to, [current]))

    def add_copy(self, pid: int, rid: Rid, lost: set[Rid]) -> None:
        """A copy was made to take the place of one that is missing: the entry names it as one that is added."""
        entry = self.map.entries[pid]
        standing = (*entry.replicas, *entry.adding)
        if rid in standing or rid.node in {one.node for one in standing if one not in lost}:
            return
        gone = lost - set(entry.in_sync)
        changed = msgspec.structs.replace(
            entry,
            ver=entry.ver + 1,
            replicas=tuple(one for one in entry.replicas if one not in gone),
            adding=(*(one for one in entry.adding if one not in gone), rid),
        )
        if rid.node not in {one.node for one in changed.replicas}:
            run_now(self.store.apply([PutEntry(changed)]))
            for node in sorted({one.node for one in (*standing, rid)}):
                self.push(node)

    def _fault(self) -> Fault | None:
        if not self.is_faulty or self._world.rng.random() > 0.3:
            return None
        fault = self._world.rng.choice(list(Fault))
        if fault is Fault.LANDS_LATE:
            self._world.at(self._world.rng.uniform(10, 3000), self._land_late)
        return fault

    def _land_late(self) -> None:
        """What lands late is seen by whoever watches the store, and pushed to the nodes."""
        before = self.map.entries
        self.store.land_late()
        for entry in self.map.entries.values():
            if entry != before.get(entry.pid):
                for rid in (*entry.replicas, *entry.adding):
                    self.push(rid.node)

    def _delay_ms(self) -> float:
        rng = self._world.rng
        late = rng.uniform(0, 2000) if self.is_faulty and rng.random() < 0.2 else 0.0
        return rng.uniform(0.2, 3.0) + late
