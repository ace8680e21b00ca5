"""Bodies that are too large, wrongly framed, encoded, or that never come."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from typing import Any

import pytest

MIB = 1024**2


async def test_the_largest_value_is_taken_and_one_byte_more_is_not(gateway: Any) -> None:
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x" * MIB)).status == 201
    assert (await gateway.ask("GET", "/v1/kv/a")).body == b"x" * MIB
    answer = await gateway.ask("PUT", "/v1/kv/b", b"x" * (MIB + 1))
    assert (answer.status, answer.code) == (413, "value_too_large")


async def test_an_announced_length_is_refused_before_the_body_comes(gateway: Any) -> None:
    answer = await gateway.raw(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n")
    assert (answer.status, answer.code) == (413, "value_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_chunked_body_is_counted(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(17):
        client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    answer = await client.answer()
    assert (answer.status, answer.code) == (413, "value_too_large")
    assert gateway.writes == 0


async def test_a_hundred_thousand_chunks_of_one_byte_are_one_value(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
    assert (await client.answer()).status == 201
    assert (await client.ask("GET", "/v1/kv/a")).body == b"x" * 100_000


FRAMINGS = [
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 0x10",
    b"Content-Length: 5, 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 18446744073709551616",
    b"Content-Length: \xd9\xa3",
    b"Content-Length: ",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: xchunked",
]


@pytest.mark.parametrize("field", FRAMINGS)
async def test_an_ambiguous_length_is_refused(gateway: Any, field: bytes) -> None:
    answer = await gateway.raw(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\n" + field + b"\r\n\r\nhello\r\n0\r\n\r\n")
    assert answer.status == 400, answer.body
    assert answer.headers["connection"] == "close"
    assert gateway.writes == 0


async def test_a_coding_that_is_not_there_says_so(gateway: Any) -> None:
    answer = await gateway.raw(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    assert (answer.status, answer.code) == (501, "not_implemented")


async def test_a_chunked_body_in_http_1_0_is_refused(gateway: Any) -> None:
    answer = await gateway.raw(b"PUT /v1/kv/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_a_body_beside_an_upgrade_is_a_body(gateway: Any) -> None:
    head = b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"
    answer = await gateway.raw(head + b"hello")
    assert (answer.status, answer.headers["connection"]) == (201, "close")
    assert (await gateway.ask("GET", "/v1/kv/a")).body == b"hello"


@pytest.mark.parametrize(
    "chunks",
    [
        b"fffffffffffffffff\r\n",
        b"ffffffffffffffff\r\n" + b"x" * (MIB + 1),
        b"-1\r\nx\r\n",
        b"zz\r\n",
        b"5\r\nhelloXX\r\n",
        b"1\r\nx\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
async def test_a_broken_chunk_is_refused_and_nothing_is_written(gateway: Any, chunks: bytes) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(0.01)
    client.send(chunks)
    answer = await client.answer()
    assert answer.status in (400, 413), answer.body
    assert await client.is_closed()
    assert gateway.writes == 0


async def test_a_body_shorter_than_announced_writes_nothing(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nshort")
    client.writer.write_eof()
    assert (await client.answer()).code == "bad_body"
    assert gateway.writes == 0


async def test_a_client_that_asks_first_is_told_to_go_on(gateway: Any) -> None:
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer()).status == 100
    client.send(b"hello")
    assert (await client.answer()).status == 201


async def test_a_client_that_asks_first_is_refused_before_it_sends(gateway: Any) -> None:
    answer = await gateway.raw(
        b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (answer.status, answer.code) == (413, "value_too_large")


async def test_an_expectation_that_cannot_be_met_is_refused(gateway: Any) -> None:
    answer = await gateway.raw(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nExpect: magic\r\n\r\nx")
    assert (answer.status, answer.code) == (400, "bad_request")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_body_where_none_belongs_is_refused(gateway: Any, method: str) -> None:
    answer = await gateway.ask(method, "/v1/kv/a", b"body")
    assert (answer.status, answer.code) == (400, "bad_body")


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"\0" * 10 * MIB)),
        ("gzip", gzip.compress(b"") * 10_000),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x"))),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("br", b"\x00"),
        ("identity", b"x"),
    ],
    ids=["a bomb", "many members", "twice", "zstd", "br", "identity"],
)
async def test_an_encoded_body_is_refused_without_decoding(gateway: Any, coding: str, body: bytes) -> None:
    answer = await gateway.ask("PUT", "/v1/kv/a", body, {"Content-Encoding": coding})
    assert (answer.status, answer.code) == (415, "unsupported_encoding")
    assert (await gateway.ask("POST", "/v1/batch", body, {"Content-Encoding": coding})).status == 415


async def test_bodies_together_stay_within_the_budget(start_gateway: Any) -> None:
    gateway = await start_gateway(in_flight_bytes_max=MIB)
    holder = await gateway.connect()
    holder.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
    await asyncio.sleep(0.05)
    refused = await gateway.ask("PUT", "/v1/kv/b", b"x" * 100_000)
    assert (refused.status, refused.code) == (429, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await gateway.ask("PUT", "/v1/kv/b", b"x" * 1000)).status == 201
    holder.send(b"x" * 999_000)
    assert (await holder.answer()).status == 201
    assert gateway.server.budget.used == 0


async def test_a_body_that_is_refused_leaves_no_memory_behind(gateway: Any) -> None:
    async def refuse() -> None:
        client = await gateway.connect()
        client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send((b"8000\r\n" + b"x" * 32768 + b"\r\n") * 40)
        assert (await client.answer()).status == 413
        await client.close()

    await refuse()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(10):
            await refuse()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 4 * MIB
    assert gateway.server.budget.used == 0
