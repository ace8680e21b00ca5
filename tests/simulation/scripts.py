"""Scripted runs: the clients and the checkers of a scenario, with one story in the place of chance.

Each is a course of events that chance rarely takes, and that a rule of PROTOCOL is there for. The seed varies moments,
delays and which requests meet them. Where the rules hold every seed is clean.
"""

from __future__ import annotations

from collections.abc import Callable

from simulation.control import CONTROL
from simulation.network import Faults
from simulation.scenario import NODES, Scenario
from simulation.world import World

from kvstore.messages import CutTail

LOOK_MS = 10
SLOW, FAST = 0.96, 1.04


def when(world: World, holds: Callable[[], bool], then: Callable[[], None]) -> None:
    """Do `then` once something is so."""
    if holds():
        then()
    else:
        world.at(LOOK_MS, lambda: when(world, holds, then))


class Scripted(Scenario):
    """All nodes hold all partitions, n1 leads them at first; nothing happens but the story."""

    copies = len(NODES)

    def _replicas(self, pid: int) -> tuple[str, ...]:
        return NODES

    def _make_faulty(self) -> None:
        self.network.faults = Faults(late=self.world.rng.choice((0, 0.05)), late_ms=100)

    def _when(self, holds: Callable[[], bool], then: Callable[[], None]) -> None:
        """Go on with the story once something is so, while there is load."""
        when(self.world, lambda: not self._loading or holds(), lambda: then() if self._loading else None)

    def _leader(self) -> str:
        """Who leads all partitions by the map, empty where not one node does."""
        leaders = {entry.leader.node for entry in self.control.map.entries.values() if entry.leader is not None}
        return leaders.pop() if len(leaders) == 1 else ""

    def _serves(self, name: str) -> bool:
        """Whether that node serves all partitions."""
        partitions = self.nodes[name].partitions
        return partitions is not None and all(one.leader and one.leader.is_serving for one in partitions)

    def _isolate(self, name: str) -> None:
        """From control and the other nodes, not from clients."""
        for other in (*NODES, CONTROL):
            self.network.cut(name, other)
            self.network.cut(other, name)


class CutOffLeader(Scripted):
    """A leader whose clock is slow is cut off from all but its clients, again and again; those who follow it have fast
    clocks. It goes on for as long as its lease allows, and it may be stopped just before it answers."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        # Reads of single keys are what it is about: those that wait for locks would be asked at other moments.
        self.has_transactions = False
        for node in self.nodes.values():
            node.rate = FAST

    def _nemesis(self) -> None:
        self._when(lambda: bool(self._leader()) and self._serves(self._leader()), self._cut_off)

    def _cut_off(self) -> None:
        rng, name = self.world.rng, self._leader()
        if name == "n1":
            self.nodes[name].rate = SLOW
        self._isolate(name)
        self.world.at(rng.uniform(2500, 5000), self.network.mend)
        self.world.at(rng.uniform(6000, 7000), self._nemesis)


class OldRows(Scripted):
    """A leader stands still until another one leads, and goes on without hearing of it. What it had taken in the
    meantime reaches a follower that has promised the new epoch and has nothing of it yet. Then all hear of each other,
    and orders to cut a tail come again, late."""

    def _make_faulty(self) -> None:
        super()._make_faulty()
        self.network.repeat_late(CutTail)

    def _nemesis(self) -> None:
        self._when(lambda: self._leader() == "n1" and self._serves("n1"), self._stop)

    def _stop(self) -> None:
        self._isolate("n1")
        self.network.cut("n2", "n3")
        self.network.cut("n3", "n2")
        self.nodes["n1"].pause(10_000)
        self._when(self._is_promised, lambda: self.world.at(self.world.rng.uniform(1, 300), self._go_on))

    def _is_promised(self) -> bool:
        """Whether both others know that one of them leads."""
        for name in NODES[1:]:
            partitions = self.nodes[name].partitions
            assert partitions is not None
            for pid, entry in self.control.map.entries.items():
                partition = partitions.get(pid)
                assert partition is not None
                if entry.leader is None or entry.leader.node == "n1" or partition.copy.promised != entry.epoch:
                    return False
        return True

    def _go_on(self) -> None:
        self.network.mend_one("n1", "n2")
        self.network.mend_one("n1", "n3")
        self.nodes["n1"].wake()
        self.world.at(self.world.rng.uniform(5, 200), self.network.mend)
