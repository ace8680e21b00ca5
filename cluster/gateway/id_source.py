"""Where ids come from: a maker of ids, this machine's clock, and control, which hands out windows.

Guarantees: a window is asked for only while ids are, one at a time, and early enough that nobody waits for it while the
map store answers; who has to wait waits no longer than a request may, and is refused then, with nothing done. Leaves to
others: which ids (`ids`), making windows durable (control).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from cluster.control.id_windows import TIME_END_MS
from cluster.control.interface import Control
from cluster.control.messages import DrawIdWindow, IdWindow
from cluster.gateway.ids import EPOCH_MS, IdMaker, worker_of
from kvstore.errors import KvError, NoLeader

# One that waited in vain for long lies in the past when it comes, so one may not be enough.
WINDOWS_MAX = 3


class IdSource:
    """Ids of one worker number.

    Args:
        worker: 10 bits.
        draw_window: asks control for a window.
        now_ms: the wall clock, in milliseconds since the epoch of ids; it may step back.
        timeout_s: how long a request waits for a window.
    """

    def __init__(
        self,
        worker: int,
        draw_window: Callable[[DrawIdWindow], Awaitable[IdWindow]],
        *,
        now_ms: Callable[[], int],
        timeout_s: float,
    ) -> None:
        self._maker = IdMaker(worker)
        self._draw_window = draw_window
        self._now_ms = now_ms
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._renewing: asyncio.Task[KvError | None] | None = None

    async def draw(self, count: int) -> list[int]:
        """So many ids, rising, and higher than all before.

        Raises:
            NoLeader: no window came in time.
            ShuttingDown: control has ended.
        """
        end_s = self._loop.time() + self._timeout_s
        for _ in range(WINDOWS_MAX):
            now_ms = self._now_ms()
            if now_ms >= TIME_END_MS:
                raise NoLeader("no ids: this gateway's clock is beyond the time that ids can tell")
            ids = self._maker.draw(count, now_ms)
            wanted = self._maker.wanted(now_ms)
            if wanted is not None and self._renewing is None:
                self._renewing = self._loop.create_task(self._renew(wanted))
            if ids is not None:
                return ids
            assert self._renewing is not None, "no room means that the windows end soon"
            done, _ = await asyncio.wait((self._renewing,), timeout=max(0.0, end_s - self._loop.time()))
            error = done.pop().result() if done else NoLeader("no ids: the map store does not answer")
            if error is not None:
                raise error
        raise NoLeader("no ids: the windows of time that control hands out do not fit this gateway's clock")

    async def close(self) -> None:
        """Wait for no window any more."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait((self._renewing,))

    async def _renew(self, wanted: DrawIdWindow) -> KvError | None:
        """Take one more window; returns why there is none."""
        try:
            self._maker.take(await self._draw_window(wanted))
        except KvError as error:
            return error
        finally:
            self._renewing = None
        return None


def ids_of(control: Control, incarnation: int, timeout_s: float) -> IdSource:
    """Those of the process that has this incarnation, by this machine's clock."""
    return IdSource(worker_of(incarnation), control.ask, now_ms=_clock_ms, timeout_s=timeout_s)


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000 - EPOCH_MS
