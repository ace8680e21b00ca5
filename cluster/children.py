"""Child processes: start, notice the end of, start again, stop.

Guarantees: a child that ends after it was ready is started again with growing pauses, and where that fails it is tried
again after the next; one that cannot be started or ends before it was ever ready is reported to who waits for it; one
that may leave (a node, which can have been removed) and ends in order before it is ready has nothing to do any more and
is not started again; after `stop` none is left, a child that does not end in time being killed by its process id. A
child gets no signal of the terminal: who holds a `Child` decides when it stops. Leaves to others: which processes there
are (`up`, `gateway.supervise`), and carrying out `--with-parent` (the command line).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence

STOP_S_MAX = 10.0
PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 10.0
SETTLED_S = 30.0

READY = "ready "


class ChildFailed(Exception):
    """A child ended before it was ready, or could not be started.

    `returncode` is the negative signal number where it was killed, and 0 where there was no process.
    """

    def __init__(self, name: str, end: int | OSError) -> None:
        before = "" if isinstance(end, OSError) else " before it was ready"
        super().__init__(f"{name} {describe_end(end)}{before}")
        self.returncode = 0 if isinstance(end, OSError) else end


def command_of(*arguments: str) -> list[str]:
    """The command line of a `kvstore` process that ends when this one does, however that happens."""
    return [sys.executable, "-m", "cluster.cli.main", *arguments, "--with-parent", str(os.getpid())]


def describe_end(end: int | OSError) -> str:
    """What became of a process: its exit code, or the error that kept it from being started."""
    if isinstance(end, OSError):
        return f"cannot be started: {end.strerror or end}"
    if end < 0:
        return f"was ended by {signal.Signals(-end).name}"
    return f"ended with exit code {end}"


class Child:
    """One process, kept alive; it says on a line of its standard output when it is `ready`, and where.

    Args:
        command: the command line, made anew at each start.
        report: told in one sentence of an end that was not asked for, and of a start that failed.
        stop_s_max: how long it may take to stop, in seconds.
        pass_fds: open files that it gets at each start, under the same numbers.
        may_leave: whether it has nothing to do any more where it ends in order before it is ready; otherwise that is
            one more end to start it again from.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[], Sequence[str]],
        report: Callable[[str], None],
        stop_s_max: float = STOP_S_MAX,
        pass_fds: Sequence[int] = (),
        *,
        may_leave: bool = False,
    ) -> None:
        self.name = name
        self.address = ""
        self._command = command
        self._report = report
        self._stop_s_max = stop_s_max
        self._pass_fds = tuple(pass_fds)
        self._may_leave = may_leave
        self._process: asyncio.subprocess.Process | None = None
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stopping = False
        self._was_ready = False
        self._task = asyncio.create_task(self._keep(), name=f"child-{name}")

    async def ready(self) -> str:
        """Wait for the first `ready` line and return the address it tells, empty where the process may leave and
        ended in order before it.

        Raises:
            ChildFailed: the process ended before it, or could not be started.
        """
        return await asyncio.shield(self._ready)

    async def stop(self) -> None:
        """Ask the process to end, wait, and kill it when it takes too long."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            self._task.cancel()
        else:
            self._signal(process, signal.SIGTERM)
        done, _ = await asyncio.wait({self._task}, timeout=self._stop_s_max)
        if not done and self._process is not None:
            self._report(f"{self.name} did not stop in {self._stop_s_max:g} s and is killed")
            self._signal(self._process, signal.SIGKILL)
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        if not self._ready.cancel() and not self._ready.cancelled():
            # Nobody may have waited for it, and asyncio complains of an error that is not looked at.
            self._ready.exception()

    @staticmethod
    def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_S_MIN
        while not self._stopping:
            started = loop.time()
            end = await self._run()
            if self._stopping:
                return
            if end == 0 and self._may_leave and not self._was_ready:
                if not self._ready.done():
                    self._ready.set_result("")
                return
            if not self._ready.done():
                self._ready.set_exception(ChildFailed(self.name, end))
                return
            pause_s = PAUSE_S_MIN if loop.time() - started > SETTLED_S else pause_s
            self._report(f"{self.name} {describe_end(end)}; starting it again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(PAUSE_S_MAX, pause_s * 2)

    async def _run(self) -> int | OSError:
        self._was_ready = False
        try:
            process = self._process = await self._start()
        except OSError as error:
            return error
        if self._stopping:
            self._signal(process, signal.SIGTERM)
        assert process.stdout is not None
        async for line in _lines(process.stdout):
            text = line.decode("utf-8", "replace").strip()
            if text.startswith(READY):
                self.address = text.removeprefix(READY)
                self._was_ready = True
                if not self._ready.done():
                    self._ready.set_result(self.address)
        return await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._pass_fds,
        )


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a process writes, but for what makes a line too long to be held: that is no word of ours."""
    while True:
        try:
            line = await output.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line
