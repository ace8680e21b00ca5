"""HTTP on a node's port: health, readiness and metrics, for probes and scrapers.

Guarantees: no route that reads or changes data; at most `connections_max` connections, of which the oldest gives way to
a newcomer; each has one answer, and ends after `life_s` at the latest, whatever was sent or read by then. Leaves to
others: the RPC on the same port (`rpc.server`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

CONNECTIONS_MAX = 64
LIFE_S = 10.0


class _BoundedServer(web.Server):
    """aiohttp's has no bound on connections, nor on the time that a request's head or an answer may take."""

    def __init__(
        self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], connections_max: int, life_s: float
    ) -> None:
        # aiohttp would log a traceback for every connection whose bytes are neither RPC nor HTTP.
        super().__init__(answer, access_log=None, logger=logging.Logger("node.http", logging.CRITICAL + 1))
        self._connections_max = connections_max
        self._life_s = life_s
        # In the order in which they came.
        self._ends: dict[web.RequestHandler, tuple[asyncio.Transport, asyncio.TimerHandle]] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self._ends) >= self._connections_max:
            self._forget(next(iter(self._ends))).abort()
        self._ends[handler] = (transport, asyncio.get_running_loop().call_later(self._life_s, transport.abort))

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if handler in self._ends:
            self._forget(handler)

    def _forget(self, handler: web.RequestHandler) -> asyncio.Transport:
        transport, timer = self._ends.pop(handler)
        timer.cancel()
        return transport


def http_fallback(
    is_ready: Callable[[], bool],
    metrics: Callable[[], bytes],
    connections_max: int = CONNECTIONS_MAX,
    life_s: float = LIFE_S,
) -> Callable[[], asyncio.Protocol]:
    """A factory of protocols that answer GET /healthz, /readyz and /metrics."""

    def answer(request: web.BaseRequest) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            ready = is_ready()
            return web.Response(status=200 if ready else 503, text="ready\n" if ready else "not admitted yet\n")
        if request.path == "/metrics":
            return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4"})
        return web.Response(status=404, text="this port speaks the RPC of nodes; the HTTP API is at the gateway\n")

    async def answer_once(request: web.BaseRequest) -> web.StreamResponse:
        response = answer(request)
        response.force_close()
        return response

    server = _BoundedServer(answer_once, connections_max, life_s)
    return lambda: server()
