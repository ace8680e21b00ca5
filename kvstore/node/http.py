"""HTTP on a node's port: health, readiness and metrics, for probes and scrapers.

Guarantees: no route that reads or changes data. Leaves to others: the RPC on the same port (`rpc.server`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

KEEPALIVE_S = 75.0


def http_fallback(is_ready: Callable[[], bool], metrics: Callable[[], bytes]) -> Callable[[], asyncio.Protocol]:
    """A factory of protocols that answer GET /healthz, /readyz and /metrics."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
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

    # aiohttp would log a traceback for every connection whose bytes are neither RPC nor HTTP.
    silent = logging.Logger("node.http", logging.CRITICAL + 1)
    server = web.Server(answer, access_log=None, logger=silent, keepalive_timeout=KEEPALIVE_S)
    return lambda: server()
