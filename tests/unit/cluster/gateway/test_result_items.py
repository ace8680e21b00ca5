"""Values stand in JSON as text, wherever that text is not far longer than they are."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.result_items import SHORT_BYTES_MAX, ResultItem, value_item

LONG = SHORT_BYTES_MAX + 1


def item(value: bytes, *, as_text: bool = True) -> ResultItem:
    return value_item(value, "1.1.1", "text/plain", None, as_text=as_text)


def coded(value: bytes) -> ResultItem:
    return ResultItem(200, None, base64.b64encode(value).decode(), "1.1.1", "text/plain")


def test_a_long_value_that_escapes_would_more_than_double_stands_in_base64() -> None:
    for value in (b"\x01" * LONG, b"\0" * LONG, b"\x1f" * (LONG // 4 + 1) + b"a" * LONG, b'\x01"' * LONG):
        assert item(value) == coded(value)


@pytest.mark.parametrize(
    "value",
    [
        b"\x01" * SHORT_BYTES_MAX,
        b'"' * LONG,
        b"\n\t\r\b\f" * LONG,
        b"\x1f" * (LONG // 4) + b"a" * LONG,
        "\x7fé😀".encode() * LONG,
    ],
)
def test_a_value_that_is_short_or_at_most_doubled_stays_text(value: bytes) -> None:
    assert item(value).value == value.decode()


@given(piece=st.text(st.characters(max_codepoint=0x2FF, categories=["Cc", "L", "Po"]), min_size=1, max_size=40))
def test_no_long_text_stands_in_more_than_twice_its_bytes(piece: str) -> None:
    value = piece.encode() * LONG
    is_text = len(msgspec.json.encode(piece * LONG)) - 2 <= 2 * len(value)
    assert item(value) == (ResultItem(200, piece * LONG, None, "1.1.1", "text/plain") if is_text else coded(value))


def test_what_is_no_text_stands_in_base64_and_in_messagepack_every_value_is_bin() -> None:
    assert item(b"\xff") == coded(b"\xff")
    assert item(b"\x01" * LONG, as_text=False) == ResultItem(200, b"\x01" * LONG, None, "1.1.1", "text/plain")
