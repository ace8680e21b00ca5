"""Cached reads: within their promise, never somebody else's, and never after an own write what was before it."""

from __future__ import annotations

import asyncio
import sys

import pytest
from aiohttp import web
from fakes.clock import Clock
from fakes.stored import Gate, StoredGateway
from yarl import URL

from kvstore.client import Client, SyncClient, Unreachable
from kvstore.client.read_cache import ReadCache
from kvstore.errors import BadParameter, KeyNotFound

MIB = 1024 * 1024


async def test_without_a_cache_every_read_is_asked(stored: StoredGateway) -> None:
    stored.put(b"k", b"v")
    async with Client(stored.url) as plain:
        for _ in range(2):
            assert (await plain.get("k", max_stale=60)).data == b"v"
            assert (await plain.get("k", revalidate=True)).data == b"v"
    assert stored.statuses == [200] * 4


async def test_a_read_is_answered_again_within_lag_and_age(stored: StoredGateway, client: Client, clock: Clock) -> None:
    kept = stored.put(b"k", b"v", content_type="text/plain")
    stored.lag_ms = 500
    first = await client.get("k", max_stale=10)
    stored.put(b"k", b"another's")
    clock.now_s += 1.5
    again = await client.get("k", max_stale=2)
    assert (again.data, again.etag, again.content_type) == (first.data, kept.etag, "text/plain")
    assert (first.lag_ms, again.lag_ms) == (500, 2000)
    assert len(stored.asked) == 1
    clock.now_s += 0.1
    assert (await client.get("k", max_stale=2)).data == b"another's"
    assert len(stored.asked) == 2


