"""Parameters of scans: each is taken whole or refused by its name, and a cursor is the cluster's own or none."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.cursors import Cursor, decode_cursor, encode_cursor
from cluster.gateway.scan_merge import KeyRange
from cluster.gateway.scan_query import ScanQuery, parse_removal, parse_scan, prefix_end
from kvstore.errors import BadCursor, BadParameter

CLUSTER, OTHER = b"cluster1", b"cluster2"


def parse(query: str) -> ScanQuery:
    return parse_scan(query, "default", CLUSTER)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("", KeyRange()),
        ("start=a&end=b", KeyRange(b"a", b"b")),
        ("start=a&end=a", KeyRange(b"a", b"a")),
        ("start=", KeyRange()),
        ("prefix=", KeyRange()),
        ("prefix=a%2Fb+c", KeyRange(b"a/b+c", b"a/b+d")),
        ("prefix=%ff%fe", KeyRange(b"\xff\xfe", b"\xff\xff")),
        ("prefix=%ff%ff", KeyRange(b"\xff\xff", b"")),
        ("prefix=b&start=a&end=c", KeyRange(b"b", b"c")),
        ("prefix=b&start=bb&end=bc", KeyRange(b"bb", b"bc")),
        ("prefix=b&start=c", KeyRange(b"c", b"c")),
        ("reverse=true", KeyRange(b"", b"", True)),
    ],
)
def test_a_range_is_what_start_end_and_prefix_have_in_common(query: str, keys: KeyRange) -> None:
    assert parse(query).keys == keys


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *(
            (f"limit={text}", "limit")
            for text in ("0", "-1", "10001", "1e3", "NaN", "%d9%a3", "", "+5", "1.0", "9" * 19)
        ),
        *((f"{name}=yes", name) for name in ("reverse", "keys_only", "count", "allow_partial")),
        *((f"{name}=", name) for name in ("reverse", "keys_only", "count", "allow_partial")),
        ("end=", "end"),
        ("start=b&end=a", "start"),
        *((f"{name}={'k' * 481}", name) for name in ("start", "end", "prefix")),
        *((f"count=true&{other}", other.partition("=")[0]) for other in ("limit=1", "reverse=true", "keys_only=true")),
        ("count=true&cursor=x", "cursor"),
        ("limit=1&limit=2", "limit"),
        ("offset=3", "offset"),
        ("start=%zz", "%zz"),
        ("confirm=true", "confirm"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_name(query: str, name: str) -> None:
    with pytest.raises(BadParameter, match=name):
        parse(query)


@given(st.binary(max_size=4), st.binary(max_size=6))
def test_the_end_of_a_prefix_is_after_all_keys_that_begin_with_it_and_before_all_others(
    prefix: bytes, key: bytes
) -> None:
    end = prefix_end(prefix)
    assert key.startswith(prefix) == (prefix <= key and (not end or key < end))


@given(st.binary(max_size=5), st.binary(max_size=5), st.booleans(), st.binary(min_size=1, max_size=480))
def test_a_cursor_goes_on_behind_the_last_key_of_the_same_range(
    start: bytes, end: bytes, reverse: bool, last_key: bytes
) -> None:
    keys = KeyRange(start, end, reverse)
    text = encode_cursor(Cursor("default", keys, last_key), CLUSTER)
    assert decode_cursor(text, CLUSTER) == Cursor("default", keys, last_key)
    assert parse(f"cursor={text}&limit=7").keys == keys.after(last_key)


@pytest.mark.parametrize(
    "beside", ["prefix=u", "prefix=u&reverse=false", "start=u&end=v", "start=u&end=v&prefix=u", "keys_only=true"]
)
def test_the_same_scan_may_be_named_beside_its_cursor(beside: str) -> None:
    text = encode_cursor(Cursor("default", KeyRange(b"u", b"v"), b"u7"), CLUSTER)
    assert parse(f"cursor={text}&{beside}").keys == KeyRange(b"u7\x00", b"v")


@pytest.mark.parametrize("beside", ["prefix=t", "start=u", "reverse=true", "end=v"])
def test_a_cursor_of_another_scan_is_refused(beside: str) -> None:
    text = encode_cursor(Cursor("default", KeyRange(b"u", b"v"), b"u7"), CLUSTER)
    with pytest.raises(BadCursor):
        parse(f"cursor={text}&{beside}")
    with pytest.raises(BadCursor, match="keyspace"):
        parse_scan(f"cursor={text}", "other", CLUSTER)


def test_a_cursor_of_another_cluster_is_refused() -> None:
    text = encode_cursor(Cursor("default", KeyRange(), b"k"), OTHER)
    with pytest.raises(BadCursor):
        decode_cursor(text, CLUSTER)


def test_a_cursor_altered_anywhere_is_refused() -> None:
    text = encode_cursor(Cursor("default", KeyRange(b"a", b"b"), b"a-key"), CLUSTER)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, letter in enumerate(text):
        altered = text[:place] + alphabet[(alphabet.index(letter) + 1) % 64] + text[place + 1 :]
        for bad in (altered, text[:place], text + letter, f"{text[:place]}%{text[place:]}"):
            with pytest.raises(BadCursor):
                decode_cursor(bad, CLUSTER)


@pytest.mark.parametrize(
    "text", ["", "=", "A", "\u0663", "A" * 1_000_000, base64.urlsafe_b64encode(bytes(40)).decode()]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(text, CLUSTER)


@pytest.mark.parametrize("query", ["prefix=a", "prefix=a&confirm=false", "confirm=true", "prefix=&confirm=true", ""])
def test_a_range_is_removed_only_where_it_is_named_and_confirmed(query: str) -> None:
    with pytest.raises(BadParameter):
        parse_removal(query)


def test_a_confirmed_removal_is_taken() -> None:
    assert parse_removal("prefix=a&confirm=true") == KeyRange(b"a", b"b")
    assert parse_removal("start=b&confirm=true") == KeyRange(b"b", b"")
