"""Batches in JSON and MessagePack: what they do, and what is no batch."""

from __future__ import annotations

import base64
import itertools
import json
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}
MIB = 1024**2


async def ask_json(gateway: Any, ops: list[dict[str, Any]], **headers: str) -> Any:
    return await gateway.ask("POST", "/v1/batch", json.dumps({"ops": ops}).encode(), {**JSON, **headers})


async def test_operations_of_a_batch_are_independent(gateway: Any) -> None:
    answer = await ask_json(
        gateway,
        [
            {"op": "put", "key": "a", "value": "x", "ttl": 60, "content_type": "text/plain", "if_none_match": "*"},
            {"op": "get", "key": "missing"},
            {"op": "put", "key": "b", "value": "x", "if_match": "1.1.1"},
            {"op": "delete", "key": "c"},
            {"op": "put", "key": "k" * 481, "value": "x"},
            {"op": "put", "key": "big", "value": "x" * (MIB + 1)},
        ],
    )
    assert answer.status == 200
    results = json.loads(answer.body)["results"]
    assert [result["status"] for result in results] == [201, 404, 412, 204, 414, 413]
    assert [result.get("code") for result in results] == [
        None,
        "key_not_found",
        "precondition_failed",
        None,
        "key_too_long",
        "value_too_large",
    ]
    (got,) = json.loads((await ask_json(gateway, [{"op": "get", "key": "a"}])).body)["results"]
    assert got == {"status": 200, "value": "x", "etag": results[0]["etag"], "content_type": "text/plain", "ttl": 60.0}


async def test_operations_on_one_key_happen_in_order(gateway: Any) -> None:
    ops = [{"op": "get", "key": "a"}]
    for turn in range(20):
        ops += [{"op": "put", "key": "a", "value": str(turn)}, {"op": "get", "key": "a"}]
    ops += [{"op": "delete", "key": "a"}, {"op": "get", "key": "a"}]
    results = json.loads((await ask_json(gateway, ops)).body)["results"]
    assert [result["value"] for result in results[2:-2:2]] == [str(turn) for turn in range(20)]
    assert (results[0]["status"], results[-1]["status"]) == (404, 404)


async def test_bytes_that_are_no_text_travel_as_base64(gateway: Any) -> None:
    raw = b"\xff\x00"
    text = base64.b64encode(raw).decode()
    await ask_json(gateway, [{"op": "put", "key_b64": text, "value_b64": text}])
    (got,) = json.loads((await ask_json(gateway, [{"op": "get", "key_b64": text}])).body)["results"]
    assert got["value_b64"] == text
    assert "value" not in got
    assert (await gateway.ask("GET", "/v1/kv/%ff%00")).body == raw


async def test_messagepack_says_the_same_with_bytes(gateway: Any) -> None:
    ops = [{"op": "put", "key": b"\xff", "value": b"\xfe", "ttl": 1}, {"op": "get", "key": b"\xff"}]
    answer = await gateway.ask("POST", "/v1/batch", msgpack.packb({"ops": ops}), MSGPACK)
    assert answer.headers["content-type"] == "application/msgpack"
    put, got = msgpack.unpackb(answer.body)["results"]
    assert put == {"status": 201, "etag": got["etag"]}
    assert (got["value"], got["ttl"], got["content_type"]) == (b"\xfe", 1.0, "application/octet-stream")
    as_json = await gateway.ask(
        "POST", "/v1/batch", msgpack.packb({"ops": ops}), {**MSGPACK, "Accept": "application/json"}
    )
    assert json.loads(as_json.body)["results"][1]["value_b64"] == base64.b64encode(b"\xfe").decode()


BAD_JSON = [
    "",
    "null",
    "[]",
    "{}",
    '{"ops":{}}',
    '{"ops":[1]}',
    '{"ops":[{}]}',
    '{"ops":[{"op":"drop","key":"a"}]}',
    '{"ops":[{"op":"get"}]}',
    '{"ops":[{"op":"get","key":1}]}',
    '{"ops":[{"op":"get","key":"a","key_b64":"YQ=="}]}',
    '{"ops":[{"op":"get","key_b64":"*"}]}',
    '{"ops":[{"op":"get","key":"a","value":"x"}]}',
    '{"ops":[{"op":"get","key":"a","if_match":"x"}]}',
    '{"ops":[{"op":"put","key":"a"}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","value_b64":"eA=="}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","ttl":0}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","ttl":-1}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","ttl":"1"}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","ttl":1e300}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","ttl":NaN}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","if_match":"\\"x\\""}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","if_none_match":"x"}]}',
    '{"ops":[{"op":"delete","key":"a","ttl":1}]}',
    '{"ops":[{"op":"get","key":"a","key_b64":null}]}',
    '{"ops":[{"op":"get","key":"a","value":null}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","ttl":null}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","content_type":null}]}',
    '{"ops":[{"op":"put","key":"a","value":"x","if_match":null}]}',
    '{"ops":[{"op":"get","key":"a","colour":"red"}]}',
    '{"ops":[],"more":1}',
    '{"ops":[]} {}',
    '{"ops":[{"op":"get","key":"\\ud800"}]}',
    "[" * 100_000,
    '{"ops":' + "[" * 1000 + "]" * 1000 + "}",
]


@pytest.mark.parametrize("body", BAD_JSON)
async def test_json_that_is_no_batch_is_refused_whole(gateway: Any, body: str) -> None:
    answer = await gateway.ask("POST", "/v1/batch", body.encode(), JSON)
    assert (answer.status, answer.code) == (400, "bad_body")
    assert gateway.writes == 0


