"""The bound of a cache is one of bytes, and of memory."""

from __future__ import annotations

import gc
import tracemalloc

from fakes.clock import Clock
from fakes.stored import StoredGateway

from kvstore.client import Client
from kvstore.client.read_cache import ReadCache

MIB = 1024 * 1024


async def test_the_least_recently_read_make_room_and_what_is_too_large_is_not_kept(
    stored: StoredGateway, clock: Clock
) -> None:
    stored.fill(b"a", b"b", b"c")
    for kept in stored.keys.values():
        kept.value = bytes(28_000)
    stored.put(b"large", bytes(100_000))
    cache = ReadCache(100_000, clock=clock)
    async with Client(stored.url, cache=cache) as client:
        for key, asked in (("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 3), ("large", 4), ("large", 5)):
            await client.get(key, max_stale=60)
            assert (key, len(stored.asked)) == (key, asked)
        stored.put(b"d", bytes(28_000))
        for key, asked in (("a", 5), ("d", 6), ("a", 6), ("b", 6), ("c", 7)):
            await client.get(key, max_stale=60)
            assert (key, len(stored.asked)) == (key, asked)
            assert cache.responses.bytes_held <= 100_000


async def test_the_bound_is_one_of_memory(stored: StoredGateway) -> None:
    stored.fill(*(b"key %d" % number for number in range(600)))
    cache = ReadCache(MIB)
    async with Client(stored.url, cache=cache) as client:
        await client.get("key 0", max_stale=60)
        gc.collect()
        tracemalloc.start()
        for number in range(600):
            await client.get(f"key {number}", max_stale=60)
        stored.asked.clear()
        stored.statuses.clear()
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert await cache.responses.size() > 200
    assert taken < MIB
