"""The story of a partition whose only in-sync copy is destroyed, and of the operator who lets another one lead.

What the promoted copy lacks is lost knowingly: the checkers forget it, and hold everything else to their rules.
"""

from __future__ import annotations

from collections.abc import Callable

from simulation.controls import ControlledScenario
from simulation.scripts import when
from simulation.violation import Violation

from cluster.control.messages import ForcePromote
from kvstore.map_values import Entry

OPERATOR_MS = 200
FORCED_PIDS = (1, 2)
LATE_MS = 9000


class Forced(ControlledScenario):
    """n2 goes down, n1 goes on alone. n2 comes back, but n1 cannot reach it. The operator, who takes n1 for dead, asks
    again and again; then its disk is gone indeed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        # What is given up in one partition may be half of a transaction.
        self.has_transactions = False
        for node in self.nodes.values():
            node.stop_chance = 0.0

    def _replicas(self, pid: int) -> tuple[str, ...]:
        return ("n1", "n2") if pid in FORCED_PIDS else ("n3", "n2")

    def _nemesis(self) -> None:
        self._when(lambda: self._leads_with(2), self._lose_follower)

    def _when(self, holds: Callable[[], bool], then: Callable[[], None]) -> None:
        """Go on with the story once something is so, if there is time for all of it."""
        when(self.world, lambda: self._is_late or holds(), lambda: None if self._is_late else then())

    @property
    def _is_late(self) -> bool:
        return self.world.now_ms > LATE_MS

    def _entries(self) -> list[Entry]:
        return [self.control.map.entries[pid] for pid in FORCED_PIDS]

    def _leads_with(self, copies: int) -> bool:
        """Whether n1 leads by the map, with so many copies in sync."""
        return all(
            one.leader is not None and one.leader.node == "n1" and len(one.in_sync) == copies for one in self._entries()
        )

    def _lose_follower(self) -> None:
        self._kill("n2")
        self._when(lambda: self._leads_with(1), lambda: self.world.at(self.world.rng.uniform(1, 500), self._cut_off))

    def _cut_off(self) -> None:
        self.network.cut("n1", "n2")
        self.network.cut("n2", "n1")
        self._restart("n2")
        self._operate()
        self.world.at(self.world.rng.uniform(500, 1500), self._destroy)

    def _operate(self) -> None:
        """The operator asks until it has worked."""
        entries = self.control.map.entries.values()
        if not self._is_late or any(self.invariants.destroyed.issuperset(entry.in_sync) for entry in entries):
            self.controls.request(ForcePromote(all_of="n1", confirmed_stopped=("n1",)))
            self.world.at(OPERATOR_MS, self._operate)

    def _destroy(self) -> None:
        partitions = self.nodes["n1"].partitions
        assert partitions is not None
        self.invariants.destroyed |= {partition.copy.name.rid for partition in partitions}
        self._kill("n1")
        self.nodes["n1"].wipe()
        self.wipes += 1
        self.network.mend()
        self.world.at(self.world.rng.uniform(500, 5000), lambda: self._restart("n1"))

    def _check_rest(self) -> None:
        super()._check_rest()
        for pid, entry in self.control.map.entries.items():
            if bool(entry.unclean_count) != (pid in self.invariants.forced):
                raise Violation(f"I8: the entry of partition {pid} counts {entry.unclean_count} promotions by force")
