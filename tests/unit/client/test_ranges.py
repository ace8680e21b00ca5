"""Scans, counts and deletions of ranges, page by page and whole."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from fakes.gateway import Gateway, cut, refuse
from fakes.stored import StoredGateway

from kvstore.client import Client, Item, SyncClient, Unreachable
from kvstore.errors import BadParameter, NoLeader, OutcomeUnknown

KEYS = [b"%d" % number for number in range(10, 37)]


async def scanned(client: Client, **asked: object) -> list[bytes]:
    return [item.key async for item in client.scan(**asked)]  # type: ignore[arg-type]


async def test_a_scan_gives_every_item_once_whatever_the_size_of_pages(stored: StoredGateway) -> None:
    stored.fill(*KEYS)
    async with Client(stored.url) as client:
        for page_size in (1, 5, 9, 26, 27, 28, 10_000):
            stored.asked.clear()
            assert await scanned(client, page_size=page_size) == KEYS
            assert len(stored.asked) == -(-len(KEYS) // page_size)
        assert await scanned(client, page_size=4, reverse=True) == KEYS[::-1]
        assert await scanned(client, page_size=4, prefix=b"2") == KEYS[10:20]
        assert await scanned(client, page_size=4, start="15", end="31", reverse=True) == KEYS[5:21][::-1]
        assert await scanned(client, prefix="none") == []


async def test_items_of_a_scan_are_what_was_put(stored: StoredGateway) -> None:
    kept = stored.put(b"\xff\n", b"\x00v", content_type="text/plain", ttl=9.5)
    async with Client(stored.url) as client:
        assert [item async for item in client.scan()] == [Item(b"\xff\n", b"\x00v", kept.etag, "text/plain", 9.5)]
        assert [item async for item in client.scan(keys_only=True, page_size=1)] == [Item(b"\xff\n")]


async def test_a_limit_is_for_the_whole_scan_and_no_more_is_asked_for(stored: StoredGateway) -> None:
    stored.fill(*KEYS)
    async with Client(stored.url) as client:
        assert await scanned(client, limit=7, page_size=5) == KEYS[:7]
        assert [path.rpartition("limit=")[2][0] for _, path in stored.asked] == ["5", "2"]
        assert await scanned(client, limit=5, page_size=5) == KEYS[:5]
        assert len(stored.asked) == 3
        with pytest.raises(BadParameter):
            await scanned(client, limit=0)


async def test_a_page_that_is_refused_for_now_or_lost_is_asked_for_again(gateway: Gateway) -> None:
    stored = StoredGateway()
    stored.fill(*KEYS)

    async def every_third(request: web.BaseRequest) -> web.StreamResponse:
        turn = len(gateway.asked) % 3
        assert stored.handler is not None
        return await (stored.handler(request) if turn == 0 else cut(request) if turn == 1 else no_leader())

    async def no_leader() -> web.Response:
        return refuse("no_leader", 503)

    gateway.handler = every_third
    async with Client(gateway.url) as client:
        assert await scanned(client, page_size=9) == KEYS
    assert len(gateway.asked) == 9


async def test_each_page_has_a_deadline_of_its_own(gateway: Gateway) -> None:
    stored = StoredGateway()
    stored.fill(*KEYS)

    async def slowly(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        assert stored.handler is not None
        return await stored.handler(request)

    gateway.handler = slowly
    async with Client(gateway.url, timeout_s=2) as client:
        assert await scanned(client, page_size=1) == KEYS


async def test_a_scan_that_meets_a_refusal_ends_in_it_and_never_early(gateway: Gateway) -> None:
    stored = StoredGateway()
    stored.fill(*KEYS)

    async def one_page(request: web.BaseRequest) -> web.StreamResponse:
        assert stored.handler is not None
        return await stored.handler(request) if len(gateway.asked) < 2 else refuse("no_leader", 503)

    gateway.handler = one_page
    async with Client(gateway.url, timeout_s=1) as client:
        items = client.scan(page_size=10)
        assert [(await anext(items)).key for _ in range(10)] == KEYS[:10]
        with pytest.raises(NoLeader):
            await anext(items)


async def test_a_page_that_cannot_be_read_is_an_error(gateway: Gateway) -> None:
    async def garbage(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"<html>")

    gateway.handler = garbage
    async with Client(gateway.url) as client:
        with pytest.raises(Unreachable, match="page"):
            await client.scan_page()
        with pytest.raises(Unreachable, match="count"):
            await client.count()
        with pytest.raises(Unreachable):
            await client.ids()


async def test_pages_and_counts_can_be_asked_for_one_by_one(stored: StoredGateway) -> None:
    stored.fill(*KEYS)
    async with Client(stored.url) as client:
        first = await client.scan_page(prefix="1", limit=4, keys_only=True)
        assert [item.key for item in first.items] == KEYS[:4]
        second = await client.scan_page(cursor=first.cursor, limit=100)
        assert [item.key for item in second.items] == KEYS[4:10]
        assert second.cursor is None
        assert await client.count() == len(KEYS)
        assert await client.count(start="20", end="25") == 5


async def test_a_range_is_deleted_with_its_progress_told(stored: StoredGateway) -> None:
    stored.fill(*KEYS)
    stored.deleted_steps = [3, 7]
    told: list[int] = []
    async with Client(stored.url) as client:
        assert await client.delete_range(prefix="1", progress=told.append) == 10
        assert told[-1] == 10
        assert await client.delete_range(prefix="1") == 0
        assert await scanned(client) == KEYS[10:]
        with pytest.raises(BadParameter):
            await client.delete_range()
    assert all("confirm=true" in path for method, path in stored.asked if method == "DELETE")


async def test_a_deletion_that_is_cut_is_unknown_and_not_sent_again(stored: StoredGateway) -> None:
    stored.fill(*KEYS)
    stored.deleted_steps = [3, 7]
    stored.cut_at = [2]
    async with Client(stored.url) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.delete_range(prefix="1")
    assert caught.value.numbers == {"deleted": 7}
    assert len(stored.asked) == 1


async def test_a_deletion_whose_answer_does_not_say_where_it_ends_is_unknown_and_not_sent_again(
    gateway: Gateway,
) -> None:
    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + b'{"deleted":5,"done":true}\n')
        request.transport.close()
        return web.Response()

    gateway.handler = endless
    async with Client(gateway.url) as client:
        with pytest.raises(OutcomeUnknown):
            await client.delete_range(prefix="")
    assert len(gateway.asked) == 1


async def test_a_deletion_without_its_last_word_is_unknown(gateway: Gateway) -> None:
    async def short(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b'{"deleted":5}\n')

    gateway.handler = short
    async with Client(gateway.url) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.delete_range(prefix="")
    assert caught.value.numbers == {"deleted": 5}


async def test_a_deletion_that_was_refused_for_now_is_tried_again(gateway: Gateway) -> None:
    async def refuse_once(request: web.BaseRequest) -> web.Response:
        if len(gateway.asked) < 2:
            return refuse("no_leader", 503)
        return web.Response(body=b'{"deleted":5,"done":true}')

    gateway.handler = refuse_once
    async with Client(gateway.url) as client:
        assert await client.delete_range(prefix="p") == 5
    assert len(gateway.asked) == 2


async def test_ids_are_numbers(gateway: Gateway) -> None:
    async def some(request: web.BaseRequest) -> web.Response:
        return web.json_response({"ids": ["9007199254740993", "9007199254740994"]})

    gateway.handler = some
    async with Client(gateway.url) as client:
        assert await client.ids(2) == [9007199254740993, 9007199254740994]
    assert gateway.asked == [("POST", "/v1/ids?count=2")]


async def test_the_sync_face_scans_as_a_plain_iterator(stored: StoredGateway) -> None:
    stored.fill(*KEYS)

    def ask() -> None:
        with SyncClient(stored.url) as client:
            assert [item.key for item in client.scan(prefix="2", page_size=3, reverse=True)] == KEYS[10:20][::-1]
            assert next(iter(client.scan(limit=1))).value == b"value of 10"
            assert client.count(prefix="1") == 10
            assert client.scan_page(limit=1).items[0].key == b"10"
            assert client.delete_range(start="30") == 7

    await asyncio.to_thread(ask)
