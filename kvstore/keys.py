"""Keys: what one is, how it stands in a URL, and which part of it decides its partition.

Guarantees: a key that passed here is 1 to 480 bytes; a path is decoded exactly once, byte for byte, and a path that
is not a clean percent-encoding is refused. Leaves to others: routing. Sans-IO.
"""

from __future__ import annotations

import re

import xxhash

from kvstore.errors import BadKey, KeyTooLong

KEY_BYTES_MAX = 480

_RAW_CONTROL = re.compile(rb"[\x00-\x20\x7f]")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")


def check_key(key: bytes) -> bytes:
    """Return `key` when its length is allowed.

    Raises:
        BadKey: it is empty.
        KeyTooLong: it has more than `KEY_BYTES_MAX` bytes.
    """
    if not key:
        raise BadKey("a key has at least one byte")
    if len(key) > KEY_BYTES_MAX:
        raise KeyTooLong(f"a key has at most {KEY_BYTES_MAX} bytes, this one has {len(key)}")
    return key


def decode_key(path_part: str) -> bytes:
    """Decode the part of a raw request path that holds the key (RFC 3986, section 2.1), once.

    Raises:
        BadKey: an incomplete or invalid escape, a raw non-ASCII or control byte, or nothing at all.
        KeyTooLong: the decoded key is too long.
    """
    try:
        raw = path_part.encode("ascii")
    except UnicodeEncodeError as error:
        raise BadKey("a key in a URL is ASCII; percent-encode other bytes") from error
    if raw.isalnum():
        return check_key(raw)
    if _RAW_CONTROL.search(raw):
        raise BadKey("a key in a URL has no raw space or control byte; percent-encode them")
    return check_key(_ESCAPE.sub(_unescape, raw) if b"%" in raw else raw)


def _unescape(match: re.Match[bytes]) -> bytes:
    digits = match.group(1)
    if digits is None:
        raise BadKey("'%' in a key is followed by two hexadecimal digits")
    return bytes.fromhex(digits.decode("ascii"))


def shard_key(key: bytes) -> bytes:
    """The part of `key` inside its first non-empty `{...}` (hash tag), else the whole key."""
    start = key.find(b"{")
    while start >= 0:
        end = key.find(b"}", start + 1)
        if end < 0:
            return key
        if end > start + 1:
            return key[start + 1 : end]
        start = key.find(b"{", end + 1)
    return key


def tenant_of(key: bytes) -> bytes:
    """The tenant, or region, that a key belongs to: its shard key up to the first `/`."""
    return shard_key(key).partition(b"/")[0]


def key_hash(key: bytes) -> int:
    """The 64-bit hash that places `key`: xxh3_64 of its shard key."""
    return xxhash.xxh3_64_intdigest(shard_key(key) if b"{" in key else key)
