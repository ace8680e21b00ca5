"""Rules broken on purpose: the suite must find each, or it proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest.mock import patch

import msgspec
from simulation.scenario import Scenario

from kvstore.effects import Send
from kvstore.messages import Append
from kvstore.replication.follower import Follower
from kvstore.replication.peer import Peer

PLANTED = ("ack_before_follower", "no_epoch_check", "fsync_off")


def _ack_before_follower() -> AbstractContextManager[object]:
    """The leader counts rows as held by its followers as soon as they are sent."""
    original = Peer.next_append

    def next_append(self: Peer, *args: object) -> Append | None:
        append = original(self, *args)  # type: ignore[arg-type]
        self.acked = max(self.acked, self._sent_end)
        return append

    return patch.object(Peer, "next_append", next_append)


def _no_epoch_check() -> AbstractContextManager[object]:
    """The follower takes rows of any epoch as if they were of the one it promised."""
    original = Follower.on_append

    def on_append(self: Follower, node: str, message: Append) -> list[Send]:
        return original(self, node, msgspec.structs.replace(message, epoch=self._copy.promised))

    return patch.object(Follower, "on_append", on_append)


def scenario(seed: int, planted: str = "") -> tuple[Scenario, AbstractContextManager[object] | None]:
    """The simulation of one seed, with the rule broken that is named."""
    breakers: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "ack_before_follower": _ack_before_follower,
        "no_epoch_check": _no_epoch_check,
    }
    if planted and planted not in PLANTED:
        raise ValueError(f"no such planted fault: {planted}; there are {', '.join(PLANTED)}")
    breaker = breakers.get(planted)
    return Scenario(seed, honest_disks=planted != "fsync_off"), breaker() if breaker else None
