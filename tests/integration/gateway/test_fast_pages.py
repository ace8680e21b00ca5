"""Pages of the short way: they are those of the long way, and whatever is out of the ordinary goes that way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from integration.gateway.conftest import Gateway, StartGateway

from cluster.gateway import fast_pages
from cluster.gateway.fast_requests import PageRequest
from cluster.gateway.scans import Scans
from kvstore.client import Client
from kvstore.messages import Fault
from kvstore.storage.records import encode_value

KEYS = [b"k%04d" % number for number in range(300)]


def fill(gateway: Gateway, value: bytes = b"v") -> None:
    for node in gateway.nodes:
        node.rows = {key: encode_value(1, number, 0, "text/plain", value) for number, key in enumerate(KEYS, 1)}


@pytest.fixture
def long_pages(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The limits of the pages that went the long way."""
    limits: list[int] = []

    async def page(self: Scans, *args: Any) -> Any:
        limits.append(args[3])
        return await known(self, *args)

    known = Scans.page
    monkeypatch.setattr(Scans, "page", page)
    return limits


async def page_of(gateway: Gateway, query: str) -> Any:
    answer = await gateway.ask("GET", f"/v1/kv?{query}")
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def keys_of(page: Any) -> list[bytes]:
    return [item["key"].encode() for item in page["items"]]


@pytest.mark.parametrize("direction", ["", "&reverse=true"])
async def test_plain_pages_need_no_long_way(gateway: Gateway, long_pages: list[int], direction: str) -> None:
    fill(gateway)
    found: list[bytes] = []
    query = f"limit=70{direction}"
    while query:
        page = await page_of(gateway, query)
        found += keys_of(page)
        query = f"limit=70&cursor={page['cursor']}" if "cursor" in page else ""
    assert found == sorted(KEYS, reverse=bool(direction))
    assert not long_pages
    text = (await gateway.ask("GET", "/metrics")).body.decode()
    assert '_count{operation="scan",outcome="ok"} 5.0' in text


@pytest.mark.parametrize("accept", ["", "*/*", "application/msgpack", "text/html, application/json;q=0.9"])
@pytest.mark.parametrize("query", ["", "limit=7", "limit=300", "prefix=k00&keys_only=true", "start=k0290&end=k0295"])
async def test_a_page_is_the_same_bytes_either_way(start_gateway: StartGateway, accept: str, query: str) -> None:
    bodies = []
    for has_lane in (True, False):
        gateway = await start_gateway(has_lane=has_lane)
        fill(gateway)
        answer = await gateway.ask("GET", f"/v1/kv?{query}", headers={"Accept": accept} if accept else {})
        bodies.append((answer.status, answer.headers["content-type"], answer.body))
    assert bodies[0] == bodies[1]


async def test_a_partition_that_is_not_answered_for_is_asked_of_its_new_leader(
    gateway: Gateway, long_pages: list[int]
) -> None:
    fill(gateway)
    moved = gateway.entry(2, 2, gateway.nodes[1])
    for node in gateway.nodes:
        node.entries[2] = moved
    assert keys_of(await page_of(gateway, "limit=300")) == KEYS
    assert long_pages == [300]
    # The page after it is asked by the map that told of it.
    assert keys_of(await page_of(gateway, "limit=300")) == KEYS
    assert long_pages == [300]


async def test_a_partition_without_leader_is_named(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    fill(gateway)
    gateway.nodes[0].fault = Fault("no_leader", "not yet")
    answer = await gateway.ask("GET", "/v1/kv?limit=5")
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "no_leader")
    page = await page_of(gateway, "limit=5&allow_partial=true")
    assert page["missing"]


async def test_a_node_that_cannot_be_called_or_gives_no_answer_is_waited_for(
    gateway: Gateway, long_pages: list[int]
) -> None:
    fill(gateway)
    await page_of(gateway, "limit=5")
    gateway.nodes[0].cut_all()
    assert keys_of(await page_of(gateway, "limit=5")) == KEYS[:5]
    assert long_pages == [5]
    gateway.nodes[0].hold = asyncio.Event()
    asked = asyncio.create_task(page_of(gateway, "limit=6"))
    await gateway.until(lambda: len(gateway.nodes[0]._held) == 1)
    gateway.nodes[0].hold = None
    gateway.nodes[0].cut_all()
    assert keys_of(await asked) == KEYS[:6]
    assert long_pages == [5, 6]