async def test_no_answer_is_given_after_the_age_that_the_server_allows(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.put(b"k", b"v")
    await client.get("k", max_stale=3)
    for age_s, asked in ((3.0, 1), (0.01, 2)):
        clock.now_s += age_s
        await client.get("k", max_stale=100)
        assert len(stored.asked) == asked


async def test_the_age_counts_from_the_request_and_not_from_the_answer(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        answer = await stored.answer_of(request)
        clock.now_s += 2.0
        return answer

    stored.put(b"k", b"v")
    stored.handler = slowly
    await client.get("k", max_stale=5)
    assert (await client.get("k", max_stale=2)).lag_ms == 2000
    assert len(stored.asked) == 1


async def test_what_is_not_marked_to_be_kept_is_asked_again(stored: StoredGateway, client: Client) -> None:
    stored.put(b"k", b"v")
    stored.lag_ms = 900
    for _ in range(2):
        await client.get("k", max_stale=1.5)
        await client.get("k", consistency="stale")
    assert len(stored.asked) == 4


@pytest.mark.parametrize("cache_control", [None, "no-cache", "no-cache, max-age=60", "public"])
async def test_what_the_library_would_keep_for_ever_is_not_kept(
    stored: StoredGateway, client: Client, cache_control: str | None
) -> None:
    async def marked(request: web.BaseRequest) -> web.StreamResponse:
        headers = {"ETag": '"1"', "X-KV-Lag-Ms": "0"} | ({"Cache-Control": cache_control} if cache_control else {})
        return web.Response(body=b"v", headers=headers)

    stored.handler = marked
    for _ in range(2):
        await client.get("k", max_stale=60)
    assert len(stored.asked) == 2


async def test_a_plain_read_is_never_stale_and_never_kept(stored: StoredGateway, client: Client) -> None:
    for number in range(3):
        stored.put(b"k", b"%d" % number)
        assert (await client.get("k", max_stale=60)).data == b"0"
        assert (await client.get("k")).data == b"%d" % number
        assert (await client.get("k", consistency="quorum")).data == b"%d" % number
    assert len(stored.asked) == 7


async def test_a_read_that_is_checked_is_the_newest_and_costs_no_value_where_it_was_cached(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.put(b"k", b"old", ttl=500.0)
    stored.lag_ms = 100
    assert (await client.get("k", revalidate=True)).data == b"old"
    await client.get("k", max_stale=5)
    clock.now_s += 60
    checked = await client.get("k", revalidate=True)
    assert (checked.data, checked.lag_ms, checked.ttl_s) == (b"old", None, 440.0)
    assert stored.statuses == [200, 200, 304]
    stored.put(b"k", b"new")
    assert (await client.get("k", revalidate=True)).data == b"new"
    assert (await client.get("k", max_stale=60)).data == b"new"
    assert stored.statuses[3:] == [200, 200]
    del stored.keys[b"k"]
    with pytest.raises(KeyNotFound):
        await client.get("k", revalidate=True)
    with pytest.raises(KeyNotFound):
        await client.get("k", max_stale=60)


async def test_a_check_beside_a_stale_read_is_refused_unsent(stored: StoredGateway, client: Client) -> None:
    with pytest.raises(BadParameter):
        await client.get("k", max_stale=1, revalidate=True)
    with pytest.raises(BadParameter):
        await client.get("k", consistency="stale", revalidate=True)
    assert not stored.asked


async def test_an_answer_that_says_that_a_key_is_gone_drops_it(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.put(b"k", b"v")
    await client.get("k", max_stale=60)
    del stored.keys[b"k"]
    clock.now_s += 5
    for max_stale in (2, 60):
        with pytest.raises(KeyNotFound):
            await client.get("k", max_stale=max_stale)


async def test_a_value_with_a_time_to_live_is_gone_when_that_is_over(
    stored: StoredGateway, client: Client, clock: Clock
) -> None:
    stored.put(b"k", b"v", ttl=3.0)
    await client.get("k", max_stale=60)
    del stored.keys[b"k"]
    clock.now_s += 2.5
    left = await client.get("k", max_stale=60)
    assert (left.data, left.ttl_s) == (b"v", 0.5)
    clock.now_s += 0.5
    with pytest.raises(KeyNotFound):
        await client.get("k", max_stale=60)
    with pytest.raises(KeyNotFound):
        await client.get("k", revalidate=True)
    assert stored.statuses == [200, 404, 404]


KEYS = [b"a//b", b"a/b", b"a%2Fb", b"a/b/", b"/a/b", b"a/./b", b"a/c/../b", b"A/b", b"a/b?x", b"a/b#x", b"a b", b"a+b"]


async def test_keys_that_look_alike_have_entries_of_their_own(stored: StoredGateway, client: Client) -> None:
    stored.fill(*KEYS)
    for _ in range(2):
        for key in KEYS:
            assert (await client.get(key, max_stale=60)).data == b"value of " + key
    assert len(stored.asked) == len(KEYS)
    await client.put(b"a//b", b"new")
    for key in KEYS:
        await client.get(key, max_stale=60)
    assert len(stored.asked) == len(KEYS) + 2


def test_an_entry_is_of_one_exact_url_principal_and_method() -> None:
    cache = ReadCache(MIB)
    paths = ["a//b", "a/b", "a%2Fb", "a%2fb", "a/./b", "a/../a/b", "a/b/", "A/b", "a%20b", "a+b", "a b"]
    urls = [URL(f"{host}/v1/kv/{path}", encoded=True) for path in paths for host in ("http://one", "http://two:80")]
    headers: list[dict[str, str] | None] = [None, {"Authorization": "Bearer 1"}, {"Authorization": "Bearer 2"}]
    keys = {cache.create_key(method, url, one) for url in urls for one in headers for method in ("GET", "HEAD")}
    assert len(keys) == len(urls) * 3 * 2
    assert cache.create_key("GET", urls[0].with_query("max_stale=2"), None) == cache.create_key("GET", urls[0], {})


SEEN = {None: b"nobody", "Bearer secret-1": b"one", "Bearer secret-2": b"two"}


async def test_who_shares_a_cache_sees_only_what_the_own_token_got(stored: StoredGateway) -> None:
    async def by_token(request: web.BaseRequest) -> web.StreamResponse:
        answer = await stored.answer_of(request)
        assert isinstance(answer, web.Response)
        answer.body = SEEN[request.headers.get("Authorization")]
        return answer

    stored.put(b"k", b"v")
    stored.handler = by_token
    cache = ReadCache(MIB)
    async with (
        Client(stored.url, cache=cache) as nobody,
        Client(stored.url, cache=cache, token="secret-1") as one,
        Client(stored.url, cache=cache, token="secret-2") as two,
        Client(stored.url, cache=cache, token="secret-1") as same,
    ):
        for _ in range(2):
            for who, seen in ((nobody, b"nobody"), (one, b"one"), (two, b"two"), (same, b"one")):
                assert (await who.get("k", max_stale=60)).data == seen
        assert len(stored.asked) == 3
        await two.put("k", b"new")
        for who in (nobody, one, two):
            await who.get("k", max_stale=60)
        assert len(stored.asked) == 7
    held = [repr((key, vars(kept), kept)) for key, kept in cache.responses._kept.items()]
    assert len(held) == 3
    assert not any("secret" in text for text in held)


async def test_two_caches_know_nothing_of_each_other(stored: StoredGateway, client: Client) -> None:
    stored.put(b"k", b"v")
    async with Client(stored.url, cache_bytes=MIB) as other:
        await client.get("k", max_stale=60)
        await other.get("k", max_stale=60)
        await other.put("k", b"new")
        assert (await other.get("k", max_stale=60)).data == b"new"
        assert (await client.get("k", max_stale=60)).data == b"v"


async def test_reads_of_a_key_do_not_wait_for_one_another(stored: StoredGateway, client: Client) -> None:
    gate = Gate(stored, "GET")
    stored.put(b"k", b"v")
    reading = asyncio.gather(*(client.get("k", max_stale=60) for _ in range(8)))
    for _ in range(8):
        await gate.arrived.acquire()
    gate.open.set()
    assert {value.data for value in await reading} == {b"v"}
    gate.open.clear()
    checking = asyncio.gather(*(client.get("k", revalidate=True) for _ in range(8)))
    for _ in range(8):
        await gate.arrived.acquire()
    gate.open.set()
    assert {value.data for value in await checking} == {b"v"}
    assert gate.statuses == [200] * 8 + [304] * 8


async def test_a_read_without_an_answer_ends_in_its_time(stored: StoredGateway) -> None:
    gate = Gate(stored, "GET")
    stored.put(b"k", b"v")
    async with Client(stored.url, timeout_s=0.3, cache_bytes=MIB) as client:
        with pytest.raises(Unreachable):
            await client.get("k", max_stale=60)
    gate.open.set()


async def test_clients_of_several_threads_may_share_a_cache(stored: StoredGateway) -> None:
    stored.fill(*(b"%d" % number for number in range(20)))
    cache = ReadCache(30_000)

    def work(turn: int) -> None:
        with SyncClient(stored.url, cache=cache, token=f"t{turn % 2}", timeout_s=30) as client:
            for number in range(40):
                key = str((number * 7 + turn) % 20)
                assert client.get(key, max_stale=60).data == b"value of " + key.encode()
                if number % 10 == turn:
                    client.put(key, b"value of " + key.encode())

    await asyncio.gather(*(asyncio.to_thread(work, turn) for turn in range(4)))
    assert 0 < cache.responses.bytes_held <= 30_000
    assert cache.responses.bytes_held == sum(kept.size for kept in cache.responses._kept.values())


async def test_the_library_s_own_ways_to_clear_it_work(stored: StoredGateway, client: Client) -> None:
    cache = ReadCache(MIB)
    stored.fill(b"a", b"b")
    async with Client(stored.url, cache=cache) as own:
        for key in ("a", "b"):
            await own.get(key, max_stale=60)
        assert await cache.has_url(f"{stored.url}/v1/kv/a")
        await cache.delete_url(f"{stored.url}/v1/kv/a")
        assert [kept.path async for kept in cache.responses.values()] == ["/v1/kv/b"]
        await cache.clear()
    assert (await cache.responses.size(), cache.responses.bytes_held) == (0, 0)


def test_without_the_library_only_a_cache_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kvstore.client.read_cache", None)
    Client()
    with pytest.raises(ImportError, match=r"pip install aiohttp-client-cache"):
        Client(cache_bytes=1)


def test_a_cache_is_one_s_own_or_shared() -> None:
    with pytest.raises(ValueError, match="not both"):
        Client(cache_bytes=1, cache=ReadCache(1))
