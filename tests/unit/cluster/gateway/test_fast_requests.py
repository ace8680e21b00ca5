"""Requests that are recognised as a whole: what is, a parser reads exactly so; what is not plain, is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.gateway.conditions import check_content_type, parse_etags, parse_token
from cluster.gateway.fast_requests import (
    FastRequest,
    PageRequest,
    head_of,
    key_before,
    put_before,
    recognise,
    recognise_page,
    rest_of,
)
from kvstore.keys import decode_key

HOST = b"Host: h:1\r\n"
METHODS = [b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"get"]
KEYS = [
    b"a",
    b"a//b",
    b"{t}x",
    b"..",
    b"a%20b",
    b"a?ttl=1",
    b"",
    b"k" * 480,
    b"k" * 481,
    b"\xff",
    b"a b",
    b"a;b=c,d'()*+&$!@:~_-.",
]
FIELDS = [
    HOST,
    b"host: h\r\n",
    b"Host:h\r\n",
    b"Host: \r\n",
    b"User-Agent: x/1 (y; z)\r\n",
    b"Accept: */*\r\n",
    b"Accept-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 03\r\n",
    b"Content-Length: +3\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Type: text/plain\r\n",
    b"Content-Type: nonsense\r\n",
    b"Content-Type: application/x-www-form-urlencoded\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Idempotency-Key: k\r\n",
    b"Idempotency-Key: a b\r\n",
    b"Idempotency-Key: \r\n",
    b"Idempotency-Key: " + b"k" * 256 + b"\r\n",
    b"If-Match: *\r\n",
    b'If-Match: "1.2.3"\r\n',
    b'If-Match: ""\r\n',
    b'If-Match: "1.2.3", "1.2.4"\r\n',
    b'If-Match: W/"1.2.3"\r\n',
    b"If-None-Match: *\r\n",
    b'If-None-Match: "1.2.3"\r\n',
    b"Expect: 100-continue\r\n",
    b"Accept: a\r\n b\r\n",
    b"Accept: a\x00\r\n",
    b"Accept: a\n",
]
PLAIN = {"HOST", "USER-AGENT", "ACCEPT", "ACCEPT-ENCODING", "ACCEPT-LANGUAGE"}
OF_WRITE = {"CONTENT-LENGTH", "CONTENT-TYPE", "IDEMPOTENCY-KEY", "IF-MATCH", "IF-NONE-MATCH"}
KEY = "Idempotency-Key"
VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2"]
BODIES = [b"", b"abc", b"abcd", b"GET / HTTP/1.1\r\n\r\n"]


@pytest.fixture(scope="module", autouse=True)
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def requests() -> st.SearchStrategy[bytes]:
    head = st.builds(
        lambda method, key, version, fields: (
            method + b" /v1/kv/" + key + b" " + version + b"\r\n" + b"".join(fields) + b"\r\n"
        ),
        st.sampled_from(METHODS),
        st.sampled_from(KEYS),
        st.sampled_from(VERSIONS),
        st.lists(st.sampled_from(FIELDS), max_size=5).map(lambda fields: fields if HOST in fields else [HOST, *fields]),
    )
    return st.builds(lambda head, body: head + body, head, st.sampled_from(BODIES))


def parsed(loop: asyncio.AbstractEventLoop, data: bytes) -> tuple[Any, bytes]:
    """The only request in these bytes, as aiohttp's parser reads it, and its body."""
    parser = HttpRequestParser(mock.create_autospec(BaseProtocol), loop, 65536, auto_decompress=False)
    messages, is_upgraded, rest = parser.feed_data(data)
    assert not is_upgraded
    assert not rest
    ((message, payload),) = messages
    assert payload.is_eof()
    return message, payload.read_nowait(-1) if payload.total_bytes else b""


