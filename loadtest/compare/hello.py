"""The plainest aiohttp application that answers what a gateway is asked: the measure of `ratio_check`.

Guarantees: its first line is `ready URL`; a GET is answered with the value, a PUT's body is read and forgotten. Leaves
to others: storing anything.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from compare.filling import value_of_size

VALUE = value_of_size(100)


async def get(_request: web.Request) -> web.Response:
    return web.Response(body=VALUE)


async def put(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=201)


async def serve() -> None:
    application = web.Application()
    application.router.add_get("/v1/kv/{key}", get)
    application.router.add_put("/v1/kv/{key}", put)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    print(f"ready http://{host}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
