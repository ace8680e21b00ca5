"""Who has the copies of partitions compared, again and again, while everything else happens."""

from __future__ import annotations

from typing import Any

from simulation.control import SimControl
from simulation.history import History
from simulation.sim_node import SimNode
from simulation.violation import Violation
from simulation.world import World

from kvstore.messages import Verified, Verify
from kvstore.verification import CLEAN, RUNNING

POLL_MS = 200
PAUSE_MS = 1500


class Verifying:
    """Asks for one partition after the other. A difference is an alarm, and so a violation at once."""

    def __init__(self, world: World, nodes: dict[str, SimNode], control: SimControl, history: History) -> None:
        self.clean: dict[int, float] = {}
        self._world = world
        self._nodes = nodes
        self._control = control
        self._history = history
        self._healed_ms: float | None = None

    def heal(self) -> None:
        """Nothing fails from now on: each partition is to be found clean once more, then there is rest."""
        self._healed_ms = self._world.now_ms

    def begin(self) -> None:
        """Choose a partition, and a name."""
        pids = self._unclean()
        if pids:
            self._ask(self._world.rng.choice(pids), self._world.rng.randbytes(16))

    def _unclean(self) -> list[int]:
        """The partitions to choose from."""
        healed_ms = self._healed_ms
        pids = self._control.map.entries
        return [pid for pid in pids if healed_ms is None or self.clean.get(pid, 0) < healed_ms]

    def _ask(self, pid: int, name: bytes) -> None:
        entry = self._control.map.entries[pid]
        if entry.leader is None:
            self._world.at(PAUSE_MS, self.begin)
            return
        asked = Verify(pid, entry.ver, name)
        self._nodes[entry.leader.node].verify(asked, lambda answer: self._answered(pid, name, answer))

    def _answered(self, pid: int, name: bytes, answer: Any) -> None:
        if isinstance(answer, Verified) and answer.state == RUNNING:
            self._world.at(POLL_MS, lambda: self._ask(pid, name))
            return
        is_clean = isinstance(answer, Verified) and answer.state == CLEAN
        self._history.count("verified" if is_clean else "unverified")
        if is_clean:
            self.clean[pid] = self._world.now_ms
        self._world.at(self._world.rng.uniform(0, PAUSE_MS), self.begin)

    def check(self) -> None:
        """Every partition was found clean since everything healed."""
        if self._unclean():
            raise Violation(f"liveness: partitions {self._unclean()} were not found clean after healing")