async def test_where_the_pages_of_nodes_do_not_reach_far_enough_the_long_way_asks_for_more(
    gateway: Gateway, long_pages: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(gateway)
    monkeypatch.setattr(fast_pages, "LARGE_S", 1000.0)
    for node in gateway.nodes:
        node.page_keys_max = 10
    assert keys_of(await page_of(gateway, "limit=100")) == KEYS[:100]
    assert long_pages == [100]
    for node in gateway.nodes:
        node.scans.clear()
        node.page_keys_max = 1000
    assert keys_of(await page_of(gateway, "limit=100")) == KEYS[:100]
    assert long_pages == [100, 100]
    assert [len(node.scans) for node in gateway.nodes] == [1, 1], "no more are tried while rows are large"


async def test_a_page_of_large_values_ends_where_one_of_the_long_way_does(
    start_gateway: StartGateway, long_pages: list[int]
) -> None:
    gateway = await start_gateway(batch_answer_bytes_max=4096)
    fill(gateway, b"v" * 1000)
    page = await page_of(gateway, "limit=40")
    assert 1 <= len(page["items"]) < 40
    assert page["cursor"]
    assert long_pages == [40]


async def test_a_page_that_may_not_be_held_is_refused(gateway: Gateway) -> None:
    fill(gateway)
    gateway.server.budget.used = gateway.settings.in_flight_bytes_max
    assert (await gateway.ask("GET", "/v1/kv?limit=5")).status == 429
    gateway.server.budget.used = 0
    assert len((await page_of(gateway, "limit=5"))["items"]) == 5
    assert gateway.server.budget.used == 0


@pytest.mark.parametrize("query", ["limit=0", "limit=5&limit=5", "cursor=x", "start=%zz", "count=true&limit=2", "x=1"])
async def test_what_is_refused_is_left_to_the_long_way(gateway: Gateway, query: str) -> None:
    assert (await gateway.ask("GET", f"/v1/kv?{query}")).status == 400
    assert not gateway.pages.begin(Asker(), PageRequest(query, ""))


@pytest.mark.parametrize("query", ["count=true", "start=b&end=b", f"limit={fast_pages.LIMIT_MAX + 1}"])
async def test_so_is_what_is_no_small_page(gateway: Gateway, query: str) -> None:
    assert not gateway.pages.begin(Asker(), PageRequest(query, ""))
    assert not gateway.pages.begin(Asker(), PageRequest("", "application/x-ndjson"))
    assert gateway.pages.begin(Asker(), PageRequest("", ""))


async def test_what_follows_a_page_waits_for_it(gateway: Gateway) -> None:
    fill(gateway)
    held = gateway.nodes[0].hold = asyncio.Event()
    client = await gateway.connect()
    client.send(b"GET /v1/kv?limit=3 HTTP/1.1\r\nHost: a\r\n\r\n")
    await gateway.until(lambda: len(gateway.nodes[0]._held) == 1)
    client.send(b"GET /v1/nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
    held.set()
    assert [(await client.answer()).status for _ in range(2)] == [200, 404]


class Asker:
    """Waits for nothing."""

    def has_room(self, _size: int) -> bool:
        return True

    def answer_fast(self, _answer: object) -> None: ...

    def take_long_way(self) -> None: ...

    def fail(self, error: Exception) -> None: ...


async def test_what_the_python_client_asks_of_a_range_goes_the_short_way(
    gateway: Gateway, long_pages: list[int]
) -> None:
    """So that probes, which ask by it, try that way."""
    fill(gateway)
    async with Client(f"http://127.0.0.1:{gateway.port}") as client:
        found = [item.key async for item in client.scan(prefix="k0", page_size=50)]
    assert found == KEYS
    assert not long_pages
