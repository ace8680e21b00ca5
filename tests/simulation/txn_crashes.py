"""The story of processes that end at each point of a transaction, between any two of its steps.

A point is when a record of one of the four kinds joins a log's end, when it is committed, when a vote or the outcome is
told. There, or some milliseconds later, everything ends: all nodes, the gateways, both, or one node.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from simulation.scenario import NODES
from simulation.scripts import Scripted

from kvstore.messages import Body, Voted
from kvstore.replication.leader import Leader
from kvstore.txn.records import Decided, Finished, Forgotten, Payload, Prepared

KINDS = (Prepared, Decided, Finished, Forgotten)
POINTS = (
    *(f"{kind.__name__} is {state}" for kind in KINDS for state in ("appended", "committed")),
    "a vote is told",
    "the outcome is told",
)
LATER_MS = (0, 0, 1, 5, 30)
DOWN_MS = 300
QUIET_MS = 400


class TxnCrashes(Scripted):
    """Each point in turn, beginning with another one for each seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.has_transactions = True
        self._place_of_point = seed
        self._is_armed = False
        for node in self.nodes.values():
            node.stop_chance = 0.0
        watch, calls = self.transacting.watch, self.transacting.calls
        watch.on_record = lambda kind: self._reached(f"{kind.__name__} is committed")
        calls.on_answer = self._answered
        self.transacting.on_told = lambda: self._reached("the outcome is told")

    def run(self) -> None:
        original = Leader.propose_txn

        def propose(leader: Leader, payload: Payload, now: Any) -> int:
            seq = original(leader, payload, now)
            self._reached(f"{type(payload).__name__} is appended")
            return seq

        with patch.object(Leader, "propose_txn", propose):
            super().run()

    def _answered(self, answer: Body) -> None:
        if isinstance(answer, Voted):
            self._reached("a vote is told")

    def _nemesis(self) -> None:
        self._when(self._is_well, self._arm)

    def _is_well(self) -> bool:
        return bool(self._leader()) and self._serves(self._leader())

    def _arm(self) -> None:
        self._is_armed = True

    def _reached(self, point: str) -> None:
        if self._is_armed and self._loading and point == POINTS[self._place_of_point % len(POINTS)]:
            self._is_armed = False
            self._place_of_point += 1
            self.history.counts[point] = self.history.counts.get(point, 0) + 1
            self.world.at(self.world.rng.choice(LATER_MS) * self.world.rng.random(), self._end_all)

    def _end_all(self) -> None:
        rng = self.world.rng
        kind = rng.choice(("all", "nodes", "gateways", "one"))
        if kind in ("all", "gateways"):
            self.transacting.clients.kill_gateways()
        names = {"all": NODES, "nodes": NODES, "gateways": (), "one": (rng.choice(NODES),)}[kind]
        for name in names:
            if self.nodes[name].is_up:
                self._kill(name)
                self.world.at(rng.uniform(1, DOWN_MS), lambda name=name: self._restart(name))
        self.world.at(rng.uniform(DOWN_MS, DOWN_MS + QUIET_MS), self._nemesis)


class InDoubt(Scripted):
    """The gateways end when n1 has decided. n3, which leads a participant, is cut off from n1, ends, and comes back: it
    leads again, and nobody tells it of the decision for a while."""

    copies = 2

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.has_transactions = True
        self._is_armed = False
        for node in self.nodes.values():
            node.stop_chance = 0.0
        self.transacting.watch.on_record = self._recorded

    def _replicas(self, pid: int) -> tuple[str, ...]:
        return (("n1", "n2"), ("n3", "n2"), ("n2", "n3"))[pid - 1]

    def _nemesis(self) -> None:
        self._when(self._is_well, self._arm)

    def _is_well(self) -> bool:
        leaders = [entry.leader for entry in self.control.map.entries.values()]
        return [leader and leader.node for leader in leaders] == ["n1", "n3", "n2"]

    def _arm(self) -> None:
        self._is_armed = True

    def _recorded(self, kind: type) -> None:
        decided = list(self.transacting.watch.decided.values())[-1:] if kind is Decided and self._is_armed else []
        if self._loading and any(one.txn.primary == 1 and 2 in {pid for pid, _, _ in one.prepares} for one in decided):
            self._is_armed = False
            self.world.at(0, self._cut_off)

    def _cut_off(self) -> None:
        rng = self.world.rng
        self.transacting.clients.kill_gateways()
        self.network.cut("n1", "n3")
        self.network.cut("n3", "n1")
        self._kill("n3")
        self.world.at(rng.uniform(1, 100), lambda: self._restart("n3"))
        self.world.at(rng.uniform(1000, 4000), self.network.mend)
        self.world.at(rng.uniform(4000, 5000), self._nemesis)