@given(requests())
@example(b"DELETE /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n")
@example(b"PUT /v1/kv/a HTTP/1.1\r\nContent-Length: 3\r\nHost: h\r\nContent-Type: text/plain\r\n\r\nabc")
@example(b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\nUser-Agent: curl/7\r\nAccept: */*\r\n\r\n")
@example(b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\nUser-Agent: x\r\nUser-Agent: x\r\n\r\n")
@example(b"DELETE /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Type: a/b\r\nContent-Type: a/b\r\n\r\n")
@example(b"PUT /v1/kv/a HTTP/1.1\r\nUser-Agent: x\r\nContent-Length: 0\r\nUser-Agent: x\r\nHost: h\r\n\r\n")
def test_whatever_is_recognised_is_what_the_parser_reads(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    request = recognise(data)
    if request is None:
        return
    message, body = parsed(loop, data)
    assert (message.method, str(message.version)) == (request.method, "HttpVersion(major=1, minor=1)")
    assert decode_key(message.path.removeprefix("/v1/kv/")) == request.key
    assert not message.should_close
    assert not message.chunked
    headers = message.headers
    assert {name.upper() for name in headers} <= PLAIN | (OF_WRITE if request.method in ("PUT", "DELETE") else set())
    if request.method == "PUT":
        assert request.value == body
        assert request.content_type == check_content_type(headers.get("Content-Type", ""))
    else:
        assert request.value is None
        assert not body
    assert request.token == (parse_token(headers.getall(KEY)) if KEY in headers else "")
    for field, condition in (("If-Match", request.if_match), ("If-None-Match", request.if_none_match)):
        etags = parse_etags(field, headers.getall(field)) if field in headers else ((), ())
        assert etags == (((condition,), ()) if condition is not None else ((), ()))


QUERIES = [
    b"",
    b"?",
    b"?limit=5&start=a/b",
    b"?prefix=%20%zz",
    b"?a#b",
    b"?a b",
    b"?a?b",
    b"/",
    b"?\xff",
    b'?"',
    b"?q=+<",
]


@given(
    st.sampled_from(METHODS),
    st.sampled_from(QUERIES),
    st.sampled_from(VERSIONS),
    st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from(BODIES),
)
@example(b"GET", b"?limit=5", b"HTTP/1.1", [b"Accept: a/b\r\n"], b"")
@example(b"GET", b"?limit=5", b"HTTP/1.1", [b"Accept: */*\r\n", b"Accept: a/b\r\n"], b"")
def test_whatever_is_recognised_of_a_page_is_what_the_parser_reads(
    loop: asyncio.AbstractEventLoop, method: bytes, query: bytes, version: bytes, fields: list[bytes], body: bytes
) -> None:
    data = b"%b /v1/kv%b %b\r\n%b%b\r\n%b" % (method, query, version, HOST, b"".join(fields), body)
    request = recognise_page(data)
    if request is None:
        return
    message, read = parsed(loop, data)
    assert (message.method, str(message.version)) == ("GET", "HttpVersion(major=1, minor=1)")
    assert message.path.partition("?") == ("/v1/kv", "?" if query else "", request.query)
    assert not message.should_close
    assert not read
    assert {name.upper() for name in message.headers} <= PLAIN
    assert message.headers.get("Accept", "") == request.accept


def test_a_plain_page_is_recognised() -> None:
    plain = b"GET /v1/kv?limit=100&start=a/b%20 HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n"
    assert recognise_page(plain) == PageRequest("limit=100&start=a/b%20", "*/*")
    assert recognise_page(b"GET /v1/kv HTTP/1.1\r\nHost: h\r\n\r\n") == PageRequest("", "")
    assert recognise_page(plain[:-1]) is None
    assert recognise_page(plain * 2) is None


@given(requests(), requests(), st.booleans())
@example(b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /v1/kv/ HTTP/1.1\r\nHost: h\r\n\r\n", False)
@example(b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n", b"HEAD /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n", False)
@example(b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /v1/kv/ HTTP/1.1\r\nHost: h\r\n\r\n" * 2, False)
def test_what_is_known_again_is_what_is_recognised_with_the_same_rest(
    former: bytes, data: bytes, is_like: bool
) -> None:
    request = recognise(former)
    rest = b"" if request is None else rest_of(former, request)
    if is_like:
        data = data.partition(b" HTTP/")[0] + rest
    now = recognise(data)
    is_same = rest and now is not None and now.method == "GET" and rest_of(data, now) == rest
    assert key_before(rest, data) == (now.key if now is not None and is_same else None)


@pytest.mark.parametrize("byte", range(256))
def test_a_key_that_is_known_again_has_the_bytes_that_one_may_have(byte: int) -> None:
    rest = b" HTTP/1.1\r\nHost: h\r\n\r\n"
    data = b"GET /v1/kv/a" + bytes((byte,)) + rest
    assert (key_before(rest, data) is None) == (recognise(data) is None)


def test_a_key_that_is_known_again_is_no_longer_than_one_may_be() -> None:
    rest = b" HTTP/1.1\r\nHost: h\r\n\r\n"
    assert key_before(rest, b"GET /v1/kv/" + b"k" * 480 + rest) == b"k" * 480
    assert key_before(rest, b"GET /v1/kv/" + b"k" * 481 + rest) is None


def test_what_follows_a_key_is_known_again_only_where_it_is_short_and_of_a_get() -> None:
    for method, agent, is_known in (("GET", 9, True), ("GET", 255, True), ("HEAD", 9, False), ("PUT", 9, False)):
        data = f"{method} /v1/kv/a HTTP/1.1\r\nHost: h\r\nUser-Agent: {'x' * agent}\r\nContent-Length: 0\r\n\r\n"
        data = data if method == "PUT" else data.replace("Content-Length: 0\r\n", "")
        request = recognise(data.encode())
        assert request is not None
        assert bool(rest_of(data.encode(), request)) == is_known
    long = b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n" + (b"Accept: " + b"x" * 250 + b"\r\n") * 5 + b"\r\n"
    request = recognise(long)
    assert request is not None
    assert not rest_of(long, request)


A_PUT = b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"


@given(requests(), requests(), st.sampled_from([None, b"", b"abc", b"abcd", b"\r\n\r\n", A_PUT]))
@example(A_PUT + b"abc", A_PUT + A_PUT, None)
@example(A_PUT + b"abc", A_PUT, b"xyz")
@example(A_PUT + b"abc", b"PUT /v1/kv/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", None)
@example(A_PUT + b"abc", b"PUT /v1/kv/" + b"k" * 481 + b" HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", None)
@example(A_PUT + b"abc", b"PUT /v1/kv/a b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", None)
def test_a_put_that_is_known_again_is_what_is_recognised_with_the_same_head(
    former: bytes, data: bytes, body: bytes | None
) -> None:
    request = recognise(former)
    head = None if request is None else head_of(former, request)
    if head is None:
        return
    if body is not None:
        data = data.partition(b" HTTP/")[0] + head.rest + body
    now = recognise(data)
    is_same = now is not None and head_of(data, now) == head
    assert put_before(head, data) == (now if is_same else None)


def test_a_put_is_known_again_only_with_a_short_head_and_without_token_and_conditions() -> None:
    for fields, is_known in (
        ("", True),
        ("Content-Type: text/plain\r\n", True),
        ("Idempotency-Key: k\r\n", False),
        ("If-Match: *\r\n", False),
        ("If-None-Match: *\r\n", False),
        (f"Accept: {'x' * 250}\r\n" * 5, False),
    ):
        data = f"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: 3\r\n\r\nabc".encode()
        request = recognise(data)
        assert request is not None
        assert (head_of(data, request) is not None) == is_known
    for method in ("GET", "DELETE"):
        data = f"{method} /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n".encode()
        request = recognise(data)
        assert request is not None
        assert head_of(data, request) is None


@pytest.mark.parametrize("size", [200, 201])
def test_a_put_is_known_again_when_all_of_its_body_is_there(size: int) -> None:
    data = b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"v" * size
    request = recognise(data)
    assert request is not None
    head = head_of(data, request)
    assert head is not None
    assert [end for end in range(len(data) + 1) if put_before(head, data[:end])] == [len(data)]
    assert put_before(head, data + b"v") is None


def test_a_put_that_is_known_again_is_no_longer_than_one_may_be() -> None:
    for size, is_known in ((32 * 1024 - 80, True), (32 * 1024 - 60, False)):
        length = f"Content-Length: {size}\r\n".encode()
        data = [
            b"PUT /v1/kv/%b HTTP/1.1\r\nHost: h\r\n%b\r\n%b" % (key, length, b"v" * size) for key in (b"a", b"k" * 20)
        ]
        request = recognise(data[0])
        assert request is not None
        head = head_of(data[0], request)
        assert head is not None
        assert put_before(head, data[1]) == recognise(data[1])
        assert (recognise(data[1]) is not None) == is_known


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    for start in (
        b"",
        b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n",
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n",
    ):
        recognise(start + data)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_a_plain_request_is_recognised(method: str) -> None:
    data = (
        f"{method} /v1/kv/config/db HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"
    )
    assert recognise(data.encode()) == FastRequest(method, b"config/db")


def test_a_plain_put_is_recognised_whatever_the_order_of_its_fields() -> None:
    fields = [b"Host: h\r\n", b"Content-Length: 2\r\n", b"Content-Type: text/plain\r\n", b"Accept: */*\r\n"]
    for turn in range(4):
        data = b"PUT /v1/kv/a HTTP/1.1\r\n" + b"".join(fields[turn:] + fields[:turn]) + b"\r\nhi"
        assert recognise(data) == FastRequest("PUT", b"a", b"hi", "text/plain")


def test_a_write_with_a_token_and_conditions_is_recognised() -> None:
    fields = 'Host: h\r\nIdempotency-Key: a b\r\nIf-Match: "1.2.3"\r\nContent-Length: {}\r\n'
    put = f"PUT /v1/kv/a HTTP/1.1\r\n{fields.format(2)}\r\nhi".encode()
    assert recognise(put) == FastRequest("PUT", b"a", b"hi", "application/octet-stream", "a b", "1.2.3")
    delete = f"DELETE /v1/kv/a HTTP/1.1\r\n{fields.format(0)}If-None-Match: *\r\n\r\n".encode()
    assert recognise(delete) == FastRequest("DELETE", b"a", None, "", "a b", "1.2.3", "*")


@pytest.mark.parametrize("field", ["Idempotency-Key: k", "If-Match: *", "If-None-Match: *", "Content-Type: a/b"])
def test_a_field_that_is_there_twice_is_left_to_the_parser(field: str) -> None:
    once = f"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n{field}\r\n"
    assert recognise(f"{once}\r\n".encode()) is not None
    assert recognise(f"{once}{field}\r\n\r\n".encode()) is None
    assert recognise(f"{once}Accept: */*\r\n{field}\r\n\r\n".encode()) is None


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_part_of_a_request_is_not(cut: int) -> None:
    data = b"PUT /v1/kv/a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789"
    assert recognise(data) is not None
    assert recognise(data[:-cut]) is None


def test_two_requests_are_not() -> None:
    data = b"GET /v1/kv/a HTTP/1.1\r\nHost: h\r\n\r\n"
    assert recognise(data * 2) is None
