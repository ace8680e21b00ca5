"""Pages, lines and bounds: bytes stay what they are, and nothing between two of them is left out."""

from __future__ import annotations

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.client.items import Bounds, Item, Lines, Page, key_of_line, line_of, page_of
from kvstore.keys import KEY_BYTES_MAX

keys = st.binary(min_size=1, max_size=8) | st.binary(min_size=KEY_BYTES_MAX - 2, max_size=KEY_BYTES_MAX)


@given(keys, st.binary(max_size=8))
def test_a_line_holds_an_item_byte_for_byte(key: bytes, value: bytes) -> None:
    line = line_of(Item(key, value, "1.2", "text/plain", 1.5)).encode()
    assert b"\n" not in line
    assert key_of_line(line + b"\n") == key
    document = json.loads(line)
    assert {"etag": "1.2", "content_type": "text/plain", "ttl": 1.5}.items() <= document.items()
    assert list(json.loads(line_of(Item(key), keys_only=True))) in (["key"], ["key_b64"])


@given(keys, keys)
def test_what_comes_after_a_key_leaves_out_no_key_that_is_greater(key: bytes, other: bytes) -> None:
    rest = Bounds(b"p", b"", b"z").after(key)
    if rest is None:
        assert other <= key
        return
    assert (rest.prefix, rest.end) == (b"p", b"z")
    assert rest.start is not None
    assert len(rest.start) <= KEY_BYTES_MAX
    assert (other >= rest.start) == (other > key)


def test_nothing_comes_after_the_last_key_that_is_allowed() -> None:
    assert Bounds().after(b"\xff" * KEY_BYTES_MAX) is None
    assert Bounds().after(b"a" * 479 + b"\xff") == Bounds(start=b"a" * 478 + b"b")


def test_a_range_stands_in_a_query_byte_for_byte() -> None:
    assert Bounds().path("/v1") == "/v1/kv"
    bounds = Bounds.of("a b+c/ключ"[:6], b"\xff&=", None)
    path = bounds.path("/v1", reverse=True, keys_only=False, limit=7, cursor=None)
    assert path == "/v1/kv?prefix=a%20b%2Bc%2F&start=%FF%26%3D&reverse=true&limit=7"
    assert Bounds.of("", "", "").path("/v1/keyspaces/k") == "/v1/keyspaces/k/kv?prefix=&start=&end="


def test_a_page_says_what_is_missing_and_where_to_go_on() -> None:
    whole = {"items": [{"key": b"\xff", "value": b"", "etag": "1", "content_type": "a/b", "ttl": 2}], "cursor": "C"}
    assert page_of(msgpack.packb(whole)) == Page([Item(b"\xff", b"", "1", "a/b", 2.0)], "C")
    partial = {"items": [{"key": b"k"}], "missing": [3, 4]}
    assert page_of(msgpack.packb(partial)) == Page([Item(b"k")], None, (3, 4))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"{}", msgpack.packb([]), msgpack.packb({"items": [{"value": b""}]})])
def test_what_is_no_page_is_told_so(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        page_of(body)


@given(st.lists(st.binary(max_size=5).map(lambda text: text.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_the_same_wherever_a_stream_is_cut(texts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(text + b"\n" for text in texts)
    lines, out, rest = Lines(), b"", stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        out += lines.take(rest[:size])
        rest = rest[size:]
    assert out == stream
    assert lines.end() == b""
    assert lines.count == len(texts)
    assert lines.last == (texts[-1] + b"\n" if texts else b"")


def test_a_line_without_an_end_is_one_where_the_stream_has_ended_and_none_where_it_was_cut() -> None:
    lines = Lines()
    assert lines.take(b"a\nb") == b"a\n"
    assert lines.end() == b"b\n"
    assert (lines.count, lines.last) == (2, b"b\n")
    lines.take(b"ha")
    lines.cut()
    assert lines.take(b"c\n") == b"c\n"
