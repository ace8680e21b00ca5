"""What happens to a cluster while it is harmed: leaders and in-sync sets that change, partitions that are split and
merged, locks that stay, and what its nodes count.

Guarantees: each change that stands for as long as a look takes is counted once. Leaves to others: judging (`locks`).
"""

from __future__ import annotations

import asyncio
import re
import time
import urllib.error
from collections import Counter
from typing import Any

from probe.keyspace import pids_of
from probe.locks import LockAges
from probe.processes import ask
from probe.reshaped import Reshaped
from probe.rig import Rig

LOOK_S = 0.3
LOCKS_S = 0.5
METRICS_S = 2.0
STORED_RESULTS = "retries that met a stored result"
# Counters of nodes, as they are told; one that this version does not have is left out.
COUNTED = {
    "kvstore_node_stored_results_total": STORED_RESULTS,
    "kvstore_node_cut_tails_total": "tails cut",
    "kvstore_node_backfills_total": "copies begun anew",
    "kvstore_alarms_total": "alarms",
}
COUNTER = re.compile(r"^(\w+_total) (\S+)$", re.MULTILINE)


class Watch:
    """Use it as `async with Watch(rig) as watch`."""

    def __init__(self, rig: Rig) -> None:
        self.leaders = 0
        self.in_sync = 0
        self.moves: set[int] = set()
        self.locks = LockAges()
        self.reshaped = Reshaped()
        self.is_link_harmed = False
        self._rig = rig
        self._entries: dict[int, tuple[str, frozenset[str]]] = {}
        self._counted: dict[tuple[int, str], float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Watch:
        watching = (self._look(), self._count(), self._look_at_locks(), self._look_at_keyspaces())
        self._tasks = [asyncio.create_task(one) for one in watching]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check(self) -> None:
        """Raises what is wrong already."""
        for task in self._tasks:
            if task.done():
                task.result()

    def counted(self) -> dict[str, int]:
        """What the nodes counted, over all their starts."""
        sums: Counter[str] = Counter()
        for (_, name), value in self._counted.items():
            sums[COUNTED[name]] += int(value)
        return dict(sums)

    def note(self, status: dict[str, Any]) -> None:
        """Compare with what was seen last."""
        self.moves.update(move["id"] for move in status["moves"])
        self.locks.see_leaders({one["id"]: one["leader"] for one in status["partitions"]}, time.monotonic())
        for one in status["partitions"]:
            if one["leader"] is None:
                continue
            now = (one["leader"], frozenset(one["in_sync"]))
            before = self._entries.setdefault(one["id"], now)
            self.leaders += before[0] != now[0]
            self.in_sync += before[1] != now[1]
            self._entries[one["id"]] = now

    async def _look(self) -> None:
        while True:
            status = await self._rig.status()
            if status is not None:
                self.note(status)
            await asyncio.sleep(LOOK_S)

    async def _look_at_locks(self) -> None:
        while True:
            now_s = time.monotonic()
            found = await self._rig.prepared()
            if found is None or self.is_link_harmed:
                self.locks.excuse(time.monotonic())
            if found is not None:
                self.locks.see(found["prepared"], found["missing"], now_s)
            await asyncio.sleep(LOCKS_S)

    async def look_at_keyspaces(self) -> None:
        """See which partitions each keyspace has now."""
        for name in self._rig.layout.keyspaces:
            found = await self._rig.keyspace(name)
            if found is not None:
                self.reshaped.see(name, pids_of(found))

    async def _look_at_keyspaces(self) -> None:
        while True:
            await self.look_at_keyspaces()
            await asyncio.sleep(LOOK_S)

    async def _count(self) -> None:
        while True:
            for node in list(self._rig.nodes.values()):
                if node.is_running and node.address:
                    await self._count_node(node.pid, node.address)
            await asyncio.sleep(METRICS_S)

    async def _count_node(self, pid: int, address: str) -> None:
        try:
            answer = await asyncio.to_thread(ask, f"http://{address}/metrics", "GET", timeout_s=1.0)
        except (urllib.error.URLError, OSError):
            return
        for name, value in COUNTER.findall(answer.body.decode()):
            if name in COUNTED:
                self._counted[pid, name] = float(value)
