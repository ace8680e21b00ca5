"""Scans over HTTP: pages, streams, counts and removals, and what becomes of them when nodes or clients go away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgpack
import pytest

from cluster.gateway.http_phase import Phase
from cluster.gateway.scan_merge import ItemStyle, KeyRange
from cluster.gateway.scans import Scans
from kvstore.messages import Fault, MapUpdate, Scan
from kvstore.scan.items import ItemForm
from kvstore.storage.records import encode_value
from kvstore.txn.log_end import LOCKED

NDJSON = {"Accept": "application/x-ndjson"}


def fill(gateway: Any, count: int, value: bytes = b"v") -> list[bytes]:
    """Store keys on every node; each answers for those whose partitions it leads."""
    keys = [b"k%04d" % number for number in range(count)]
    for node in gateway.nodes:
        node.rows = {key: encode_value(1, number, 0, "text/plain", value) for number, key in enumerate(keys, 1)}
    return keys


async def stream(gateway: Any, path: str = "/v1/kv") -> tuple[Any, bytes, bool]:
    client = await gateway.connect()
    head = await client.ask("GET", path, headers=NDJSON)
    body, is_whole = await client.chunks()
    return head, body, is_whole


def lose_half_way(node: Any) -> None:
    """The node answers one small page and leads nothing from the next on."""
    node.page_keys_max = 10
    scan = node._scan

    def scan_once(asked: Scan) -> Any:
        if len(node.scans) >= 2:
            node.fault = Fault("no_leader", "gone")
        return scan(asked)

    node._scan = scan_once


async def test_pages_follow_each_other_by_their_cursors(gateway: Any) -> None:
    keys = fill(gateway, 25)
    for reverse in ("false", "true"):
        found: list[str] = []
        query = f"limit=10&reverse={reverse}"
        while query:
            page = json.loads((await gateway.ask("GET", f"/v1/kv?{query}")).body)
            found += [item["key"] for item in page["items"]]
            query = f"limit=10&cursor={page['cursor']}" if "cursor" in page else ""
        expected = [key.decode() for key in keys]
        assert found == (expected[::-1] if reverse == "true" else expected)


@pytest.mark.parametrize("direction", ["", "&reverse=true"])
async def test_the_same_parameters_may_stand_beside_every_cursor(gateway: Any, direction: str) -> None:
    keys = fill(gateway, 10)
    path = "/v1/kv?limit=3&start=k&end=l" + direction
    found: list[bytes] = []
    cursor = ""
    while cursor is not None:
        answer = await gateway.ask("GET", path + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status == 200, answer.detail
        page = json.loads(answer.body)
        found += [item["key"].encode() for item in page["items"]]
        cursor = page.get("cursor")
    assert found == sorted(keys, reverse=bool(direction))


async def test_the_last_page_has_no_cursor(gateway: Any) -> None:
    fill(gateway, 20)
    assert "cursor" in json.loads((await gateway.ask("GET", "/v1/kv?limit=19")).body)
    assert "cursor" not in json.loads((await gateway.ask("GET", "/v1/kv?limit=20")).body)
    assert json.loads((await gateway.ask("GET", "/v1/kv?start=x")).body) == {"items": []}


async def test_a_page_in_messagepack_has_the_same_items(gateway: Any) -> None:
    fill(gateway, 3, b"\xff")
    answer = await gateway.ask("GET", "/v1/kv?limit=2", headers={"Accept": "application/msgpack"})
    assert answer.headers["content-type"] == "application/msgpack"
    page = msgpack.unpackb(answer.body)
    assert [(item["key"], item["value"]) for item in page["items"]] == [(b"k0000", b"\xff"), (b"k0001", b"\xff")]
    assert page["cursor"]
    page = json.loads((await gateway.ask("GET", "/v1/kv?limit=1")).body)
    assert page["items"][0]["value_b64"] == "/w=="


async def test_a_page_of_large_values_ends_early_and_says_where_to_go_on(start_gateway: Any) -> None:
    gateway = await start_gateway(batch_answer_bytes_max=4096)
    fill(gateway, 40, b"v" * 1000)
    page = json.loads((await gateway.ask("GET", "/v1/kv?limit=40")).body)
    assert 1 <= len(page["items"]) < 40
    assert page["cursor"]


async def test_a_stream_has_the_whole_range_a_line_for_each_key(gateway: Any) -> None:
    keys = fill(gateway, 300)
    for node in gateway.nodes:
        node.page_keys_max = 7
    head, body, is_whole = await stream(gateway)
    assert (head.status, head.headers["transfer-encoding"], is_whole) == (200, "chunked", True)
    assert [json.loads(line)["key"].encode() for line in body.splitlines()] == keys
    _, body, _ = await stream(gateway, "/v1/kv?reverse=true&keys_only=true&prefix=k00")
    assert [json.loads(line) for line in body.splitlines()] == [{"key": key.decode()} for key in keys[99::-1]]
    _, body, is_whole = await stream(gateway, "/v1/kv?limit=5&start=k0100")
    assert len(body.splitlines()) == 5
    assert is_whole


async def test_an_empty_stream_ends_and_the_connection_goes_on(gateway: Any) -> None:
    client = await gateway.connect()
    for _ in range(2):
        await client.ask("GET", "/v1/kv", headers=NDJSON)
        assert await client.chunks() == (b"", True)
    assert (await client.ask("HEAD", "/v1/kv", headers=NDJSON)).headers["transfer-encoding"] == "chunked"
    assert (await client.ask("GET", "/v1/kv")).status == 200


async def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection(gateway: Any) -> None:
    fill(gateway, 3)
    client = await gateway.connect()
    client.send(b"GET /v1/kv HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n")
    data = await asyncio.wait_for(client.reader.read(), 10)
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert len(body.splitlines()) == 3


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_client_that_has_shut_its_side_gets_all_of_a_stream(gateway: Any, version: str) -> None:
    fill(gateway, 600, b"v" * 20_000)
    for node in gateway.nodes:
        node.page_keys_max = 10
    client = await gateway.connect()
    client.send(f"GET /v1/kv HTTP/{version}\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n".encode())
    await gateway.until(lambda: any(one.phase is Phase.READER for one in gateway.server._connections))
    client.writer.write_eof()
    await gateway.until(lambda: any(one._is_closing for one in gateway.server._connections))
    data = await asyncio.wait_for(client.reader.read(), 10)
    assert data.count(b'"key":"k') == 600
    assert data.endswith(b"}\n" if version == "1.0" else b"0\r\n\r\n")


async def test_a_stream_that_cannot_be_whole_is_cut_off_before_its_end(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.2)
    fill(gateway, 100)
    lose_half_way(gateway.nodes[0])
    head, body, is_whole = await stream(gateway)
    assert head.status == 200
    assert not is_whole
    assert 0 < len(body.splitlines()) < 100


async def test_a_client_of_http_1_0_hears_by_a_reset_that_a_stream_is_not_whole(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.2)
    fill(gateway, 100)
    lose_half_way(gateway.nodes[0])
    client = await gateway.connect()
    client.send(b"GET /v1/kv HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 10)


async def test_what_fails_before_the_first_line_is_an_ordinary_refusal(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.1)
    gateway.dispatcher.take(MapUpdate(2, [], [gateway.entry(3, 2, None)]))
    for path in ("/v1/kv", "/v1/kv?count=true"):
        answer = await gateway.ask("GET", path, headers=NDJSON)
        assert (answer.status, answer.code) == (503, "no_leader")
        assert "partition 3" in answer.detail


async def test_a_partition_that_stays_locked_is_named_and_one_that_does_not_is_asked_again(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    keys = fill(gateway, 40)
    gateway.nodes[0].fault = gateway.nodes[1].fault = LOCKED
    for path in ("/v1/kv", "/v1/kv?count=true"):
        answer = await gateway.ask("GET", path)
        assert (answer.status, answer.code) == (503, "locked")
        assert answer.detail.startswith("partition 1: ")
    asked = asyncio.create_task(gateway.ask("GET", "/v1/kv"))
    before = len(gateway.nodes[0].scans)
    await gateway.until(lambda: len(gateway.nodes[0].scans) > before)
    gateway.nodes[0].fault = gateway.nodes[1].fault = None
    assert len(json.loads((await asked).body)["items"]) == len(keys)


async def test_with_allow_partial_what_has_no_leader_is_named(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.1)
    keys = fill(gateway, 40)
    gateway.dispatcher.take(MapUpdate(2, [], [gateway.entry(3, 2, None)]))
    page = json.loads((await gateway.ask("GET", "/v1/kv?allow_partial=true")).body)
    assert page["missing"] == [3]
    assert 0 < len(page["items"]) < len(keys)
    _, body, is_whole = await stream(gateway, "/v1/kv?allow_partial=true")
    assert is_whole
    *items, last = body.splitlines()
    assert json.loads(last) == {"missing": [3]}
    assert len(items) == len(page["items"])
    count = json.loads((await gateway.ask("GET", "/v1/kv?count=true&allow_partial=true")).body)
    assert count == {"count": len(items), "missing": [3]}


@pytest.mark.parametrize("path", ["/v1/kv?allow_partial=true", "/v1/kv?allow_partial=true&count=true"])
async def test_what_is_given_up_with_a_node_that_is_away_is_only_what_it_leads(
    gateway: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(gateway, 40)
    first, second = gateway.nodes
    await first.stop()
    await gateway.until(lambda: gateway.links_up == 1)
    monkeypatch.setattr(gateway.dispatcher.links, "is_away", lambda node: node == "n1")
    # Of this one the gateway learns only from the answer, and has to ask again.
    second.entries[1] = gateway.entry(1, 2, second)
    answer = await gateway.ask("GET", path)
    assert json.loads(answer.body)["missing"] == [2, 4]


async def test_a_scan_follows_partitions_to_their_new_leaders(gateway: Any) -> None:
    keys = fill(gateway, 60)
    first, second = gateway.nodes
    for pid in range(1, 5):
        moved = gateway.entry(pid, 2, first)
        first.entries[pid] = second.entries[pid] = moved
    _, body, is_whole = await stream(gateway)
    assert is_whole
    assert [json.loads(line)["key"].encode() for line in body.splitlines()] == keys
    assert json.loads((await gateway.ask("GET", "/v1/kv?count=true")).body) == {"count": 60}


async def test_a_node_that_is_asked_ahead_is_given_no_more_partitions_before_it_answers(gateway: Any) -> None:
    keys = fill(gateway, 100)
    first, second = gateway.nodes
    first.page_keys_max = second.page_keys_max = 10
    second.hold = asyncio.Event()
    scans = Scans(gateway.dispatcher, gateway.router, page_bytes_max=1 << 20)
    pieces = scans.stream("default", KeyRange(), ItemStyle(ItemForm.JSON, False))
    begun = asyncio.ensure_future(anext(pieces))
    await gateway.until(lambda: len(first.scans) == len(second.scans) == 1)
    await first.stop()
    await gateway.until(lambda: gateway.links_up == 1)
    second.hold.set()
    found = (await begun).keys
    # The second node is asked for its next page, and only now is to lead what the first one led.
    moved = [gateway.entry(pid, 2, second) for pid in (1, 2, 3, 4) if pid % 2 == 0]
    second.entries |= {entry.pid: entry for entry in moved}
    gateway.dispatcher.take(MapUpdate(2, [], moved))
    async for piece in pieces:
        found += piece.keys
    assert found == keys


async def test_a_client_that_reads_nothing_holds_little_and_is_cut_off(start_gateway: Any) -> None:
    gateway = await start_gateway(body_timeout_s=0.4)
    fill(gateway, 600, b"v" * 20_000)
    for node in gateway.nodes:
        node.page_keys_max = 10
    client = await gateway.connect()
    client.send(b"GET /v1/kv HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n")
    await gateway.until(lambda: gateway.server.connections_count == 1 and any(node.scans for node in gateway.nodes))
    asked = 0
    while asked != sum(len(node.scans) for node in gateway.nodes):
        asked = sum(len(node.scans) for node in gateway.nodes)
        await asyncio.sleep(0.1)
    assert asked < 60
    await gateway.until(lambda: gateway.server.connections_count == 0 and gateway.server.budget.used == 0)


async def test_a_client_of_http_1_0_that_is_too_slow_hears_a_reset(start_gateway: Any) -> None:
    gateway = await start_gateway(body_timeout_s=0.2)
    fill(gateway, 600, b"v" * 20_000)
    for node in gateway.nodes:
        node.page_keys_max = 10
    client = await gateway.connect()
    client.send(b"GET /v1/kv HTTP/1.0\r\nAccept: application/x-ndjson\r\n\r\n")
    await gateway.until(lambda: any(one.phase is Phase.READER for one in gateway.server._connections))
    await gateway.until(lambda: gateway.server.connections_count == 0)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(client.reader.read(), 10)


async def test_what_scans_hold_stays_within_the_budget(start_gateway: Any) -> None:
    gateway = await start_gateway(in_flight_bytes_max=1024 * 1024, body_timeout_s=30)
    fill(gateway, 600, b"v" * 20_000)
    for node in gateway.nodes:
        node.page_keys_max = 10
    answer = await gateway.ask("GET", "/v1/kv?limit=600")
    assert (answer.status, answer.code) == (429, "overloaded")
    assert gateway.server.budget.used == 0
    reading_nothing = await gateway.connect()
    await reading_nothing.ask("GET", "/v1/kv", headers=NDJSON)
    assert (await gateway.ask("GET", "/v1/kv", headers=NDJSON)).code == "overloaded"
    await reading_nothing.close()
    await gateway.until(lambda: gateway.server.budget.used == 0)
    head, _, is_whole = await stream(gateway, "/v1/kv?limit=5")
    assert (head.status, is_whole) == (200, True)


async def test_a_client_that_leaves_ends_the_scan(gateway: Any) -> None:
    fill(gateway, 600, b"v" * 20_000)
    for node in gateway.nodes:
        node.page_keys_max = 10
    client = await gateway.connect()
    client.send(b"GET /v1/kv HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n")
    await client.reader.readuntil(b"\r\n\r\n")
    await client.close()
    await gateway.until(lambda: gateway.server.connections_count == 0)
    assert sum(len(node.scans) for node in gateway.nodes) < 60
    assert (await gateway.ask("GET", "/v1/kv?limit=1")).status == 200


async def test_a_stream_is_cut_off_when_the_gateway_stops(gateway: Any) -> None:
    fill(gateway, 600, b"v" * 20_000)
    for node in gateway.nodes:
        node.page_keys_max = 10
    client = await gateway.connect()
    await client.ask("GET", "/v1/kv", headers=NDJSON)
    stopping = asyncio.create_task(gateway.server.stop())
    _, is_whole = await client.chunks()
    assert not is_whole
    await stopping


async def test_a_removal_tells_how_far_it_is(gateway: Any) -> None:
    fill(gateway, 1000)
    client = await gateway.connect()
    head = await client.ask("DELETE", "/v1/kv?prefix=k00&confirm=true")
    body, is_whole = await client.chunks()
    assert (head.status, is_whole) == (200, True)
    lines = [json.loads(line) for line in body.splitlines()]
    assert lines[-1] == {"deleted": 100, "done": True}
    assert [line["deleted"] for line in lines] == sorted(line["deleted"] for line in lines)
    gone = [b"k%04d" % number for number in range(100)]
    assert all(any(key not in node.rows for node in gateway.nodes) for key in gone)
    assert json.loads((await gateway.ask("GET", "/v1/kv?prefix=k01&count=true")).body) == {"count": 100}


@pytest.mark.parametrize("header", ["Idempotency-Key", "If-Match", "If-None-Match"])
async def test_a_removal_refuses_what_it_would_not_act_on(gateway: Any, header: str) -> None:
    fill(gateway, 3)
    answer = await gateway.ask("DELETE", "/v1/kv?prefix=k&confirm=true", headers={header: "*"})
    assert (answer.status, answer.code) == (400, "bad_request")
    assert header in answer.detail
    assert len(gateway.nodes[0].rows) == 3


async def test_a_removal_that_is_refused_is_cut_off_and_not_called_done(start_gateway: Any) -> None:
    gateway = await start_gateway(import_patience_s=0.1, request_timeout_s=0.2)
    fill(gateway, 30)
    for node in gateway.nodes:
        node._write = lambda _one: Fault("storage_full", "full")
    client = await gateway.connect()
    await client.ask("DELETE", "/v1/kv?prefix=k&confirm=true")
    body, is_whole = await client.chunks()
    assert not is_whole
    assert b"done" not in body


async def test_a_removal_that_fails_half_way_is_no_refusal_which_would_promise_that_nothing_was_done(
    start_gateway: Any,
) -> None:
    gateway = await start_gateway(import_patience_s=0.3, request_timeout_s=0.6)
    fill(gateway, 4000)
    for node in gateway.nodes:
        node.page_keys_max = 100_000
        write_once = node._write_once

        def until_many_are_gone(one: Any, node: Any = node, write_once: Any = write_once) -> Any:
            return Fault("no_leader", "gone") if len(node.rows) < 3800 else write_once(one)

        node._write_once = until_many_are_gone
    client = await gateway.connect()
    head = await client.ask("DELETE", "/v1/kv?prefix=k&confirm=true")
    body, is_whole = await client.chunks()
    assert (head.status, is_whole) == (200, False)
    assert b"done" not in body
    assert len(gateway.nodes[0].rows) < 4000


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_other_methods_are_not_for_ranges(gateway: Any, method: str) -> None:
    answer = await gateway.ask(method, "/v1/kv", b"x")
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD, DELETE"


async def test_a_scan_takes_no_body(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/v1/kv", b"x")).code == "bad_body"
    assert (await gateway.ask("GET", "/v1/keyspaces/none/kv")).code == "not_found"
