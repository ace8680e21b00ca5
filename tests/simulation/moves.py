"""A cluster of four whose nodes are added, removed, drained and come again empty, in the middle of everything else.

One node holds nothing at first. Two real controls plan, move, undo and pause as they are asked to, by an operator who
changes its mind; at the end nobody leaves, and all that are members must be whole, even and at rest.
"""

from __future__ import annotations

from collections import Counter
from math import ceil
from unittest.mock import patch

from simulation import controls, scenario
from simulation.controls import ControlledScenario
from simulation.scenario import COPIES
from simulation.violation import Violation

from cluster.control.messages import AbortMove, ChangeNode, RemoveNode, Request, SetRebalance
from kvstore.map_values import Standing

FOUR = ("n1", "n2", "n3", "n4")
OPERATE_MS = 700
REST_MS = 60_000
EVEN_MS = 45_000


class Moves(ControlledScenario):
    """The scenario with real controls, four nodes and an operator."""

    def __init__(self, seed: int) -> None:
        self.removed = 0
        with patch.object(scenario, "NODES", FOUR):
            super().__init__(seed)

    def run(self) -> None:
        with (
            patch.object(scenario, "NODES", FOUR),
            patch.object(controls, "NODES", FOUR),
            patch.object(scenario, "REST_MS", REST_MS),
        ):
            super().run()

    def _place(self) -> None:
        super()._place()
        self.controls.on_retired = self._begin_anew
        self.world.at(self.world.rng.uniform(0, OPERATE_MS), self._operate)

    def _operate(self) -> None:
        """What an operator may ask for, at any moment and of either control."""
        if not self._loading:
            return
        rng = self.world.rng
        node = rng.choice(FOUR)
        moves = self.control.map.active_moves
        requests: list[Request] = [
            RemoveNode(node),
            RemoveNode(node, force=True),
            ChangeNode(node, draining=True),
            ChangeNode(node, draining=False),
            ChangeNode(node, draining=False),
            ChangeNode(node, weight=rng.choice((0.5, 1.0, 2.0))),
            SetRebalance(paused=rng.random() < 0.2),
        ]
        if moves:
            requests.append(AbortMove(rng.choice(moves).id))
        self.controls.request(rng.choice(requests))
        self.world.at(rng.uniform(0, 2 * OPERATE_MS), self._operate)

    def _begin_anew(self, name: str) -> None:
        """A node that was removed ends, and begins again with an empty disk."""
        partitions = self.nodes[name].partitions
        if partitions is not None and partitions.state.is_retired:
            self.removed += 1
            self.invariants.destroyed |= {partition.copy.name.rid for partition in partitions}
            self._crash(name)
            self.nodes[name].wipe()

    def _heal(self) -> None:
        super()._heal()
        self._calm_down()

    def _calm_down(self) -> None:
        """Nobody leaves any more, everybody weighs the same, and moves may go on."""
        stands = self.control.map
        for name in FOUR:
            info = stands.nodes[name]
            if info.standing is not Standing.REMOVED and (info.standing, info.weight) != (Standing.MEMBER, 1.0):
                self.controls.request(ChangeNode(name, weight=1.0, draining=False))
        if stands.rebalance.is_paused:
            self.controls.request(SetRebalance(paused=False))
        if self.world.now_ms < scenario.LOAD_MS + scenario.REST_MS - EVEN_MS:
            self.world.at(OPERATE_MS, self._calm_down)

    def _check_rest(self) -> None:
        super()._check_rest()
        stands = self.control.map
        if stands.active_moves:
            raise Violation(f"liveness: moves go on after healing: {stands.active_moves}")
        former = [name for name, info in stands.nodes.items() if info.standing is Standing.REMOVED]
        if former:
            raise Violation(f"liveness: {former} were removed and neither ended nor came again")
        members = [name for name, info in stands.nodes.items() if info.standing is not Standing.REMOVED]
        away = [name for name in members if stands.nodes[name].standing is not Standing.MEMBER]
        if away:
            raise Violation(f"liveness: {away} are no members after healing")
        held = Counter(rid.node for entry in stands.entries.values() for rid in entry.replicas)
        if max(held.values()) > ceil(1.05 * len(stands.living) * COPIES / len(members)):
            raise Violation(f"liveness: copies are not even after healing: {held}")
