"""Telling primaries which of their transactions all participants have carried out.

Guarantees: names go to whoever leads their primary, many in one message, a moment after they came. Leaves to others:
names that are lost on the way (the primary asks).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.gateway.links import NodeLinks
from kvstore.map_values import Entry
from kvstore.messages import TxnName, TxnsFinished

PAUSE_S = 0.2
NAMES_MAX = 16_384
MESSAGE_NAMES_MAX = 1024


class FinishedNames:
    """Args: entry_of: the newest map entry of a partition."""

    def __init__(self, links: NodeLinks, entry_of: Callable[[int], Entry | None]) -> None:
        self._links = links
        self._entry_of = entry_of
        self._names: list[TxnName] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def add(self, name: TxnName) -> None:
        """All participants of this one are done."""
        if len(self._names) >= NAMES_MAX:
            return
        self._names.append(name)
        if self._timer is None:
            self._timer = self._loop.call_later(PAUSE_S, self._send)

    def close(self) -> None:
        """Send what there is, and nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._send()

    def _send(self) -> None:
        self._timer = None
        names, self._names = self._names, []
        by_node: dict[str, list[TxnName]] = {}
        for name in names:
            entry = self._entry_of(name.primary)
            if entry is not None and entry.leader is not None:
                by_node.setdefault(entry.leader.node, []).append(name)
        for node, told in by_node.items():
            for start in range(0, len(told), MESSAGE_NAMES_MAX):
                self._links.tell(node, TxnsFinished(told[start : start + MESSAGE_NAMES_MAX]))
