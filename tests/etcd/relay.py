"""What stands between a map store and etcd in a test, and loses or holds what it is told to.

Guarantees: transactions alone are harmed, each by the fault that was set when it came. Leaves to others: etcd itself.
"""

from __future__ import annotations

import asyncio
from enum import Enum

import aiohttp
from aiohttp import web


class Fault(Enum):
    """What happens to a transaction, whose outcome its proposer does not learn."""

    ANSWER_LOST = "it lands"
    REQUEST_LOST = "it never lands"
    LANDS_LATE = "it lands when `land_late` is called"


class Relay:
    """Args: target: `HOST:PORT` of a member."""

    def __init__(self, target: str) -> None:
        self.fault: Fault | None = None
        self.endpoint = ""
        self.target = target
        self._late: list[tuple[str, bytes]] = []
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/v3/{path:.*}", self._relay)
        self._runner = web.AppRunner(application, access_log=None)
        self._session = aiohttp.ClientSession()

    async def listen(self) -> Relay:
        """Begin to accept."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.endpoint = f"{host}:{port}"
        return self

    async def land_late(self) -> None:
        """Let every transaction that was held reach etcd now."""
        late, self._late = self._late, []
        for path, body in late:
            await self._forward(path, body)

    async def close(self) -> None:
        """Cut everything."""
        await self._session.close()
        await self._runner.cleanup()

    async def _relay(self, request: web.Request) -> web.Response:
        path, body = request.path, await request.read()
        fault = self.fault if path.endswith("/txn") else None
        if fault is Fault.LANDS_LATE:
            self._late.append((path, body))
        if fault in (None, Fault.ANSWER_LOST):
            status, answer = await self._forward(path, body)
            if fault is None:
                return web.Response(status=status, body=answer, content_type="application/json")
        assert isinstance(request.transport, asyncio.Transport)
        request.transport.abort()
        return web.Response()

    async def _forward(self, path: str, body: bytes) -> tuple[int, bytes]:
        async with self._session.post(f"http://{self.target}{path}", data=body) as answer:
            return answer.status, await answer.read()
