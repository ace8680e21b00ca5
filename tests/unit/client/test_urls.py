"""Keys in URLs: byte for byte, whatever they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from kvstore.client.urls import base_url, encode_key, key_bytes
from kvstore.errors import BadKey, KeyTooLong
from kvstore.keys import decode_key

AWKWARD = [
    b"..",
    b".",
    b"../../etc/passwd",
    b"a/../b",
    b"a//b",
    b"/a",
    b"a/",
    b"//",
    b"%2F",
    b"%252F",
    b"a b+c",
    b"?x=1#y",
    b"\x00",
    b"\xff\xfe",
    "schlüssel".encode(),
    b"a\r\nb",
    b";",
]


@pytest.mark.parametrize("key", AWKWARD)
def test_awkward_keys_come_back_as_they_were(key: bytes) -> None:
    url = URL("http://h/v1/kv/" + encode_key(key), encoded=True)
    assert decode_key(url.raw_path_qs.removeprefix("/v1/kv/")) == key


@given(st.binary(min_size=1, max_size=480))
def test_any_key_comes_back_as_it_was(key: bytes) -> None:
    url = URL("http://h/v1/kv/" + encode_key(key), encoded=True)
    assert decode_key(url.raw_path_qs.removeprefix("/v1/kv/")) == key


def test_slashes_between_plain_segments_stay_readable() -> None:
    assert encode_key(b"config/db/host.txt") == "config/db/host.txt"


def test_text_keys_are_utf_8() -> None:
    assert key_bytes("ö") == b"\xc3\xb6"


def test_keys_that_are_not_allowed_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadKey):
        key_bytes("")
    with pytest.raises(KeyTooLong):
        key_bytes(b"x" * 481)


@pytest.mark.parametrize("good", ["http://127.0.0.1:8000", "http://127.0.0.1:8000/", "https://[::1]:1"])
def test_addresses_of_gateways_lose_their_last_slash(good: str) -> None:
    assert base_url(good) == good.rstrip("/")


@pytest.mark.parametrize(
    "bad",
    [
        "127.0.0.1:8000",
        "ftp://h",
        "http://",
        "http://h/v1",
        "http://h?x",
        "http://u@h",
        "http://h:0",
        "http://h:99999",
        "http://[x",
        "http://\udcff",
        "",
    ],
)
def test_other_addresses_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="is not a gateway's address"):
        base_url(bad)
