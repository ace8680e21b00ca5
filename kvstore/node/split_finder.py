"""Answers where a partition is best cut.

Guarantees: rows are read on the event loop in slices that hold it for about `SLICE_S`, with pauses in which others are
served, of one partition at a time; each slice has a view of its own. A leadership that ends meanwhile, and who does not
wait any more, are noticed. Leaves to others: the point (`heat`), who asks (`service`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

import structlog

from kvstore.heat.middle import MiddleKey
from kvstore.heat.split_point import SplitPoint
from kvstore.messages import Failed, Fault, FindSplit, SplitBy, SplitFound
from kvstore.partitions import Partitions
from kvstore.reads import find_leader
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection
from kvstore.storage.engine import Engine

SLICE_S = 0.001
PAUSE_S = 0.004
WAITING_MAX = 1024

OVERLOADED = Fault("overloaded", "too many such questions wait for this node")
BROKEN = Fault("internal", "the node cannot read a row of this partition; its log says more")
GONE = SplitPoint(None, "who asked does not wait for it")
IN_TRANSFER = SplitPoint(None, "keys come to it or leave it")

Asker = tuple[Connection, int]

log = structlog.get_logger("node")


class SplitFinder:
    """Args: engine, partitions: of the node."""

    def __init__(self, engine: Engine, partitions: Partitions) -> None:
        self._engine = engine
        self._partitions = partitions
        self._waiting: deque[tuple[Asker, FindSplit]] = deque()
        self._task: asyncio.Task[None] | None = None

    def ask(self, connection: Connection, call: int, asked: FindSplit) -> None:
        """Control asks."""
        answer = self._at_once(asked)
        if answer is not None:
            _answer((connection, call), answer)
        elif len(self._waiting) >= WAITING_MAX:
            _answer((connection, call), OVERLOADED)
        else:
            self._waiting.append(((connection, call), asked))
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop; who waits gets no answer."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._waiting.clear()

    def _at_once(self, asked: FindSplit) -> SplitPoint | Fault | None:
        """The answer, unless rows have to be read for it."""
        found = find_leader(self._partitions.by_pid, asked.pid, asked.ver)
        if isinstance(found, Fault):
            return found
        entry = found[0].copy.entry
        if entry is not None and entry.transfer is not None:
            return IN_TRANSFER
        return self._partitions.heat.split_point(asked) if asked.by is SplitBy.LOAD else None

    async def _run(self) -> None:
        try:
            while self._waiting:
                asker, asked = self._waiting.popleft()
                try:
                    answer = await self._middle(asker[0], asked)
                except Exception as error:  # The engine cannot read the copy: control is to be told, others go on.
                    log.error("split_point_failed", partition=asked.pid, reason=repr(error))
                    answer = BROKEN
                _answer(asker, answer)
        finally:
            self._task = None

    async def _middle(self, connection: Connection, asked: FindSplit) -> SplitPoint | Fault:
        middle: MiddleKey | None = None
        while connection.is_open:
            answer = self._at_once(asked)
            if answer is None:
                if middle is None:
                    copy = self._partitions.by_pid[asked.pid].copy
                    middle = MiddleKey(copy.prefix, copy.prefix_end, copy.contents.size_bytes)
                answer = self._slice(middle)
            if answer is not None:
                return answer
            await asyncio.sleep(PAUSE_S)
        return GONE

    def _slice(self, middle: MiddleKey) -> SplitPoint | None:
        view, end_s = self._engine.snapshot(), time.perf_counter() + SLICE_S
        try:
            point = middle.step(view)
            while point is None and time.perf_counter() < end_s:
                point = middle.step(view)
        finally:
            view.close()
        return point


def _answer(asker: Asker, answer: SplitPoint | Fault) -> None:
    connection, call = asker
    body = Failed(answer) if isinstance(answer, Fault) else SplitFound(answer.key, answer.reason)
    connection.answer(call, body, PRIORITY_CONTROL)
