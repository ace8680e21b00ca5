"""Plain batches decode to what every other batch would."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway import bodies
from cluster.gateway.bodies import OPERATIONS_MAX, decode_batch
from cluster.gateway.body_forms import Format
from cluster.gateway.operations import Change, Get, Operation
from cluster.gateway.plain_batches import decode_plain
from kvstore.errors import BadBody, BodyTooLarge, KvError
from kvstore.keys import KEY_BYTES_MAX

TEXTS = st.text(max_size=20)
BYTES = st.binary(max_size=20)
KINDS = st.sampled_from(["get", "put", "delete", "incr"])
MORE = st.dictionaries(
    st.sampled_from(["ttl", "content_type", "if_match", "other"]), st.just("*") | st.just(1), max_size=1
)


def batches(data: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Trees of batches, good ones and others, whose keys and values are of that kind."""
    fields = st.fixed_dictionaries({"op": KINDS, "key": data}, optional={"value": data})
    op = st.builds(lambda fields, more: {**fields, **more}, fields, MORE | st.just({}))
    return st.fixed_dictionaries({"ops": st.lists(op, max_size=4)}, optional={"rest": st.just(1)})


def told(operations: list[Operation | KvError]) -> list[object]:
    return [(type(one), one.detail) if isinstance(one, KvError) else one for one in operations]


def check_agrees(body: bytes, form: Format) -> None:
    """What is decoded in one step is what is decoded field by field."""
    plain = decode_plain(body, form, "k")
    if plain is not None:
        with patch.object(bodies, "decode_plain", lambda *_: None):
            assert told(plain) == told(decode_batch(body, form, "k"))


@given(tree=batches(BYTES | TEXTS))
def test_agrees_with_every_field_read_in_messagepack(tree: dict[str, Any]) -> None:
    check_agrees(msgpack.packb(tree), Format.MSGPACK)


@given(tree=batches(TEXTS))
def test_agrees_with_every_field_read_in_json(tree: dict[str, Any]) -> None:
    check_agrees(json.dumps(tree).encode(), Format.JSON)


@given(position=st.integers(0, 200), byte=st.integers(0, 255))
def test_agrees_where_a_byte_of_a_body_is_another(position: int, byte: int) -> None:
    tree = {"ops": [{"op": "put", "key": b"a", "value": b"b"}, {"op": "get", "key": b"c"}]}
    body = bytearray(msgpack.packb(tree))
    body[position % len(body)] = byte
    check_agrees(bytes(body), Format.MSGPACK)


def test_keys_and_values_alone_are_plain() -> None:
    ops = [("get", "a", None), ("put", "b", "x"), ("delete", "c", None)]
    texts = [{"op": op, "key": key} | ({"value": value} if value else {}) for op, key, value in ops]
    packed = [{name: one if name == "op" else one.encode() for name, one in text.items()} for text in texts]
    wanted = [Get("k", b"a"), Change("k", b"b", b"x", "application/octet-stream"), Change("k", b"c", None)]
    assert decode_plain(json.dumps({"ops": texts}).encode(), Format.JSON, "k") == wanted
    assert decode_plain(msgpack.packb({"ops": packed}), Format.MSGPACK, "k") == wanted


def test_a_key_of_no_allowed_length_is_its_own_error() -> None:
    for key in (b"", b"k" * (KEY_BYTES_MAX + 1)):
        body = msgpack.packb({"ops": [{"op": "put", "key": key, "value": b""}, {"op": "get", "key": b"a"}]})
        plain = decode_plain(body, Format.MSGPACK, "k")
        assert plain is not None
        assert isinstance(plain[0], KvError)
        assert plain[1] == Get("k", b"a")


def test_a_field_that_is_there_twice_is_refused_as_ever() -> None:
    twice = b"\x81\xa3ops\x91\x83\xa2op\xa3get\xa3key\xc4\x01a\xa3key\xc4\x01b"
    assert decode_plain(twice, Format.MSGPACK, "k") is None
    with pytest.raises(BadBody, match="twice"):
        decode_batch(twice, Format.MSGPACK, "k")


@pytest.mark.parametrize("form", Format)
def test_too_many_plain_operations_are_refused(form: Format) -> None:
    tree = {"ops": [{"op": "get", "key": "a" if form is Format.JSON else b"a"}] * (OPERATIONS_MAX + 1)}
    body = json.dumps(tree).encode() if form is Format.JSON else msgpack.packb(tree)
    with pytest.raises(BodyTooLarge, match="1000"):
        decode_batch(body, form, "k")
