"""The HTTP listener's connections: how many there may be, how long each may take, and how they end.

Guarantees: at most `connections_max` in all and `connections_per_address_max` per client address; every phase of a
connection has a deadline, checked by one timer for all; `stop` lets running requests finish, within a bound. Leaves
to others: binding the socket (`app`) and what a request means (the handler).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy

from cluster.gateway.answer import Answer, Renderer
from cluster.gateway.fast_lane import FastLane
from cluster.gateway.fast_pages import FastPages
from cluster.gateway.fast_protocol import FastProtocol
from cluster.gateway.http_protocol import HttpProtocol
from cluster.gateway.http_request import Budget, Request
from cluster.gateway.settings import GatewaySettings
from kvstore.errors import KvError, OperatorError

Handler = Callable[[Request], Awaitable[Answer]]
Observer = Callable[[str, str, float], None]

CLOSE_S = 0.02


def check_parser() -> None:
    """Refuse to serve with aiohttp's pure Python parser.

    Raises:
        OperatorError: aiohttp was installed without its C extensions.
    """
    if HttpRequestParser is HttpRequestParserPy:
        raise OperatorError("aiohttp is installed without its C parser; install a wheel with extensions")


class HttpServer:
    """Makes a protocol per connection and watches over them.

    Args:
        handler: answers one request; a `KvError` it raises becomes a problem.
        observe: told of each answer: operation, outcome, seconds.
        lane, pages: the short ways of the plainest requests, None where all go the long way.
    """

    def __init__(
        self,
        handler: Handler,
        settings: GatewaySettings,
        observe: Observer,
        lane: FastLane | None = None,
        pages: FastPages | None = None,
    ) -> None:
        self._lane = lane
        self._pages = pages
        self.handler = handler
        self.settings = settings
        self.observe = observe
        self.budget = Budget(settings.in_flight_bytes_max)
        self.renderer = Renderer() if lane is None else lane.renderer
        self.is_stopping = False
        self._loop = asyncio.get_running_loop()
        self._connections: set[HttpProtocol] = set()
        self._per_address: Counter[str] = Counter()
        self._log = structlog.get_logger()
        deadlines_s = (settings.header_timeout_s, settings.body_timeout_s, settings.idle_timeout_s)
        self._watch_s = min(1.0, *(deadline_s / 4 for deadline_s in deadlines_s))
        self._timer = self._loop.call_later(self._watch_s, self._watch)

    def __call__(self) -> HttpProtocol:
        """The factory that `loop.create_server` wants."""
        if self._lane is None or self._pages is None:
            return HttpProtocol(self, self._loop)
        return FastProtocol(self, self._loop, self._lane, self._pages)

    @property
    def connections_count(self) -> int:
        return len(self._connections)

    def admit(self, connection: HttpProtocol) -> bool:
        self._connections.add(connection)
        self._per_address[connection.address] += 1
        return (
            len(self._connections) <= self.settings.connections_max
            and self._per_address[connection.address] <= self.settings.connections_per_address_max
        )

    def forget(self, connection: HttpProtocol) -> None:
        if connection in self._connections:
            self._connections.discard(connection)
            self._per_address[connection.address] -= 1
            if not self._per_address[connection.address]:
                del self._per_address[connection.address]

    def report(self, asked: tuple[str, str] | None, error: Exception) -> None:
        told = {} if asked is None else {"method": asked[0], "target": asked[1][:200]}
        # A log that cannot be written must not cost the answer.
        with contextlib.suppress(OSError, ValueError):
            if isinstance(error, KvError):
                self._log.warning("request failed", **told, code=error.code, detail=error.detail)
            else:
                self._log.error("request broke", **told, exc_info=error)

    async def stop(self) -> None:
        """Answer new requests with 503, wait for running ones, then end every connection."""
        self.is_stopping = True
        for connection in self._connections:
            connection.stop_stream()
        running = [task for connection in self._connections if (task := connection.serving_task) is not None]
        if running:
            await asyncio.wait(running, timeout=self.settings.stop_timeout_s)
        self._timer.cancel()
        for connection in list(self._connections):
            connection.close_when_idle()
        await asyncio.sleep(CLOSE_S)
        for connection in list(self._connections):
            connection.abort()

    def _watch(self) -> None:
        now_s = self._loop.time()
        for connection in list(self._connections):
            connection.check_deadline(now_s)
        self._timer = self._loop.call_later(self._watch_s, self._watch)
