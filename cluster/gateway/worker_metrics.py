"""What a worker tells of what it counts, and shows of its whole gateway.

Guarantees: what it shows holds its own counts as they are, and those of each other worker as they were `TELL_S` ago at
the longest, while neither is held up; it never falls. Leaves to others: counting (`metrics`), adding up (`counts`).
"""

from __future__ import annotations

import asyncio

from cluster.control.remote import RemoteControl
from cluster.gateway.counts import decode, encode
from cluster.gateway.metrics import Metrics, render_all

TELL_S = 1.0


class WorkerMetrics:
    """Args:
    metrics: of this process.
    control: where all workers tell theirs.
    worker: the name of this one.
    """

    def __init__(self, metrics: Metrics, control: RemoteControl, worker: str) -> None:
        self._metrics = metrics
        self._control = control
        self._worker = worker

    async def text(self) -> bytes:
        """What the whole gateway counted."""
        return render_all(decode(await self._control.all_counts(self._told())))

    async def keep_telling(self) -> None:
        """Tell what this process counts, until cancelled."""
        while True:
            self.tell()
            await asyncio.sleep(TELL_S)

    def tell(self) -> None:
        """Tell what this process has counted so far."""
        self._control.tell_counts(self._told())

    def _told(self) -> bytes:
        return encode(self._metrics.counts(self._worker))
