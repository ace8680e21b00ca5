"""An import's items do not depend on how its bytes are cut, and the bad line is the one that is named."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.import_stream import ItemParser, JsonLines, PackedItems
from cluster.gateway.operations import Change
from cluster.gateway.value_rules import ValueRules
from kvstore.errors import BadBody

VALUE_BYTES_MAX = 64
RULES = ValueRules(VALUE_BYTES_MAX)
OCTETS = "application/octet-stream"
GOOD = b'{"key":"a","value":"1"}'

ITEMS = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=20), st.binary(max_size=VALUE_BYTES_MAX), st.none() | st.integers(1, 1000)
    ),
    max_size=12,
)


def parse(parser: ItemParser, pieces: Sequence[bytes]) -> tuple[list[tuple[int, Change]], str | None]:
    """The items with their lines, and what is said of the bad line if there is one."""
    items: list[tuple[int, Change]] = []
    try:
        for piece in pieces:
            items.extend((item.line, item.change) for item in parser.feed(piece))
        items.extend((item.line, item.change) for item in parser.end())
    except BadBody as error:
        return items, f"{parser.line}: {error.detail}"
    return items, None


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = sorted(place % (len(body) + 1) for place in places)
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def as_json(key: bytes, value: bytes, ttl: int | None) -> bytes:
    fields: dict[str, Any] = {"key_b64": base64.b64encode(key).decode(), "value_b64": base64.b64encode(value).decode()}
    return json.dumps(fields if ttl is None else {**fields, "ttl": ttl}).encode()


def as_msgpack(key: bytes, value: bytes, ttl: int | None) -> bytes:
    packed: bytes = msgpack.packb({"key": key, "value": value, **({} if ttl is None else {"ttl": ttl})})
    return packed


def expected(items: Sequence[tuple[bytes, bytes, int | None]]) -> list[tuple[int, Change]]:
    return [
        (number, Change("default", key, value, OCTETS, None if ttl is None else ttl * 1000))
        for number, (key, value, ttl) in enumerate(items, 1)
    ]


@given(items=ITEMS, places=st.lists(st.integers(0, 10_000), max_size=10), ends_with_newline=st.booleans())
def test_lines_cut_anywhere_give_the_same_items(
    items: list[tuple[bytes, bytes, int | None]], places: list[int], ends_with_newline: bool
) -> None:
    body = b"\n".join(as_json(*item) for item in items) + (b"\n" if ends_with_newline else b"")
    assert parse(JsonLines("default", RULES), cut(body, places)) == (expected(items), None)


@given(items=ITEMS, places=st.lists(st.integers(0, 10_000), max_size=10))
def test_maps_cut_anywhere_give_the_same_items(items: list[tuple[bytes, bytes, int | None]], places: list[int]) -> None:
    body = b"".join(as_msgpack(*item) for item in items)
    assert parse(PackedItems("default", RULES), cut(body, places)) == (expected(items), None)


@given(items=ITEMS, places=st.lists(st.integers(0, 10_000), max_size=10), data=st.data())
def test_the_bad_line_is_named_and_what_stands_before_it_is_there(
    items: list[tuple[bytes, bytes, int | None]], places: list[int], data: st.DataObject
) -> None:
    before = data.draw(st.integers(0, len(items)))
    lines = [as_json(*item) for item in items]
    body = b"\n".join([*lines[:before], b'{"key":"x"}', *lines[before:]])
    found, bad = parse(JsonLines("default", RULES), cut(body, places))
    assert found == expected(items)[:before]
    assert bad == f"{before + 1}: needs one of value and value_b64"
    packed = [as_msgpack(*item) for item in items]
    body = b"".join([*packed[:before], b"\x07", *packed[before:]])
    found, bad = parse(PackedItems("default", RULES), cut(body, places))
    assert found == expected(items)[:before]
    assert bad is not None
    assert bad.startswith(f"{before + 1}: ")


@given(body=st.binary(max_size=200), places=st.lists(st.integers(0, 200), max_size=6))
def test_any_bytes_end_in_items_or_one_bad_line_however_they_are_cut(body: bytes, places: list[int]) -> None:
    for kind in (JsonLines, PackedItems):
        whole = parse(kind("default", RULES), [body])
        found, bad = parse(kind("default", RULES), cut(body, places))
        assert found == whole[0]
        assert (bad is None) == (whole[1] is None)
        assert bad is None or whole[1] is None or bad.partition(":")[0] == whole[1].partition(":")[0]


def test_empty_lines_count_as_lines_and_are_skipped() -> None:
    found, bad = parse(JsonLines("default", RULES), [b"\n  \r\n" + GOOD + b"\r\n\n" + GOOD])
    assert ([line for line, _ in found], bad) == ([3, 5], None)


def test_a_line_that_the_scan_wrote_is_taken_as_it_is() -> None:
    line = b'{"key":"a","value":"1","etag":"8.1.2","content_type":"text/plain","ttl":12.5}'
    found, bad = parse(JsonLines("default", RULES), [line])
    assert (found, bad) == ([(1, Change("default", b"a", b"1", "text/plain", 12500))], None)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (b"nonsense", "JSON is malformed"),
        (b'{"key":"a","value":"1"} x', "trailing"),
        (b'{"value":"1"}', "key"),
        (b'{"key":"a"}', "value"),
        (b'{"key":"a","key_b64":"YQ==","value":"1"}', "both key and key_b64"),
        (b'{"key":"a","value":"1","value_b64":"YQ=="}', "both value and value_b64"),
        (b'{"key_b64":"?","value":"1"}', "key_b64"),
        (b'{"key":"","value":"1"}', "at least one byte"),
        (b'{"key":"' + b"k" * 481 + b'","value":"1"}', "at most 480 bytes"),
        (b'{"key":"a","value":"' + b"v" * (VALUE_BYTES_MAX + 1) + b'"}', f"at most {VALUE_BYTES_MAX} bytes"),
        (b'{"key":"a","value":"1","ttl":0}', "ttl"),
        (b'{"key":"a","value":"1","ttl":1e300}', "ttl"),
        (b'{"key":"a","value":"1","content_type":"a\\nb"}', "Content-Type"),
        (b'{"key":"a","value":"1","if_match":"*"}', "if_match"),
        (b'{"key":"a","value":1}', "$.value"),
        (b'{"key":"\xff","value":"1"}', "UTF-8"),
        (b'{"key":"\\ud800x","value":"1"}', ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: bytes, named: str) -> None:
    found, bad = parse(JsonLines("default", RULES), [GOOD + b"\n" + line + b"\n" + GOOD])
    assert [number for number, _ in found] == [1]
    assert bad is not None
    assert bad.startswith("2: ")
    assert named.lower() in bad.lower()


@pytest.mark.parametrize(
    "item",
    [
        msgpack.packb({"key": b"a"}),
        msgpack.packb({"key": "a", "value": b"1"}),
        msgpack.packb({"key": b"a", "value": b"1", "more": 1}),
        msgpack.packb({"key": b"a", "value": {"a": {}}}),
        msgpack.packb({"key": b"a", "value": [1]}),
        msgpack.packb({"key": b"a", "value": b"v" * (VALUE_BYTES_MAX + 1)}),
        b"\x82\xa3key\xc4\x01a\xa3key\xc4\x01a",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc1",
        b"\x81" * 2000,
    ],
)
def test_what_is_no_item_in_messagepack_is_refused(item: bytes) -> None:
    found, bad = parse(PackedItems("default", RULES), [as_msgpack(b"a", b"1", None) + item])
    assert [number for number, _ in found] == [1]
    assert bad is not None
    assert bad.startswith("2: ")


def test_a_stream_that_ends_within_an_item_is_refused_at_every_place() -> None:
    whole = as_msgpack(b"key", b"value", 7)
    for end in range(1, len(whole)):
        found, bad = parse(PackedItems("default", RULES), [whole + whole[:end]])
        assert len(found) == 1
        assert bad == "2: the body ends within an item"


@pytest.mark.parametrize(("kind", "piece"), [(JsonLines, b"x" * 1000), (PackedItems, b"\x81\xa3key" * 200)])
def test_an_item_that_never_ends_is_refused_while_it_comes(kind: type[ItemParser], piece: bytes) -> None:
    parser = kind("default", RULES)
    with pytest.raises(BadBody):
        _ = [item for _ in range(100) for item in parser.feed(piece)]
    assert 0 < parser.kept_bytes < 20 * len(piece)


def test_a_value_of_the_largest_size_fits_however_it_is_escaped() -> None:
    value = "\x00" * VALUE_BYTES_MAX
    line = json.dumps({"key": "\x01" * 480, "value": value}).encode()
    ((_, change),), bad = parse(JsonLines("default", RULES), [line])
    assert (change.value, bad) == (value.encode(), None)
