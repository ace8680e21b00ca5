"""Answers scans and counts.

Guarantees: the view of each is opened in the turn that captures what is newer, and is closed as soon as the page is
made: nothing is held while it is sent. Pages are made on the event loop, in slices that hold it for about `SLICE_S`
each, in turns where there are several; one that fits into a slice is answered at once, and one of which a look is
enough also beside those that wait. Where a page meets keys whose time is over their end is committed first, and the
page made anew; so it is with keys that a transaction may have changed, behind a fence, or else their partition is named
as locked. What nobody waits for any more is dropped. Leaves to others: what is in a page (`scan`), who asks
(`service`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Protocol

import structlog

from kvstore.clock import Clock
from kvstore.instant import Instant
from kvstore.messages import Counted, CountKeys, Failed, Fault, ReadOne, Scan, Scanned
from kvstore.node.metrics import NodeMetrics
from kvstore.node.pending import PendingScan
from kvstore.partitions import Partitions
from kvstore.replication.answers import LATER
from kvstore.rpc.connection import Connection
from kvstore.scan.capture import Captured, CapturedPart, DamagedPart, Within, capture
from kvstore.scan.count import KeyCount
from kvstore.scan.page import ScanPage
from kvstore.scan.page_at_once import is_small, page_at_once
from kvstore.storage.engine import Engine, Snapshot
from kvstore.txn.fences import Fence
from kvstore.txn.log_end import LOCKED
from kvstore.txn.transactions import KEY_WAIT_MS

SLICE_S = 0.001
WAITING_MAX = 256
ACTIVE_MAX = 8

OVERLOADED = Fault("overloaded", "too many scans wait for this node")
BROKEN = Fault("internal", "the node cannot read a row of this range; its log says more")

log = structlog.get_logger("node")


class Turns(Protocol):
    """What is needed of the shell."""

    engine: Engine
    partitions: Partitions
    metrics: NodeMetrics
    clock: Clock

    def view(self) -> Snapshot: ...

    def now_after_view(self) -> Instant: ...

    def schedule(self) -> None: ...


class _Job:
    """One question: what was captured for it, and how far its answer is.

    Attributes:
        fence_end_ms: until when it waits for transactions, None before it has to.
        fenced: the partitions with fences of its own.
        locked: the partitions that are not waited for any more.
    """

    def __init__(self, connection: Connection, call: int, asked: Scan | CountKeys, end_s: float) -> None:
        self.connection = connection
        self.call = call
        self.asked = asked
        self.end_s = end_s
        self.fence_end_ms: int | None = None
        self.fenced: set[int] = set()
        self.locked: set[int] = set()
        self._times: dict[int, int] = {}
        self._faults: list[tuple[int, Fault]] = []
        self._view: Snapshot | None = None
        self._made: ScanPage | KeyCount | None = None

    def step(self, turns: Turns) -> bool:
        """Go on; True when the answer is made, or has to wait for the end of keys."""
        made = self._made if self._made is not None else self._begin(turns)
        return made.step()

    def _begin(self, turns: Turns) -> ScanPage | KeyCount:
        asked = self.asked
        self._view = view = turns.engine.snapshot()
        # Read after the view was opened: a lease that holds then covers what the view shows.
        now = turns.clock.now()
        if isinstance(asked, Scan):
            captured, self._faults = self._capture(turns, asked.parts, asked.start, now)
            self._made = ScanPage(captured, view, asked, now.wall_ms)
        else:
            starts = {pid: start for pid, _, start in asked.parts}
            parts = [(pid, ver) for pid, ver, _ in asked.parts]
            captured, self._faults = self._capture(turns, parts, b"", now)
            self._made = KeyCount([(part, starts[part.pid]) for part in captured], view, asked.end)
        return self._made

    def _capture(self, turns: Turns, parts: list[tuple[int, int]], start: bytes, now: Instant) -> Captured:
        asked = [part for part in parts if part[0] not in self.locked] if self.locked else parts
        captured, faults = capture(turns.partitions.by_pid, asked, start, self.asked.end, now, self._times)
        return captured, faults + [(pid, LOCKED) for pid in sorted(self.locked)]

    @property
    def hidden(self) -> list[Within]:
        """Keys that transactions have to leave before there can be an answer."""
        return [] if self._made is None else self._made.hidden

    @property
    def overdue(self) -> list[tuple[CapturedPart, bytes]]:
        """Keys whose end has to be committed before there can be an answer."""
        return [] if self._made is None else self._made.overdue

    def answer(self) -> Scanned | Counted:
        made = self._made
        if isinstance(made, ScanPage):
            return Scanned(made.keys, made.items, made.is_done, self._faults)
        assert made is not None, "answered when it is made"
        return Counted(made.counts, self._faults)

    def forget_times(self) -> None:
        """What is overdue is judged by the time of the next attempt."""
        self._times.clear()

    def reset(self) -> None:
        """Close the view; what was made is dropped."""
        self._made = None
        if self._view is not None:
            self._view.close()
            self._view = None


class Scanner:
    """Args: turns: of the shell."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None

    def ask(self, connection: Connection, call: int, asked: Scan | CountKeys, deadline_ms: int) -> None:
        """A gateway asks; it waits for so long."""
        if isinstance(asked, Scan) and is_small(asked) and self._answer_at_once(connection, call, asked):
            return
        if len(self._jobs) >= WAITING_MAX:
            connection.answer(call, Failed(OVERLOADED))
            return
        self._enqueue(_Job(connection, call, asked, self._loop.time() + deadline_ms / 1000))

    def _answer_at_once(self, connection: Connection, call: int, asked: Scan) -> bool:
        turns = self._turns
        try:
            view = turns.engine.snapshot()
            try:
                page = page_at_once(turns.partitions.by_pid, asked, view, turns.clock.now())
            finally:
                view.close()
        except Exception as error:  # It must not end the connection; whoever looks with care tells what is the matter.
            log.warning("page_at_once_failed", reason=repr(error))
            return False
        if page is None:
            return False
        turns.metrics.scanned += len(page.items)
        connection.answer(call, page)
        return True

    def _enqueue(self, job: _Job) -> None:
        self._jobs.append(job)
        if self._task is None:
            self._slice()
            if self._jobs:
                self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Stop, and close every view."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while self._jobs:
            self._jobs.popleft().reset()

    async def _run(self) -> None:
        try:
            while self._jobs:
                await asyncio.sleep(0)
                self._slice()
        finally:
            self._task = None

    def _slice(self) -> None:
        """Go on with the first job. Until it is done it goes behind the others that have begun: those further back wait
        without a view."""
        job = self._jobs[0]
        started_s = time.perf_counter()
        try:
            if job.connection.is_open and self._loop.time() < job.end_s:
                is_made = job.step(self._turns)
                while not is_made and time.perf_counter() - started_s < SLICE_S:
                    is_made = job.step(self._turns)
                if not is_made:
                    self._jobs.popleft()
                    self._jobs.insert(ACTIVE_MAX - 1, job)
                    return
                self._finish(job)
            else:
                self._answer(job, Failed(OVERLOADED))
        except DamagedPart as error:
            self._stop(error)
            self._loop.call_soon(self._enqueue, job)
        except Exception as error:  # It must not stop the scans of others.
            log.error("scan_failed", reason=repr(error))
            self._answer(job, Failed(BROKEN))
        self._jobs.popleft()
        job.reset()

    def _stop(self, error: DamagedPart) -> None:
        """Stop the copy; it leads no more when the job begins anew."""
        partitions = self._turns.partitions
        partition = partitions.by_pid.get(error.pid)
        if partition is not None:
            partitions.reads.stop(partition, error)
            self._turns.schedule()

    def _finish(self, job: _Job) -> None:
        if job.overdue:
            self._end_overdue(job)
        elif hidden := job.hidden:
            self._wait_for_transactions(job, hidden)
        else:
            answer = job.answer()
            if isinstance(answer, Scanned):
                self._turns.metrics.scanned += len(answer.items)
            self._answer(job, answer)

    def _answer(self, job: _Job, answer: Scanned | Counted | Failed) -> None:
        if job.fenced:
            self._turns.partitions.doubts.lift(job, job.fenced)
            self._turns.schedule()
        job.connection.answer(job.call, answer)

    def _begin_anew(self, job: _Job, waited: PendingScan) -> None:
        job.locked |= waited.locked
        # In a turn of its own: this one would not see that those who wait at a fence may go on.
        self._loop.call_soon(self._enqueue, job)

    def _wait_for_transactions(self, job: _Job, hidden: list[Within]) -> None:
        """Let what is prepared come to its end, and nothing new begin; then the job begins anew. Its fences stay until
        it is answered: what is behind one is not hidden again meanwhile."""
        turns = self._turns
        now = turns.clock.now()
        if job.fence_end_ms is None:
            job.fence_end_ms = now.mono_ms + KEY_WAIT_MS
        wait = PendingScan(lambda: self._begin_anew(job, wait), now.mono_ms)
        for part, start, end in hidden:
            if now.mono_ms >= job.fence_end_ms:
                job.locked.add(part.pid)
                continue
            fence = Fence(job, (wait, part.pid), start, end, job.fence_end_ms)
            if turns.partitions.doubts.fence(fence, part.pid, part.ver) is LATER:
                job.fenced.add(part.pid)
                wait.open_parts += 1
        turns.metrics.queued += wait.open_parts
        turns.schedule()
        if not wait.open_parts:
            wait.send()

    def _end_overdue(self, job: _Job) -> None:
        """Have the leaders commit the end of these keys, as a read of each does; then the job begins anew."""
        turns = self._turns
        view, now = turns.view(), turns.now_after_view()
        ends = PendingScan(lambda: self._begin_anew(job, ends), now.mono_ms)
        for part, key in job.overdue:
            row = turns.partitions.reads.plain((ends, part.pid), ReadOne(part.pid, part.ver, key), view, now)
            ends.open_parts += row is LATER
        turns.metrics.queued += ends.open_parts
        if not ends.open_parts:
            # They are gone, another leads, or the wall clock was set back: by the time of before it might never end.
            job.forget_times()
            ends.send()
