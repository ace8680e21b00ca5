"""Makes the digests that verify records ask for.

Guarantees: a snapshot is opened in the very moment in which it is asked for; digests are made on the event loop in
slices that hold it for about `SLICE_S`, one after the other, with pauses in which others are served; a partition has
one snapshot open at most, for nobody waits for digests of its former state, and all together have `OPEN_MAX`;
snapshots are closed in any case. Leaves to others: what is digested (`bucket_digests`), and what becomes of it
(`verification`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable

import structlog

from kvstore.effects import TakeDigests
from kvstore.replication.bucket_digests import BucketDigests
from kvstore.storage.engine import Engine, Snapshot
from kvstore.storage.records import DamagedRow

SLICE_S = 0.001
PAUSE_S = 0.004
OPEN_MAX = 64

Made = Callable[[TakeDigests, BucketDigests | None, str], None]

log = structlog.get_logger("node")


class Digester:
    """Args: made: is told what became of each that was begun, but after `close`, or where another took its place."""

    def __init__(self, engine: Engine, made: Made) -> None:
        self._engine = engine
        self._made = made
        self._waiting: deque[tuple[TakeDigests, BucketDigests, Snapshot]] = deque()
        self._task: asyncio.Task[None] | None = None

    def begin(self, asked: TakeDigests) -> None:
        """Open the snapshot now, and digest it, in place of one of the same partition that is not done."""
        self._drop(asked.pid)
        if len(self._waiting) >= OPEN_MAX:
            self._made(asked, None, f"{OPEN_MAX} other copies are being digested there")
            return
        view = self._engine.snapshot()
        self._waiting.append((asked, BucketDigests(asked.prefix, view, asked.buckets), view))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _drop(self, pid: int) -> None:
        for one in [one for one in self._waiting if one[0].pid == pid]:
            self._waiting.remove(one)
            one[2].close()

    async def close(self) -> None:
        """Stop, and close every snapshot."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._waiting:
            self._waiting.popleft()[2].close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                self._slice()
                await asyncio.sleep(PAUSE_S)
        finally:
            self._task = None

    def _slice(self) -> None:
        """Go on with the first that waits; it goes to the end of the queue until it is done."""
        asked, digests, view = self._waiting[0]
        started, is_done, failure = time.perf_counter(), False, ""
        try:
            while not is_done and time.perf_counter() - started < SLICE_S:
                is_done = digests.step()
        except DamagedRow as error:
            failure = str(error)
        except Exception as error:  # The engine cannot read the copy: its leader is to be told, and the others go on.
            failure = repr(error)
        if not is_done and not failure:
            self._waiting.rotate(-1)
            return
        self._waiting.popleft()
        view.close()
        if failure:
            log.error("digest_failed", partition=asked.pid, reason=failure)
        self._made(asked, None if failure else digests, failure)
