"""Requests at a fixed rate, whatever the answers do: an open loop over a few kept HTTP connections.

Guarantees: a latency counts from the moment at which its request was due, so requests that had to wait for a
connection or for a slow answer before them show it; each request that was due ends in exactly one count; no request is
sent twice. Leaves to others: what is sent (`request_for`) and what the counts look like (`Tally`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast

import httptools
from latencies import rounded_ms

TICK_S = 0.001
CHECK_S = 0.1
SUCCESSES = frozenset({200, 201, 204})


@dataclass(slots=True)
class Tally:
    """Counts of a stretch of time. A request is sent when it was due, and the rest of it counts when it ended."""

    sent: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, Counter[float]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Take the counts of another stretch in."""
        self.sent += other.sent
        self.ok += other.ok
        self.failed.update(other.failed)
        for kind, counts in other.latencies.items():
            self.latencies.setdefault(kind, Counter()).update(counts)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it goes over the wire. `due_s` is in monotonic seconds."""

    kind: str
    due_s: float
    wire: bytes


class Loop(Protocol):
    """What is told of its connections."""

    def on_idle(self, connection: Connection) -> None: ...
    def on_answer(self, request: Request, failure: str) -> None: ...
    def on_lost(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One kept connection with at most one request on its way."""

    def __init__(self, loop: Loop) -> None:
        self.request: Request | None = None
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._problem = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop.on_idle(self)

    def send(self, request: Request) -> None:
        assert self._transport is not None
        self.request = request
        self._transport.write(request.wire)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() not in SUCCESSES:
            self._problem += body

    def on_message_complete(self) -> None:
        status, problem, self._problem = self._parser.get_status_code(), self._problem, b""
        request, self.request = self.request, None
        if request is not None:
            self._loop.on_answer(request, "" if status in SUCCESSES else f"{status} {_code(problem)}".rstrip())
        if self._parser.should_keep_alive():
            self._loop.on_idle(self)
        else:
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._loop.on_lost(self)


class OpenLoop:
    """Sends requests when they are due, over `connections` connections to one gateway.

    Args:
        host, port: the gateway.
        rates: for each kind of request how many are due in a second, above 0, evenly spread.
        request_for: the bytes of a new request of a kind.
        connections: how many are open; more requests than that wait for one.
        timeout_s: a request that has no answer so long after it was due has failed, and its connection is closed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        rates: Mapping[str, float],
        request_for: Callable[[str], bytes],
        *,
        connections: int,
        timeout_s: float,
    ) -> None:
        self._address = (host, port)
        self._rates = rates
        self._request_for = request_for
        self._connections_max = connections
        self._timeout_s = timeout_s
        self._tally = Tally()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._waiting: deque[Request] = deque()
        self._due = dict.fromkeys(rates, 0)
        self._began_s = 0.0
        self._end_s = 0.0

    @property
    def under_way(self) -> int:
        """How many requests that were due have not ended."""
        return len(self._waiting) + sum(connection.request is not None for connection in self._open)

    def take(self) -> Tally:
        """The counts since the last call."""
        tally, self._tally = self._tally, Tally()
        return tally

    async def run(self, seconds: float) -> None:
        """Send for so many seconds, or until `end`, then wait for the last answers; cancel it to end at once.

        Raises:
            OSError: the gateway cannot be reached at the start.
        """
        await self._connect()
        keeper = asyncio.create_task(self._keep_connected())
        try:
            self._began_s = next_check_s = time.monotonic()
            self._end_s = self._began_s + seconds
            now_s = self._began_s
            while now_s < self._end_s or self.under_way:
                now_s = time.monotonic()
                self._send_due(min(now_s, self._end_s))
                if now_s >= next_check_s:
                    self._fail_late(now_s)
                    next_check_s = now_s + CHECK_S
                await asyncio.sleep(TICK_S)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            for connection in list(self._open):
                connection.abort()

    def end(self) -> None:
        """Let nothing more be due from now on."""
        self._end_s = min(self._end_s, time.monotonic())

    def on_idle(self, connection: Connection) -> None:
        """A connection is free."""
        self._open.add(connection)
        if self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def on_answer(self, request: Request, failure: str) -> None:
        """A request ended; `failure` is empty when it succeeded."""
        if failure:
            self._tally.failed[f"{request.kind} {failure}"] += 1
            return
        self._tally.ok += 1
        counts = self._tally.latencies.setdefault(request.kind, Counter())
        counts[rounded_ms((time.monotonic() - request.due_s) * 1000)] += 1

    def on_lost(self, connection: Connection) -> None:
        """A connection ended, perhaps with a request on its way."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.request is not None:
            self.on_answer(connection.request, "connection lost")
            connection.request = None

    def _send_due(self, until_s: float) -> None:
        for kind, rate in self._rates.items():
            while (due_s := self._began_s + self._due[kind] / rate) < until_s:
                self._due[kind] += 1
                self._tally.sent += 1
                request = Request(kind, due_s, self._request_for(kind))
                if self._idle:
                    self._idle.pop().send(request)
                else:
                    self._waiting.append(request)

    def _fail_late(self, now_s: float) -> None:
        while self._waiting and self._waiting[0].due_s < now_s - self._timeout_s:
            self.on_answer(self._waiting.popleft(), "never sent in time")
        for connection in list(self._open):
            request = connection.request
            if request is not None and request.due_s < now_s - self._timeout_s:
                self.on_answer(request, "no answer in time")
                connection.request = None
                connection.abort()

    async def _connect(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: Connection(self), *self._address)

    async def _keep_connected(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                while len(self._open) < self._connections_max:
                    await self._connect()
            await asyncio.sleep(CHECK_S)


def _code(problem: bytes) -> str:
    try:
        return str(json.loads(problem)["code"])
    except (ValueError, KeyError, TypeError):
        return ""
