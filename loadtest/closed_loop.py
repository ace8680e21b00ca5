"""Requests as fast as they are answered: each of some kept HTTP connections has one on its way all the time.

Guarantees: a request is sent once and ends in exactly one count; a latency is from its sending to its answer. Leaves to
others: what is sent, and what an acknowledged request means (`on_ok`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable

from latencies import rounded_ms
from open_loop import Connection, Request, Tally

CHECK_S = 0.1


class ClosedLoop:
    """Args:
    host, port: the gateway.
    next_request: the kind and the bytes of the next request.
    on_ok: is told of each request that succeeded.
    connections: how many there are.
    timeout_s: a request that has no answer so long after it was sent has failed, and its connection is closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        next_request: Callable[[], tuple[str, bytes]],
        on_ok: Callable[[Request], None],
        *,
        connections: int,
        timeout_s: float,
    ) -> None:
        self._address = (host, port)
        self._next_request = next_request
        self._on_ok = on_ok
        self._connections_max = connections
        self._timeout_s = timeout_s
        self._tally = Tally()
        self._open: set[Connection] = set()
        self._is_over = False

    @property
    def under_way(self) -> int:
        """How many requests have not ended."""
        return sum(connection.request is not None for connection in self._open)

    def take(self) -> Tally:
        """The counts since the last call."""
        tally, self._tally = self._tally, Tally()
        return tally

    async def run(self, seconds: float) -> None:
        """Send for so many seconds, then wait for the last answers.

        Raises:
            OSError: the gateway cannot be reached at the start.
        """
        end_s = time.monotonic() + seconds
        await asyncio.get_running_loop().create_connection(lambda: Connection(self), *self._address)
        try:
            while (now_s := time.monotonic()) < end_s or self.under_way:
                self._is_over = now_s >= end_s
                self._fail_late(now_s)
                if not self._is_over:
                    await self._keep_connected()
                await asyncio.sleep(CHECK_S)
        finally:
            self._is_over = True
            for connection in list(self._open):
                connection.abort()

    def on_idle(self, connection: Connection) -> None:
        """A connection is free."""
        self._open.add(connection)
        if not self._is_over:
            self._tally.sent += 1
            kind, wire = self._next_request()
            connection.send(Request(kind, time.monotonic(), wire))

    def on_answer(self, request: Request, failure: str) -> None:
        """A request ended; `failure` is empty when it succeeded."""
        if failure:
            self._tally.failed[f"{request.kind} {failure}"] += 1
            return
        self._tally.ok += 1
        counts = self._tally.latencies.setdefault(request.kind, Counter())
        counts[rounded_ms((time.monotonic() - request.due_s) * 1000)] += 1
        self._on_ok(request)

    def on_lost(self, connection: Connection) -> None:
        """A connection ended, perhaps with a request on its way."""
        self._open.discard(connection)
        if connection.request is not None:
            self.on_answer(connection.request, "connection lost")
            connection.request = None

    def _fail_late(self, now_s: float) -> None:
        for connection in list(self._open):
            request = connection.request
            if request is not None and request.due_s < now_s - self._timeout_s:
                self.on_answer(request, "no answer in time")
                connection.request = None
                connection.abort()

    async def _keep_connected(self) -> None:
        with contextlib.suppress(OSError):
            while len(self._open) < self._connections_max:
                await asyncio.get_running_loop().create_connection(lambda: Connection(self), *self._address)
