"""Keys that change their partition while copies change their nodes: all of `transfers` and of `moves` at once.

Two real controls make, move, replace and give up copies; when keys change their partition is left to chance, also where
a real control would wait until no copy moves.
"""

from __future__ import annotations

from unittest.mock import patch

import msgspec
from simulation import scenario, transfers
from simulation.control import run_now
from simulation.controls import SimControls
from simulation.moves import FOUR, Moves
from simulation.transfers import Transfers

from cluster.cluster_map import PutKeyspace
from cluster.control.reshaping import Reshaping


class MovingKeys(Transfers, Moves):
    """Transfers under the controls, the nodes and the operator of `Moves`."""

    def _new_control(self) -> SimControls:
        return Moves._new_control(self)

    def run(self) -> None:
        with (
            patch.object(Reshaping, "advance", lambda *_: []),
            patch.object(Reshaping, "tick", lambda *_: []),
            patch.object(transfers, "NODES", FOUR),
        ):
            super().run()

    def _place(self) -> None:
        super()._place()
        stands = self.control.map.keyspaces["default"]
        while self.control.map.keyspaces["default"].strategy != "range":
            run_now(self.control.store.apply([PutKeyspace(msgspec.structs.replace(stands, strategy="range"), stands)]))

    def _note_boots(self) -> None:
        """The controls do that."""

    def _calm_down(self) -> None:
        """Copies come to rest from the moment of healing on, keys a little later."""
        if self.world.now_ms >= scenario.LOAD_MS + transfers.CALM_MS:
            Transfers._calm_down(self)
        Moves._calm_down(self)
