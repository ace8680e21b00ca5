"""Heads that are too long, doubled, forged, or not HTTP at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

GET = b"GET /healthz HTTP/1.1\r\nHost: t\r\n"


async def test_sixty_four_fields_are_taken_and_one_more_is_not(gateway: Any) -> None:
    assert (await gateway.raw(GET + b"".join(b"X-%d: 1\r\n" % n for n in range(63)) + b"\r\n")).status == 200
    answer = await gateway.raw(GET + b"".join(b"X-%d: 1\r\n" % n for n in range(64)) + b"\r\n")
    assert (answer.status, answer.code) == (431, "headers_too_large")


@pytest.mark.parametrize("field", [b"X: " + b"v" * 9000, b"X" * 9000 + b": v", b"X: /" + b"v" * 100_000])
async def test_a_field_that_is_too_long_says_so(gateway: Any, field: bytes) -> None:
    answer = await gateway.raw(GET + field + b"\r\n\r\n")
    assert (answer.status, answer.code) == (431, "headers_too_large")


async def test_a_field_that_grows_in_pieces_is_refused_as_well(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(GET)
    await client.writer.drain()
    for _ in range(20):
        client.send(b"X: " + b"v" * 500 if _ == 0 else b"v" * 500)
        await client.writer.drain()
    assert (await client.answer()).code == "headers_too_large"


REFUSED = [
    GET + b"X: a\x00b\r\n\r\n",
    GET + b"X: a\rb\r\n\r\n",
    GET + b"X: a\nb\r\n\r\n",
    GET + b"X : a\r\n\r\n",
    GET + b" folded\r\n\r\n",
    GET + b"X: a\r\n folded\r\n\r\n",
    GET + b"\x00: a\r\n\r\n",
    GET + b"Host: other\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz\r\n\r\n",
    b"GET /healthz HTTP/0.9\r\n\r\n",
    b"GET /healthz HTTP/2.0\r\nHost: t\r\n\r\n",
    b"GET /healthz HTTP/1.2\r\nHost: t\r\n\r\n",
    b"GET /healthz HTTP/11.1\r\nHost: t\r\n\r\n",
    b"FETCH /healthz HTTP/1.1\r\nHost: t\r\n\r\n",
    b"get /healthz HTTP/1.1\r\nHost: t\r\n\r\n",
    b"GET healthz HTTP/1.1\r\nHost: t\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    b"KVR1" + bytes(16),
    b"\x00" * 32,
    b"\xff" * 32 + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", REFUSED)
async def test_what_is_no_request_is_answered_as_a_problem(gateway: Any, data: bytes) -> None:
    client = await gateway.connect()
    client.send(data)
    answer = await client.answer()
    assert (answer.status, answer.code) == (400, "bad_request")
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    assert await client.is_closed()


BEFORE_REFUSED = [
    *REFUSED,
    GET + b"Connection: close\r\n\r\n" + GET + b"\r\n",
    GET + b"".join(b"X-%d: 1\r\n" % n for n in range(70)) + b"\r\n",
    b"GET /" + b"k" * 9000 + b" HTTP/1.1\r\nHost: t\r\n\r\n",
]


@pytest.mark.parametrize("data", BEFORE_REFUSED)
@pytest.mark.parametrize("is_together", [True, False])
async def test_what_was_asked_before_it_has_its_own_answer(gateway: Any, data: bytes, is_together: bool) -> None:
    requests = [
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\nX-A: 1\r\n\r\n\r\n\r\n\r\n\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"GET /v1/kv/a HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /v1/kv/%zz HTTP/1.1\r\nHost: t\r\n\r\n",
        data,
    ]
    client = await gateway.connect()
    answers = []
    if is_together:
        client.send(b"".join(requests))
    for request in requests:
        if not is_together:
            client.send(request)
        answers.append(await client.answer())
    assert [answer.status for answer in answers[:4]] == [201, 204, 200, 400]
    assert answers[2].body == b"x"
    assert answers[4].headers["connection"] == "close"
    assert await client.is_closed()


async def test_so_it_has_behind_a_body_that_began_before(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nx")
    await asyncio.sleep(0.02)
    client.send(b"y" + GET + b"\r\n" + b"no request\r\n\r\n")
    assert [(await client.answer()).status for _ in range(3)] == [201, 200, 400]


async def test_an_absolute_target_is_the_same_as_its_path(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"1")
    assert (await gateway.raw(b"GET http://any/v1/kv/a HTTP/1.1\r\nHost: t\r\n\r\n")).body == b"1"
    assert (await gateway.raw(b"GET http://any HTTP/1.1\r\nHost: t\r\n\r\n")).status == 200


async def test_a_tunnel_and_an_upgrade_are_not_given(gateway: Any) -> None:
    tunnel = await gateway.raw(b"CONNECT other:80 HTTP/1.1\r\nHost: t\r\n\r\n")
    assert tunnel.status in (400, 404)
    client = await gateway.connect()
    client.send(GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nmore")
    answer = await client.answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert await client.is_closed()


async def test_a_path_that_is_not_there_and_a_method_that_is_not_allowed(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/v2/kv/a")).code == "not_found"
    assert (await gateway.ask("GET", "/v1/kvs/a")).code == "not_found"
    assert (await gateway.ask("GET", "/etc/passwd")).code == "not_found"
    answer = await gateway.ask("POST", "/v1/kv/a", b"x")
    assert (answer.status, answer.code, answer.headers["allow"]) == (
        405,
        "method_not_allowed",
        "GET, HEAD, PUT, DELETE",
    )
    assert (await gateway.ask("DELETE", "/v1/cluster")).headers["allow"] == "GET, HEAD"
    assert (await gateway.raw(b"OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")).status == 404


@pytest.mark.parametrize("given", ["a\x7fb", "text/plain; " + "x" * 300, "text/caf\xe9"])
async def test_a_content_type_that_no_header_could_carry_is_refused(gateway: Any, given: str) -> None:
    answer = await gateway.ask("PUT", "/v1/kv/a", b"1", {"Content-Type": given})
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize("given", ["x", '"x', '"a" "b"', "*, *", ",", ',"a', 'W/"', '"a\tb"'])
async def test_a_condition_that_is_no_list_of_etags_is_refused(gateway: Any, given: str) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"1")
    for method, name in (("PUT", "If-Match"), ("DELETE", "If-Match"), ("GET", "If-None-Match")):
        answer = await gateway.ask(method, "/v1/kv/a", b"2" if method == "PUT" else None, {name: given})
        assert (answer.status, answer.code) == (400, "bad_request"), (method, given)
    assert (await gateway.ask("PUT", "/v1/kv/a", b"2", {"If-None-Match": '"x"'})).status == 400
