"""Own writes and the cache: after one, whatever came of it, nothing is given that was read before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from fakes.clock import Clock
from fakes.gateway import cut
from fakes.stored import Gate, StoredGateway

from kvstore.client import Client, Delete, Put
from kvstore.client.read_cache import ReadCache
from kvstore.errors import OutcomeUnknown

MIB = 1024 * 1024


async def pieces() -> AsyncIterator[bytes]:
    yield b""


WRITES: dict[str, Callable[[Client], Awaitable[object]]] = {
    "put": lambda client: client.put("k", b"new"),
    "delete": lambda client: client.delete("k"),
    "batch": lambda client: client.batch([Put("other", b""), Put("k", b"new")]),
    "batch with delete": lambda client: client.batch([Delete("k")]),
    "batch as a document": lambda client: client.batch_document(b'{"ops":[]}'),
    "import": lambda client: client.import_(pieces()),
    "delete_range": lambda client: client.delete_range(prefix="k"),
}


@pytest.mark.parametrize("name", WRITES)
async def test_an_own_write_drops_what_is_cached(
    stored: StoredGateway, client: Client, clock: Clock, name: str
) -> None:
    stored.fill(b"k", b"else")
    for key in ("k", "else"):
        await client.get(key, max_stale=60)
    clock.now_s += 1
    await WRITES[name](client)
    stored.asked.clear()
    clock.now_s += 1
    stored.put(b"k", b"newest")
    assert (await client.get("k", max_stale=60)).data == b"newest"
    await client.get("else", max_stale=60)
    knows_keys = name in {"put", "delete", "batch", "batch with delete"}
    assert len(stored.asked) == (1 if knows_keys else 2)


@pytest.mark.parametrize("name", WRITES)
async def test_so_does_one_whose_outcome_is_unknown(stored: StoredGateway, clock: Clock, name: str) -> None:
    async def lose_writes(request: web.BaseRequest) -> web.StreamResponse:
        return await (stored.answer_of(request) if request.method == "GET" else cut(request))

    stored.fill(b"k")
    stored.handler = lose_writes
    async with Client(stored.url, timeout_s=0.6, cache=ReadCache(MIB, clock=clock)) as client:
        await client.get("k", max_stale=60)
        clock.now_s += 1
        with pytest.raises(OutcomeUnknown):
            await WRITES[name](client)
        stored.put(b"k", b"arrived after all")
        clock.now_s += 1
        assert (await client.get("k", max_stale=60)).data == b"arrived after all"


@pytest.mark.parametrize("name", WRITES)
async def test_a_read_under_way_at_an_own_write_is_not_kept(
    stored: StoredGateway, client: Client, clock: Clock, name: str
) -> None:
    stored.put(b"k", b"old")
    gate = Gate(stored, "GET")
    reading = asyncio.create_task(client.get("k", max_stale=60))
    await gate.arrived.acquire()
    clock.now_s += 0.1
    await WRITES[name](client)
    clock.now_s += 0.1
    gate.open.set()
    assert (await reading).data == b"old"
    stored.put(b"k", b"newest")
    assert (await client.get("k", max_stale=60)).data == b"newest"


async def test_a_read_that_began_during_an_own_write_is_not_kept_after_it(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.copies = {b"k": stored.put(b"k", b"old")}
    gate = Gate(stored, "PUT")
    writing = asyncio.create_task(client.put("k", b"new"))
    await gate.arrived.acquire()
    clock.now_s += 0.1
    assert (await client.get("k", max_stale=60)).data == b"old"
    clock.now_s += 0.1
    gate.open.set()
    await writing
    stored.copies = None
    assert (await client.get("k", max_stale=60)).data == b"new"


async def test_an_answer_of_a_copy_that_may_lack_an_own_write_is_not_kept(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.copies = {b"k": stored.put(b"k", b"old")}
    stored.lag_ms = 700
    await client.put("k", b"new")
    clock.now_s += 0.7
    assert (await client.get("k", max_stale=60)).data == b"old"
    stored.copies = None
    clock.now_s += 0.1
    for _ in range(2):
        assert (await client.get("k", max_stale=60)).data == b"new"
    assert len(stored.asked) == 3


async def test_an_own_write_that_is_cancelled_counts_as_one(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.copies = {b"k": stored.put(b"k", b"old")}
    await client.get("k", max_stale=60)
    gate = Gate(stored, "PUT")
    writing = asyncio.create_task(client.put("k", b"new"))
    await gate.arrived.acquire()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    gate.open.set()
    clock.now_s += 1
    stored.copies = None
    for _ in range(2):
        assert (await client.get("k", max_stale=60)).data == b"new"
    assert [method for method, _ in stored.asked] == ["GET", "PUT", "GET"]
