"""Keys: any bytes stand in a URL and come out as they went in; what is no clean encoding is refused."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from kvstore.errors import BadKey, KeyTooLong
from kvstore.keys import KEY_BYTES_MAX, check_key, decode_key, key_hash, shard_key

KEYS = st.binary(min_size=1, max_size=KEY_BYTES_MAX)


def percent(key: bytes, spare: bytes = b"", lower: bool = False) -> str:
    """Every byte of `key` as an escape, those in `spare` aside."""
    form = "%{:02x}" if lower else "%{:02X}"
    return "".join(chr(byte) if byte in spare else form.format(byte) for byte in key)


@given(KEYS)
def test_every_style_of_escaping_gives_the_same_key(key: bytes) -> None:
    assert decode_key(percent(key)) == key
    assert decode_key(percent(key, lower=True)) == key
    assert decode_key(quote(key, safe="")) == key
    assert decode_key(quote(key, safe="/")) == key
    assert decode_key(percent(key, spare=bytes(range(0x21, 0x7F)).replace(b"%", b""))) == key


@given(st.text(alphabet=st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%"), min_size=1))
def test_printable_ascii_may_stand_for_itself(text: str) -> None:
    assert decode_key(text[:KEY_BYTES_MAX]) == text[:KEY_BYTES_MAX].encode()


@pytest.mark.parametrize(
    ("path_part", "key"),
    [
        ("..", b".."),
        (".", b"."),
        ("../../etc/passwd", b"../../etc/passwd"),
        ("%2e%2e%2f", b"../"),
        ("a/../b", b"a/../b"),
        ("a//b", b"a//b"),
        ("/", b"/"),
        ("a/", b"a/"),
        ("a%2Fb", b"a/b"),
        ("a%252Fb", b"a%2Fb"),
        ("%25zz", b"%zz"),
        ("%00", b"\x00"),
        ("a+b", b"a+b"),
        ("a;b", b"a;b"),
        ("a%3Fb%23c", b"a?b#c"),
        ("%ff%fe", b"\xff\xfe"),
        ("%E2%80%AE", "‮".encode()),
        ("a%20b", b"a b"),
    ],
)
def test_a_path_is_decoded_once_and_folded_never(path_part: str, key: bytes) -> None:
    assert decode_key(path_part) == key


@pytest.mark.parametrize(
    "path_part", ["", "%", "a%", "%2", "%zz", "%2g", "%%", "a%-1", "% 41", "%+1", "é", "\x7f", "a b", "a\tb", "%٣٣"]
)
def test_what_is_no_clean_encoding_is_refused(path_part: str) -> None:
    with pytest.raises(BadKey):
        decode_key(path_part)


@given(st.text(max_size=40))
def test_no_text_is_answered_by_anything_but_a_key_or_a_refusal(text: str) -> None:
    try:
        key = decode_key(text)
    except BadKey:
        return
    assert decode_key(percent(key)) == key


@pytest.mark.parametrize("length", [481, 511, 512, 10_000])
def test_a_key_has_at_most_480_bytes_once_decoded(length: int) -> None:
    assert decode_key("%41" * 480) == decode_key("A" * 480) == b"A" * 480
    for path_part in ("A" * length, "%41" * length, "%2F" * length):
        with pytest.raises(KeyTooLong, match=f"{length}"):
            decode_key(path_part)


def test_a_key_is_never_empty() -> None:
    assert check_key(b"\x00") == b"\x00"
    with pytest.raises(BadKey):
        check_key(b"")


@pytest.mark.parametrize(
    ("key", "shard"),
    [
        (b"user:1", b"user:1"),
        (b"{user:1}:name", b"user:1"),
        (b"a{x}b{y}", b"x"),
        (b"{}{x}", b"x"),
        (b"{}", b"{}"),
        (b"a{b", b"a{b"),
        (b"a}b{c}", b"c"),
        (b"{{x}}", b"{x"),
    ],
)
def test_the_first_hash_tag_that_is_not_empty_is_the_shard_key(key: bytes, shard: bytes) -> None:
    assert shard_key(key) == shard
    assert key_hash(key) == xxhash.xxh3_64_intdigest(shard)


@given(
    st.binary(min_size=1, max_size=20).filter(lambda tag: b"}" not in tag),
    st.binary(max_size=20),
    st.binary(max_size=20),
)
def test_keys_with_one_tag_have_one_place(tag: bytes, left: bytes, right: bytes) -> None:
    left = left.replace(b"{", b"")
    assert key_hash(left + b"{" + tag + b"}" + right) == xxhash.xxh3_64_intdigest(tag)
