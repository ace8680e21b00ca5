"""One key through the gateway: what API.md promises a client with curl."""

from __future__ import annotations

from typing import Any

import pytest


async def test_a_value_comes_back_byte_for_byte(gateway: Any) -> None:
    value = bytes(range(256))
    put = await gateway.ask("PUT", "/v1/kv/a", value, {"Content-Type": "image/png"})
    assert put.status == 201
    assert put.headers["x-kv-copies"] == "2"
    got = await gateway.ask("GET", "/v1/kv/a")
    assert (got.status, got.body) == (200, value)
    assert got.headers["content-type"] == "image/png"
    assert got.headers["etag"] == put.headers["etag"]
    assert got.headers["cache-control"] == "no-store"
    assert got.headers["x-request-id"] != put.headers["x-request-id"]


async def test_head_has_the_length_and_no_body(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"12345")
    client = await gateway.connect()
    head = await client.ask("HEAD", "/v1/kv/a")
    assert (head.status, head.headers["content-length"]) == (200, "5")
    assert (await client.ask("HEAD", "/v1/kv/none")).status == 404
    assert (await client.ask("GET", "/v1/kv/a")).body == b"12345"


async def test_a_second_put_replaces_with_a_new_etag(gateway: Any) -> None:
    first = await gateway.ask("PUT", "/v1/kv/a", b"1")
    second = await gateway.ask("PUT", "/v1/kv/a", b"2")
    assert (first.status, second.status) == (201, 204)
    assert first.headers["etag"] != second.headers["etag"]
    assert "content-length" not in second.headers


async def test_delete_answers_the_same_whether_or_not_the_key_was_there(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"1")
    assert (await gateway.ask("DELETE", "/v1/kv/a")).status == 204
    assert (await gateway.ask("DELETE", "/v1/kv/a")).status == 204
    missing = await gateway.ask("GET", "/v1/kv/a")
    assert (missing.status, missing.code) == (404, "key_not_found")


async def test_an_empty_value_is_a_value(gateway: Any) -> None:
    assert (await gateway.ask("PUT", "/v1/kv/a", b"")).status == 201
    got = await gateway.ask("GET", "/v1/kv/a")
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("given", [None, "application/x-www-form-urlencoded", ""])
async def test_a_value_without_a_type_is_octets(gateway: Any, given: str | None) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"1", {} if given is None else {"Content-Type": given})
    assert (await gateway.ask("GET", "/v1/kv/a")).headers["content-type"] == "application/octet-stream"


async def test_conditions_guard_writes(gateway: Any) -> None:
    tag = (await gateway.ask("PUT", "/v1/kv/a", b"1", {"If-None-Match": "*"})).headers["etag"]
    assert (await gateway.ask("PUT", "/v1/kv/a", b"2", {"If-None-Match": "*"})).code == "precondition_failed"
    assert (await gateway.ask("PUT", "/v1/kv/a", b"2", {"If-Match": '"other"'})).status == 412
    assert (await gateway.ask("PUT", "/v1/kv/b", b"2", {"If-Match": "*"})).status == 412
    assert (await gateway.ask("PUT", "/v1/kv/a", b"2", {"If-Match": f'"other", {tag}'})).status == 204
    assert (await gateway.ask("DELETE", "/v1/kv/a", None, {"If-Match": tag})).status == 412
    assert (await gateway.ask("DELETE", "/v1/kv/a", None, {"If-Match": "*"})).status == 204
    assert (await gateway.ask("DELETE", "/v1/kv/a", None, {"If-Match": '"x", "y"'})).status == 412


async def test_a_read_that_matches_is_not_modified(gateway: Any) -> None:
    tag = (await gateway.ask("PUT", "/v1/kv/a", b"1")).headers["etag"]
    for field in (tag, f'"x",W/{tag}', "*"):
        answer = await gateway.ask("GET", "/v1/kv/a", None, {"If-None-Match": field})
        assert (answer.status, answer.headers["etag"]) == (304, tag)
        assert "content-length" not in answer.headers
    assert (await gateway.ask("GET", "/v1/kv/a", None, {"If-None-Match": '"x"'})).status == 200
    assert (await gateway.ask("GET", "/v1/kv/a", None, {"If-Match": '"x"'})).status == 412


async def test_a_time_to_live_is_told_in_seconds_left(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a?ttl=12.5", b"1")
    assert (await gateway.ask("GET", "/v1/kv/a")).headers["x-kv-ttl"] == "12.500"
    await gateway.ask("PUT", "/v1/kv/a", b"1")
    assert "x-kv-ttl" not in (await gateway.ask("GET", "/v1/kv/a")).headers


async def test_the_default_keyspace_has_two_paths(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/keyspaces/default/kv/a/b", b"1")
    assert (await gateway.ask("GET", "/v1/kv/a/b")).body == b"1"
    assert (await gateway.ask("GET", "/v1/keyspaces/other/kv/a")).code == "not_found"


async def test_requests_of_one_connection_are_answered_in_order(gateway: Any) -> None:
    client = await gateway.connect()
    puts = b"".join(b"PUT /v1/kv/k%d HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n%d" % (n, n) for n in range(10))
    client.send(puts + b"".join(b"GET /v1/kv/k%d HTTP/1.1\r\nHost: t\r\n\r\n" % n for n in range(10)))
    assert [(await client.answer()).status for _ in range(10)] == [201] * 10
    assert [(await client.answer()).body for _ in range(10)] == [b"%d" % n for n in range(10)]


async def test_http_1_0_is_answered_and_closed_unless_it_asks(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    kept = await client.answer()
    assert kept.headers["connection"] == "keep-alive"
    client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await client.answer()).headers["connection"] == "close"
    assert await client.is_closed()


async def test_a_client_that_shuts_its_side_gets_its_answer(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n1")
    client.writer.write_eof()
    assert (await client.answer()).status == 201
    assert await client.is_closed()


async def test_locate_says_why(gateway: Any) -> None:
    import json

    where = json.loads((await gateway.ask("GET", "/v1/locate/some/key")).body)
    assert set(where) == {"partition", "leader", "followers", "hash", "why"}
    assert len(where["hash"]) == 16
    assert where["leader"] == gateway.nodes[where["partition"] % 2].name
    assert all(isinstance(step, str) for step in where["why"])
