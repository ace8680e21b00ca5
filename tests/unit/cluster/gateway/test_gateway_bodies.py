"""Batches decode to the same operations from both forms."""

from __future__ import annotations

import base64
import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.bodies import OPERATIONS_MAX, decode_batch, encode_results
from cluster.gateway.body_forms import Format
from cluster.gateway.operations import Change, Deleted, Found, Get, Stored
from kvstore.errors import BodyTooLarge, KeyNotFound, KeyTooLong

KEYS = st.binary(min_size=1, max_size=40)


@given(key=KEYS, value=st.binary(max_size=40), ttl=st.none() | st.floats(0.001, 1000))
def test_both_forms_say_the_same(key: bytes, value: bytes, ttl: float | None) -> None:
    extra = {} if ttl is None else {"ttl": ttl}
    packed = msgpack.packb({"ops": [{"op": "put", "key": key, "value": value, **extra}]})
    text = {"key_b64": base64.b64encode(key).decode(), "value_b64": base64.b64encode(value).decode()}
    as_json = json.dumps({"ops": [{"op": "put", **text, **extra}]}).encode()
    (operation,) = decode_batch(packed, Format.MSGPACK, "default")
    assert decode_batch(as_json, Format.JSON, "default") == [operation]
    assert isinstance(operation, Change)
    assert (operation.key, operation.value) == (key, value)


@given(key=st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()))
def test_text_keys_are_utf8(key: str) -> None:
    body = json.dumps({"ops": [{"op": "get", "key": key}]}, ensure_ascii=False).encode()
    assert decode_batch(body, Format.JSON, "default") == [Get("default", key.encode())]


def test_what_is_wrong_with_one_key_is_its_own_result() -> None:
    body = json.dumps({"ops": [{"op": "get", "key": "k" * 481}, {"op": "get", "key": "a"}]}).encode()
    first, second = decode_batch(body, Format.JSON, "default")
    assert isinstance(first, KeyTooLong)
    assert second == Get("default", b"a")


@pytest.mark.parametrize("gets_only", [False, True])
@pytest.mark.parametrize(
    "broken",
    [
        b"\x81\xa3ops\xdd" + (OPERATIONS_MAX + 1).to_bytes(4, "big"),
        b"\xde\x00\x01\xd9\x03ops\xdc" + (OPERATIONS_MAX + 1).to_bytes(2, "big"),
        b"\x82\xa3ops\x92\x80\x80\xa3ops\xdc" + (OPERATIONS_MAX - 1).to_bytes(2, "big"),
    ],
)
def test_too_many_operations_are_refused_before_they_are_decoded(broken: bytes, gets_only: bool) -> None:
    with pytest.raises(BodyTooLarge, match="1000"):
        decode_batch(broken + b"\xc1" * OPERATIONS_MAX, Format.MSGPACK, "default", gets_only=gets_only)


@given(value=st.binary(max_size=40))
def test_values_come_back_byte_for_byte(value: bytes) -> None:
    results = [Found(value, "text/plain", "1.1.1", 2.5), Stored(True, "1.1.2", 2), Deleted(), KeyNotFound("no")]
    found, stored, deleted, missing = json.loads(encode_results(results, Format.JSON))["results"]
    text = found.get("value")
    assert (text.encode() if text is not None else base64.b64decode(found["value_b64"])) == value
    assert (found["ttl"], found["etag"]) == (2.5, "1.1.1")
    assert (stored, deleted) == ({"status": 201, "etag": "1.1.2"}, {"status": 204})
    assert missing == {"status": 404, "code": "key_not_found", "detail": "no"}
    assert msgpack.unpackb(encode_results(results, Format.MSGPACK))["results"][0]["value"] == value
