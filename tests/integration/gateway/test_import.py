"""An import over a real connection: what is in when it ends, however it ends."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import struct
from typing import Any

import msgpack
import pytest

from kvstore.messages import Fault
from kvstore.storage.records import decode_value

NDJSON = {"Content-Type": "application/x-ndjson"}
MSGPACK = {"Content-Type": "application/msgpack"}
HEAD = (
    b"POST /v1/import HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
PAST_THE_WINDOW = 64 * 1024 * 1024


def lines(*keys: str, value: str = "v") -> bytes:
    return b"".join(json.dumps({"key": key, "value": value}).encode() + b"\n" for key in keys)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def told(answer: Any) -> tuple[int, str, int, int]:
    problem = json.loads(answer.body)
    return answer.status, problem["code"], problem["imported"], problem["line"]


def values(gateway: Any) -> dict[bytes, bytes]:
    rows = [*gateway.nodes[0].rows.items(), *gateway.nodes[1].rows.items()]
    return {key: decode_value(row).value for key, row in rows}


async def ask(gateway: Any, body: bytes, headers: dict[str, str] = NDJSON) -> Any:
    return await gateway.ask("POST", "/v1/import", body, headers)


async def test_every_item_is_stored(gateway: Any) -> None:
    names = [f"k{number}" for number in range(5000)]
    answer = await ask(gateway, lines(*names))
    assert (answer.status, json.loads(answer.body)) == (200, {"imported": 5000})
    assert values(gateway) == {name.encode(): b"v" for name in names}
    assert gateway.server.budget.used == 0


async def test_values_content_types_times_to_live_and_bytes_are_kept(gateway: Any) -> None:
    raw = base64.b64encode(b"\xff\x00").decode()
    body = (
        b'{"key":"a","value":"text","content_type":"text/plain","etag":"1.2.3"}\n'
        b'{"key":"b","value":"","ttl":60}\n' + json.dumps({"key_b64": raw, "value_b64": raw}).encode()
    )
    assert json.loads((await ask(gateway, body)).body) == {"imported": 3}
    first = await gateway.ask("GET", "/v1/kv/a")
    assert (first.body, first.headers["content-type"]) == (b"text", "text/plain")
    assert float((await gateway.ask("GET", "/v1/kv/b")).headers["x-kv-ttl"]) == 60
    assert (await gateway.ask("GET", "/v1/kv/%ff%00")).body == b"\xff\x00"


async def test_messagepack_says_the_same(gateway: Any) -> None:
    items = [{"key": b"\xff%d" % number, "value": b"\x00", "ttl": 7.5} for number in range(3000)]
    answer = await ask(gateway, b"".join(map(msgpack.packb, items)), MSGPACK)
    assert json.loads(answer.body) == {"imported": 3000}
    assert values(gateway) == {item["key"]: b"\x00" for item in items}


async def test_a_truncated_messagepack_stream_keeps_what_is_whole(gateway: Any) -> None:
    item = msgpack.packb({"key": b"a", "value": b"1"})
    assert told(await ask(gateway, item + item[:-1], MSGPACK)) == (400, "bad_body", 1, 2)
    assert values(gateway) == {b"a": b"1"}


async def test_the_later_of_two_puts_of_a_key_wins(gateway: Any) -> None:
    body = b"".join(lines("hot", f"other{turn}", value=str(turn)) for turn in range(3000))
    assert json.loads((await ask(gateway, body)).body) == {"imported": 6000}
    assert values(gateway)[b"hot"] == b"2999"


@pytest.mark.parametrize("before", [0, 1, 4000])
async def test_before_a_bad_line_everything_is_in_and_after_it_nothing(gateway: Any, before: int) -> None:
    names = [f"k{number}" for number in range(before)]
    body = lines(*names) + b'{"key":"bad"}\n' + lines(*(f"after{number}" for number in range(4000)))
    assert told(await ask(gateway, body)) == (400, "bad_body", before, before + 1)
    assert values(gateway) == {name.encode(): b"v" for name in names}


async def test_the_answer_to_a_bad_line_waits_for_the_writes_before_it(gateway: Any) -> None:
    for node in gateway.nodes:
        node.hold = asyncio.Event()
    asking = asyncio.create_task(ask(gateway, lines("a", "b", "c", "d") + b"nonsense"))
    await gateway.until(lambda: gateway.writes == 4)
    assert not asking.done()
    for node in gateway.nodes:
        node.hold.set()
    assert told(await asking) == (400, "bad_body", 4, 5)


async def test_chunks_of_one_byte_and_long_ones_give_the_same(gateway: Any) -> None:
    client = await gateway.connect()
    body = lines("a", "b") + b"\n" + lines("c")[:-1]
    client.send(HEAD + b"".join(chunk(body[place : place + 1]) for place in range(len(body))) + b"0\r\n\r\n")
    assert json.loads((await client.answer()).body) == {"imported": 3}
    client.send(HEAD + chunk(body) + b"0\r\n\r\n")
    assert json.loads((await client.answer()).body) == {"imported": 3}


async def test_items_are_stored_while_the_rest_is_still_to_come(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(HEAD)
    for name in ("a", "b", "c"):
        client.send(chunk(lines(name)))
        await gateway.until(lambda name=name: name.encode() in values(gateway))
    client.send(b"0\r\n\r\n")
    assert json.loads((await client.answer()).body) == {"imported": 3}


async def test_a_client_that_asked_first_is_told_to_go_on(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(HEAD[:-2] + b"Expect: 100-continue\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(chunk(lines("a")) + b"0\r\n\r\n")
    assert (await client.answer()).status == 200


async def test_while_the_nodes_are_slow_no_more_is_read(gateway: Any) -> None:
    for node in gateway.nodes:
        node.hold = asyncio.Event()
    client = await gateway.connect()
    client.send(HEAD)
    piece = chunk(lines(*(f"k{number}" for number in range(1000)), value="v" * 1000))
    sent = 0
    client.writer.transport.set_write_buffer_limits(high=0)
    while sent < PAST_THE_WINDOW:
        client.send(piece)
        try:
            async with asyncio.timeout(0.5):
                await client.writer.drain()
        except TimeoutError:
            break
        sent += len(piece)
    assert sent < PAST_THE_WINDOW
    assert 0 < gateway.server.budget.used < PAST_THE_WINDOW / 2
    for node in gateway.nodes:
        node.hold.set()
    client.send(b"0\r\n\r\n")
    assert (await client.answer()).status == 200


async def test_a_client_that_goes_away_stops_the_import(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(HEAD + chunk(lines("a", "b")) + chunk(b'{"key":"half'))
    await gateway.until(lambda: gateway.writes == 2)
    client.writer.transport.abort()
    await gateway.until(lambda: not gateway.server.connections_count)
    await gateway.until(lambda: gateway.server.budget.used == 0)
    assert set(values(gateway)) == {b"a", b"b"}


async def test_what_nobody_waits_for_is_not_tried_again(start_gateway: Any) -> None:
    gateway = await start_gateway(import_patience_s=1000)
    for node in gateway.nodes:
        node.fault = Fault("not_enough_copies", "no")
    client = await gateway.connect()
    client.send(HEAD + chunk(lines("a", "b")))
    await gateway.until(lambda: gateway.writes >= 4)
    client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.writer.transport.abort()
    await gateway.until(lambda: gateway.server.budget.used == 0)


async def test_a_body_that_ends_too_early_is_told_with_what_is_in(gateway: Any) -> None:
    client = await gateway.connect()
    body = lines("a", "b")
    client.send(b"POST /v1/import HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % (len(body) + 9) + body)
    client.writer.write_eof()
    assert told(await client.answer()) == (400, "bad_body", 2, 3)


async def test_a_client_that_stops_sending_is_told_with_what_is_in(start_gateway: Any) -> None:
    gateway = await start_gateway(body_timeout_s=0.2, body_grace_s=0.2, linger_s=0.2)
    client = await gateway.connect()
    client.send(HEAD + chunk(lines("a", "b")))
    assert told(await client.answer()) == (408, "request_timeout", 2, 3)
    assert await client.is_closed()


async def test_a_body_that_trickles_is_given_up(start_gateway: Any) -> None:
    gateway = await start_gateway(body_timeout_s=100, header_timeout_s=0.2, body_grace_s=0.2, linger_s=0.2)
    client = await gateway.connect()
    client.send(HEAD)
    answering = asyncio.create_task(client.answer())
    while not answering.done():
        client.send(chunk(b" "))
        await asyncio.sleep(0.02)
    assert told(await answering) == (408, "request_timeout", 0, 1)


async def test_an_import_may_take_longer_than_any_other_body(start_gateway: Any) -> None:
    gateway = await start_gateway(body_timeout_s=0.2, body_grace_s=0.1)
    client = await gateway.connect()
    client.send(HEAD)
    for number in range(12):
        client.send(chunk(lines(f"k{number}", value="v" * 500)))
        await asyncio.sleep(0.05)
    client.send(b"0\r\n\r\n")
    assert json.loads((await client.answer()).body) == {"imported": 12}


async def test_a_line_longer_than_any_item_is_refused(start_gateway: Any) -> None:
    gateway = await start_gateway(max_value_bytes=1000, linger_s=0.2)
    body = lines("a") + b'{"key":"b","value":"' + b"v" * 1024**2
    assert told(await ask(gateway, body)) == (400, "bad_body", 1, 2)
    assert gateway.server.budget.used == 0


async def test_a_value_of_the_largest_size_passes_and_a_larger_one_does_not(start_gateway: Any) -> None:
    gateway = await start_gateway(max_value_bytes=300_000)
    assert (await ask(gateway, lines("a", value="v" * 300_000))).status == 200
    assert told(await ask(gateway, lines("a", value="v" * 300_001))) == (400, "bad_body", 0, 1)


@pytest.mark.parametrize("given", ["application/json", "text/plain", "application/msgpack2"])
async def test_other_media_types_are_refused(gateway: Any, given: str) -> None:
    answer = await ask(gateway, lines("a"), {"Content-Type": given})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert gateway.writes == 0


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}])
async def test_without_a_media_type_lines_are_meant(gateway: Any, headers: dict[str, str]) -> None:
    assert (await ask(gateway, lines("a"), headers)).status == 200


async def test_what_an_import_does_not_take_is_refused(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/v1/import")).status == 405
    assert (await gateway.ask("POST", "/v1/import?limit=1", lines("a"), NDJSON)).code == "bad_parameter"
    answer = await ask(gateway, lines("a"), {**NDJSON, "Content-Encoding": "gzip"})
    assert (answer.status, answer.code) == (415, "unsupported_encoding")
    missing = await gateway.ask("POST", "/v1/keyspaces/nowhere/import", lines("a"), NDJSON)
    assert told(missing) == (404, "not_found", 0, 1)
    assert gateway.writes == 0


async def test_an_empty_body_imports_nothing(gateway: Any) -> None:
    assert json.loads((await ask(gateway, b"")).body) == {"imported": 0}


@pytest.mark.parametrize(
    ("code", "status"), [("no_leader", 503), ("not_enough_copies", 503), ("overloaded", 429), ("storage_full", 507)]
)
async def test_a_refusal_that_stays_is_told_with_the_first_line_that_is_not_in(
    start_gateway: Any, code: str, status: int
) -> None:
    gateway = await start_gateway(import_patience_s=0.1, linger_s=0.2)
    client = await gateway.connect()
    client.send(HEAD + chunk(lines("a", "b", "c")))
    await gateway.until(lambda: len(values(gateway)) == 3)
    for node in gateway.nodes:
        node.fault = Fault(code, "no")
    client.send(chunk(b"\n" + lines("d", "e")) + b"0\r\n\r\n")
    assert told(await client.answer()) == (status, code, 3, 5)


async def test_a_write_that_failed_before_a_bad_line_is_what_is_told(gateway: Any) -> None:
    for node in gateway.nodes:
        node.fault = Fault("storage_full", "no")
    assert told(await ask(gateway, lines("a", "b") + b"nonsense")) == (507, "storage_full", 0, 1)


async def test_a_refusal_for_now_is_waited_out(gateway: Any) -> None:
    for node in gateway.nodes:
        node.fault = Fault("not_enough_copies", "no")
    asking = asyncio.create_task(ask(gateway, lines("a", "b", "c", "d")))
    await gateway.until(lambda: gateway.writes >= 8)
    for node in gateway.nodes:
        node.fault = None
    assert json.loads((await asking).body) == {"imported": 4}


async def test_an_unknown_outcome_ends_the_import_and_nothing_is_applied_twice(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.5)
    for node in gateway.nodes:
        node.cuts_after_writes = True
    assert told(await ask(gateway, lines("a", "b", "c", "d"))) == (504, "outcome_unknown", 0, 1)
    assert sum(len(node.outcomes) for node in gateway.nodes) == 4


async def test_a_gateway_that_stops_ends_the_import_with_what_is_in(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(HEAD + chunk(lines("a", "b")))
    await gateway.until(lambda: len(values(gateway)) == 2)
    stopping = asyncio.create_task(gateway.server.stop())
    assert told(await client.answer()) == (503, "shutting_down", 2, 3)
    await stopping
