"""A server in a gateway's place that answers what a test tells it to.

Guarantees: it keeps method and path of all that it was asked, in order. Leaves to others: every answer.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Gateway:
    """Answers with `handler`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.handler: Handler | None = None
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.method, request.raw_path))
        assert self.handler is not None
        return await self.handler(request)


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Let it listen, at a port that the system chooses."""
    runner = web.ServerRunner(web.Server(gateway.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    gateway.url = f"http://{host}:{port}"
    try:
        yield gateway
    finally:
        await runner.cleanup()


def refuse(code: str, status: int, **headers: str) -> web.Response:
    return web.Response(status=status, body=json.dumps({"code": code, "detail": code}), headers=dict(headers))


async def cut(request: web.BaseRequest) -> web.Response:
    """Read the request, then end the connection without an answer."""
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
