"""The form of a body is what its headers name, and what fits no shape costs no memory."""

from __future__ import annotations

import tracemalloc

import msgpack
import msgspec
import pytest

from cluster.gateway.body_forms import (
    FIELDS_MAX,
    Format,
    acceptable,
    accepted_form,
    decode_packed,
    form_of,
    packed_count,
)
from kvstore.errors import BadBody, UnsupportedMediaType


class _Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: bytes
    name: str = ""


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ops: list[_Op] = []


DECODER = msgspec.msgpack.Decoder(_Body)


def test_the_form_is_what_the_headers_name() -> None:
    assert form_of("") is form_of("application/json; charset=utf-8") is Format.JSON
    assert form_of("Application/MsgPack") is Format.MSGPACK
    with pytest.raises(UnsupportedMediaType):
        form_of("text/plain")
    assert accepted_form("*/*", Format.MSGPACK) is Format.MSGPACK
    assert accepted_form("text/html, application/msgpack;q=0.9", Format.JSON) is Format.MSGPACK


@pytest.mark.parametrize(
    ("accept", "media_types"),
    [
        ("", [""]),
        ("Text/HTML", ["text/html"]),
        ("a/a;q=0.1, b/b;q=1, c/c", ["b/b", "c/c", "a/a"]),
        ("a/a;q=0, b/b; Q=0.001", ["b/b"]),
        ("a/a;q=0", []),
        ("a/a;q=0.000", []),
        ("a/a;level=1;q=0.5;ext=2, b/b;charset=utf-8", ["b/b", "a/a"]),
        ("a/a;q=none, b/b;q=2;q=0.2, c/c;q=0.5", ["a/a", "c/c", "b/b"]),
    ],
)
def test_media_types_are_taken_by_their_weights(accept: str, media_types: list[str]) -> None:
    assert acceptable(accept) == media_types
    assert accepted_form("application/json;q=0.5, application/msgpack", Format.JSON) is Format.MSGPACK
    assert accepted_form("application/msgpack;q=0", Format.JSON) is Format.JSON


@pytest.mark.parametrize("inner", [[[]] * 500, [{"key": [[]] * 500}], [{"key": b"", "x": [[]] * 500}]])
def test_what_does_not_fit_is_refused_before_it_is_built(inner: object) -> None:
    body: bytes = msgpack.packb({"ops": [inner] * 500})
    tracemalloc.start()
    try:
        with pytest.raises(BadBody, match=r"not a body in MessagePack: .*\$\.ops\[0\]"):
            decode_packed(body, DECODER, "a body")
        assert tracemalloc.get_traced_memory()[1] < len(body) // 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\x81\xa3ops\x91\x82\xa3key\xc4\x00\xa3key\xc4\x00", "twice"),
        (b"\x82\xa3ops\x90\xa3ops\x90", "twice"),
        (b"\x81\xa3ops\x91\x81\xa3key\xa1a", "Expected `bytes`, got `str`"),
        (b"\x81\xa3ops\x91\x82\xa3key\xc4\x00\xa4name\xc4\x00", "Expected `str`, got `bytes`"),
        (b"\x81\xa3ops\x91\x82\xa3key\xc4\x00\xa4name\xa1\xff", "(?i)utf-8"),
        (b"\x81\xa3ops\x91\x82\xa3key\xc4\x00\xa4name\xda\x20\x01" + b"a" * 8193, "max_str_len"),
        (b"\x81\xc4\x03ops\x90", "Expected `str`, got `bytes`"),
        (b"\x81\xa3ops\xd4\x01a", "Expected `array`, got `ext`"),
        (b"\x81\xa3ops\x90\x00", "trailing"),
        (b"\x81\xa3ops\x92", "truncated"),
        (b"\xde\x10\x00" + b"\xa3ops\x90" * 4096, "max_map_len"),
        (b"\x91" * 5000, "Expected `object`, got `array`"),
        (b"\x81\xa3ops" + b"\x91" * 5000, r"Expected `object`, got `array` - at `\$\.ops\[0\]`"),
        (b"", "truncated"),
    ],
)
def test_a_packed_body_is_refused_where_it_is_not_exactly_its_shape(body: bytes, says: str) -> None:
    with pytest.raises(BadBody, match=says):
        decode_packed(body, DECODER, "a body")


def test_what_lists_say_of_their_lengths_is_counted_together() -> None:
    body: bytes = msgpack.packb({"if": [{"key": b"a"}, [[1]]], "then": [], "else": [None] * 20})
    assert packed_count(body, 100) == 22
    assert packed_count(b"\x82\xa3ops\x91\x00\xa3ops\x92\x00\x00", 100) == 3


def test_no_list_is_read_beyond_too_many() -> None:
    broken = b"\x83\xa2if\x93\x00\x00\x00\xa4then\xdc\x10\x00" + b"\xc1" * 5000
    assert packed_count(broken, 100) == 3 + 4096


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x91\x90", b"\x81", b"\x81\xa3ops", b"\x81\xa3ops\xc0", b"\xc1"])
def test_what_is_no_map_of_lists_counts_nothing(body: bytes) -> None:
    assert packed_count(body, 100) == 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xde\x00" + bytes([FIELDS_MAX + 1]), "17 fields"),
        (b"\xdf\xff\xff\xff\xff" + b"\xa3ops\x90" * 20, "fields"),
        (b"\x81\xa3ops\xdd\xff\xff\xff\xff", "ends before its 4294967295 elements"),
        (b"\x81\xa3ops\x9a" + b"\xc0" * 3, "ends before its 10 elements"),
    ],
)
def test_more_than_a_body_can_have_is_refused_unread(body: bytes, says: str) -> None:
    with pytest.raises(BadBody, match=says):
        packed_count(body, 5)