OP = {"op": "put", "key": b"a", "value": b"x"}
BAD_MSGPACK = [
    b"",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\x81\xa3ops\xdd\xff\xff\xff\xff",
    b"\x90" * MIB,
    b"\x80" * MIB,
    b"\xdd\x00\x0f\xff\xff" + b"\x80" * MIB,
    b"\x91" * 17 + b"\x01",
    b"\x91" * 1000 + b"\x01",
    b"\x91" * 1100 + b"\x01",
    b"\x91" * 100_000 + b"\x01",
    b"\x81\xa3ops" + b"\x91" * 900 + b"\x01",
    msgpack.packb({1: []}),
    b"\x81\xcb" + struct.pack(">d", float("nan")) + b"\x90",
    b"\x82\xa3ops\x90\xa3ops\x90",
    b"\x81\xa3ops\x91\x83\xa2op\xa3get\xa2op\xa3get\xa3key\xc4\x01a",
    msgpack.packb({"ops": []}) + b"\x00",
    msgpack.packb({"ops": [msgpack.ExtType(5, b"x")]}),
    b"\x81\xa3ops\x91\xc7\x0c\xff" + b"\xff" * 12,
    b"\x81\xa3ops\x91\xd6\xff\x00\x00\x00\x00",
    b"\x81\xa3\xff\xfe\xfd\x90",
    msgpack.packb({"ops": [{**OP, "op": b"put"}]}),
    msgpack.packb({"ops": [{**OP, "key": "text"}]}),
    msgpack.packb({"ops": [{**OP, "value": "text"}]}),
    msgpack.packb({"ops": [{**OP, "ttl": 2**64 - 1}]}),
    msgpack.packb({"ops": [{**OP, "ttl": float("inf")}]}),
    msgpack.packb({"ops": [{**OP, "ttl": None}]}),
    msgpack.packb({"ops": [{"op": "get", "key": b"a", "value": None}]}),
    msgpack.packb({"ops": [{**OP, "more": 1}]}),
]


@pytest.mark.parametrize("body", BAD_MSGPACK, ids=range(len(BAD_MSGPACK)))
async def test_messagepack_that_is_no_batch_is_refused_whole(gateway: Any, body: bytes) -> None:
    answer = await gateway.ask("POST", "/v1/batch", body, MSGPACK)
    assert (answer.status, answer.code) == (400, "bad_body")
    assert gateway.writes == 0


async def test_a_batch_cut_anywhere_is_refused(gateway: Any) -> None:
    whole = msgpack.packb({"ops": [{**OP, "ttl": 1.5, "content_type": "text/plain"}, {"op": "get", "key": b"a"}]})
    client = await gateway.connect()
    for end in range(len(whole)):
        answer = await client.ask("POST", "/v1/batch", whole[:end], MSGPACK)
        assert (answer.status, answer.code) == (400, "bad_body"), end
    assert gateway.writes == 0


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300), is_packed=st.booleans())
async def test_noise_is_refused_and_harms_nothing(gateway: Any, body: bytes, is_packed: bool) -> None:
    answer = await gateway.ask("POST", "/v1/batch", body, MSGPACK if is_packed else JSON)
    assert (answer.status, answer.code) == (400, "bad_body")


async def test_a_batch_has_at_most_a_thousand_operations(gateway: Any) -> None:
    ops = [{"op": "get", "key": f"k{number}"} for number in range(1000)]
    assert len(json.loads((await ask_json(gateway, ops)).body)["results"]) == 1000
    answer = await ask_json(gateway, [*ops, {"op": "get", "key": "one more"}])
    assert (answer.status, answer.code) == (413, "body_too_large")
    for op, count in itertools.product(({"op": "get", "key": b"a"}, {**OP, "ttl": 1}), (1001, 5000)):
        packed = msgpack.packb({"ops": [op] * count})
        answer = await gateway.ask("POST", "/v1/batch", packed, MSGPACK)
        assert (answer.status, answer.code) == (413, "body_too_large")


async def test_a_batch_has_at_most_sixteen_mebibytes(gateway: Any) -> None:
    answer = await gateway.raw(
        b"POST /v1/batch HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 16777217\r\n\r\n"
    )
    assert (answer.status, answer.code) == (413, "body_too_large")


async def test_an_answer_that_grows_too_large_leaves_the_rest_to_another_batch(start_gateway: Any) -> None:
    gateway = await start_gateway(batch_answer_bytes_max=4096, max_value_bytes=16 * MIB)
    keys = [f"k{number}" for number in range(40)]
    await ask_json(gateway, [{"op": "put", "key": key, "value": "x" * 1000} for key in keys])
    results = json.loads((await ask_json(gateway, [{"op": "get", "key": key} for key in keys])).body)["results"]
    codes = [result.get("code") for result in results]
    assert (codes.count(None), codes.count("body_too_large")) == (4, 36)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/jsonp", "multipart/form-data"])
async def test_a_batch_of_another_type_is_refused(gateway: Any, kind: str) -> None:
    answer = await gateway.ask("POST", "/v1/batch", b'{"ops":[]}', {"Content-Type": kind})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "application/json; charset=utf-8"])
async def test_a_batch_of_no_type_is_json(gateway: Any, kind: str | None) -> None:
    answer = await gateway.ask("POST", "/v1/batch", b'{"ops":[]}', {"Content-Type": kind} if kind else None)
    assert (answer.status, answer.body) == (200, b'{"results":[]}')
