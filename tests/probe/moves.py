"""Copies that move: brought about, watched, slowed down and undone, as an operator does it.

Guarantees: every change of weights is another one than the last, so that something moves each time. Leaves to others:
what is done to the processes meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvstore.client import Client
from kvstore.errors import Conflict, NotFound

LOW, FULL = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class Sight:
    """A move that is not over, as it was seen."""

    id: int
    partition: int
    source: str
    target: str
    step: str

    def __str__(self) -> str:
        return f"move {self.id} of partition {self.partition}, {self.source} to {self.target}"

    def fate(self, status: dict[str, Any]) -> str:
        """What became of it, by the `GET /v1/cluster` in which it is first not to be seen."""
        holders = next(one["replicas"] for one in status["partitions"] if one["id"] == self.partition)
        if self.target not in holders:
            return "rolled back"
        return "both copies stay" if self.source in holders else "done"

    def is_over(self, status: dict[str, Any]) -> bool:
        return all(move["id"] != self.id for move in status["moves"])


class Operator:
    """Args: client: of a gateway, patient enough for its restart; rng: of the nodes whose weights change."""

    def __init__(self, client: Client, nodes: Sequence[str], rng: random.Random) -> None:
        self._client = client
        self._nodes = nodes
        self._rng = rng
        self._light: str | None = None

    async def shift(self) -> str:
        """Make a node lighter, or the one that is light as heavy as before; returns what was done."""
        node, weight = (self._rng.choice(self._nodes), LOW) if self._light is None else (self._light, FULL)
        self._light = node if weight == LOW else None
        await self._client.operate("PATCH", f"nodes/{node}", {"weight": weight})
        return f"{node} has weight {weight}"

    async def moves(self) -> list[Sight]:
        """Those that are not over."""
        view = await self._client.operate("GET", "rebalance")
        return [Sight(one["id"], one["partition"], one["from"], one["to"], one["step"]) for one in view["moves"]]

    async def limit(self, bytes_per_second: int) -> None:
        """Bound what moves carry; 0: no bound."""
        await self._client.operate("PUT", "rebalance", {"max_bytes_per_second": bytes_per_second})

    async def abort(self, move: Sight) -> bool:
        """Have it undone, and all others paused; returns whether it could be."""
        try:
            await self._client.operate("DELETE", f"rebalance/moves/{move.id}")
        except (Conflict, NotFound):
            return False
        return True

    async def resume(self) -> None:
        """Let moves go on."""
        await self._client.operate("POST", "rebalance/resume")

    async def is_all_in_place(self) -> bool:
        """Whether nothing more would be moved."""
        return not (await self._client.operate("POST", "plan", {}))["moves"]
