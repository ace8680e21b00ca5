"""Where the cluster map is kept: the contract of all map stores.

Guarantees of every store: `apply` decides each change by its guard alone and makes all that landed durable before it
returns; a partition uid is handed out once, and so is a window for ids. A store is asked one thing at a time. Leaves
to others: which change to propose, and what to do about a conflict or an unknown outcome. One contract suite holds
every store to this. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cluster.cluster_map import Change, ClusterMap
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.errors import OperatorError
from kvstore.messages import MapUpdate


class Outcome(Enum):
    """What became of a change. `UNKNOWN`: it landed, or may still land, or never will.

    Proposing the very same change again settles an unknown outcome: either it lands now, and then the first cannot
    land any more, or it meets what stands at a higher version.
    """

    LANDED = "landed"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"


class StoreUnavailable(Exception):
    """The store does not answer; what was asked of it may have been done, or may still be."""


class StoreRefused(OperatorError):
    """The store has understood and will never carry that out; nothing was changed."""


@dataclass(frozen=True)
class Applied:
    """One outcome per change, and what now stands for every change whose outcome is known, and may be for others."""

    outcomes: tuple[Outcome, ...]
    current: MapUpdate


class MapStore(Protocol):
    """Durable home of one cluster's map.

    Where it is shared by several gateways, `load`, `may_plan` and what hands out numbers raise `StoreUnavailable` while
    it does not answer, and `apply` calls every outcome unknown; changes that are too large for it raise `StoreRefused`.
    What makes it useless for good raises `OperatorError`.
    """

    async def load(self) -> ClusterMap:
        """The map as it stands, the same object where nothing changed; a new store draws the cluster id."""
        ...

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """Propose changes, in order, in one durable transaction; each lands or fails alone."""
        ...

    async def allocate_pids(self, count: int) -> int:
        """Reserve `count` partition uids that were never handed out; returns the first of a dense range."""
        ...

    async def draw_incarnation(self) -> int:
        """A number for a gateway's process, higher than any that was drawn before."""
        ...

    async def draw_id_window(self, asked: DrawIdWindow) -> IdWindow:
        """A window for ids (`id_windows`), durably handed out when this returns."""
        ...

    async def may_plan(self) -> bool:
        """Whether this process is the one that should make plans. Only a hint: two may be told so for a while."""
        ...

    async def close(self) -> None:
        """Release the store; nothing may be proposed afterwards."""
        ...
