"""Keys that try to be something else: each is its own key or a clear refusal."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from bad_input.keys import VERBATIM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvstore.storage.records import decode_value


@pytest.mark.parametrize(("path", "key"), VERBATIM)
async def test_a_path_names_exactly_its_bytes(gateway: Any, path: str, key: bytes) -> None:
    assert (await gateway.ask("PUT", f"/v1/kv/{path}", b"v")).status == 201
    assert set(gateway.nodes[0].rows) | set(gateway.nodes[1].rows) == {key}
    assert (await gateway.ask("GET", f"/v1/kv/{path}")).body == b"v"
    assert (await gateway.ask("DELETE", f"/v1/kv/{path}")).status == 204
    assert not gateway.nodes[0].rows
    assert not gateway.nodes[1].rows


@pytest.mark.parametrize("path", ["", "%", "a%", "%zz", "%2", "a%2gb", "%-1", "%٣", "%u0041"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_no_key_is_refused(gateway: Any, method: str, path: str) -> None:
    body = b"v" if method == "PUT" else None
    answer = await gateway.raw(
        f"{method} /v1/kv/{path} HTTP/1.1\r\nHost: t\r\n".encode()
        + (b"Content-Length: 1\r\n\r\nv" if body else b"\r\n")
    )
    assert (answer.status, answer.code) == (400, "bad_key")
    assert not gateway.writes


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3\xa9", b"\xe2\x80\xae", b"a\x00", b"a/\x7f"])
async def test_raw_bytes_beyond_printable_ascii_are_refused(gateway: Any, raw: bytes) -> None:
    answer = await gateway.raw(b"GET /v1/kv/" + raw + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    assert (answer.status, answer.code) == (400, "bad_key")
    assert "%XX" in answer.detail


@pytest.mark.parametrize("length", [481, 511, 512, 2000])
async def test_a_key_that_is_too_long_says_so(gateway: Any, length: int) -> None:
    answer = await gateway.ask("PUT", f"/v1/kv/{'k' * length}", b"v")
    assert (answer.status, answer.code) == (414, "key_too_long")
    assert str(length) in answer.detail


@pytest.mark.parametrize("length", [9_000, 10_000, 200_000])
async def test_a_url_that_is_too_long_says_so(gateway: Any, length: int) -> None:
    answer = await gateway.raw(b"GET /v1/kv/" + b"k" * length + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    assert (answer.status, answer.code) == (414, "uri_too_long")
    assert answer.headers["connection"] == "close"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.binary(min_size=1, max_size=480), safe=st.sampled_from(["", "/", "/:@!$&'()*+,;=-._~"]))
async def test_any_bytes_make_a_key(gateway: Any, key: bytes, safe: str) -> None:
    for node in gateway.nodes:
        node.rows.clear()
    client = await gateway.connect()
    assert (await client.ask("PUT", "/v1/kv/" + quote(key, safe=safe), b"v")).status == 201
    rows = {**gateway.nodes[0].rows, **gateway.nodes[1].rows}
    assert list(rows) == [key]
    assert decode_value(rows[key]).value == b"v"
    await client.close()
