"""Imports by the client: a stream that is sent once, however long that takes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from fakes.gateway import Gateway, cut

from kvstore.client import Client
from kvstore.errors import NoLeader, OutcomeUnknown


async def test_an_import_is_streamed_and_sent_once_only(gateway: Gateway) -> None:
    bodies: list[bytes] = []

    async def take(request: web.BaseRequest) -> web.Response:
        bodies.append(await request.read())
        if len(bodies) == 1:
            return web.Response(body=b'{"imported":2}')
        problem = {"status": 503, "code": "no_leader", "detail": "no", "imported": 1, "line": 2}
        return web.Response(status=503, body=json.dumps(problem))

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"on", b"e\n", b"two\n"):
            yield piece

    gateway.handler = take
    async with Client(gateway.url) as client:
        assert await client.import_(pieces()) == 2
        with pytest.raises(NoLeader) as caught:
            await client.import_(pieces())
    assert caught.value.numbers == {"imported": 1, "line": 2}
    assert bodies == [b"one\ntwo\n"] * 2


async def test_an_import_waits_for_a_connection_for_as_long_as_other_calls_have_them(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvstore.client.keys.CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setattr("kvstore.client.transport.CONNECT_TIMEOUT_S", 0.05)
    may_answer = asyncio.Event()

    async def take(request: web.BaseRequest) -> web.Response:
        await request.read()
        await may_answer.wait()
        return web.Response(body=b'{"imported":1}')

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one\n"

    gateway.handler = take
    async with Client(gateway.url, connections_max=1) as client:
        both = [asyncio.ensure_future(client.import_(pieces())) for _ in range(2)]
        await asyncio.wait(both, timeout=0.3)
        may_answer.set()
        assert await asyncio.gather(*both) == [1, 1]


async def test_an_import_that_is_cut_has_an_unknown_outcome(gateway: Gateway) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"

    gateway.handler = cut
    async with Client(gateway.url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.import_(pieces())
    assert len(gateway.asked) == 1


async def test_an_import_may_take_longer_than_other_calls(gateway: Gateway) -> None:
    async def take(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=b'{"imported":1}')

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0.05)
            yield b"x"

    gateway.handler = take
    async with Client(gateway.url, timeout_s=0.1) as client:
        assert await client.import_(pieces()) == 1
