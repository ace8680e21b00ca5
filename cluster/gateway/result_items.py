"""Results of operations, as the answers to batches and transactions carry them.

Guarantees: a value that is no text stands in JSON as `value_b64`, and so does one that escapes would make more than
twice as long and that is not short; in MessagePack every value is bin; what an operation has not is left out. Leaves to
others: which results there are (`bodies`, `txn_bodies`). Sans-IO.
"""

from __future__ import annotations

import base64

import msgspec

# However many escapes it has, a value of no more bytes stays a text that can be read.
SHORT_BYTES_MAX = 4096

# In JSON these are written as six bytes and as two.
_LONG_ESCAPED = bytes(byte for byte in range(0x20) if byte not in b"\b\t\n\f\r")
_SHORT_ESCAPED = b'\b\t\n\f\r"\\'


class ResultItem(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    status: int
    value: str | bytes | None = None
    value_b64: str | None = None
    etag: str | None = None
    content_type: str | None = None
    ttl: float | None = None
    code: str | None = None
    detail: str | None = None


def value_item(value: bytes, etag: str, content_type: str | None, ttl_s: float | None, *, as_text: bool) -> ResultItem:
    """The result that is a value; `as_text` for JSON."""
    ttl = None if ttl_s is None else round(ttl_s, 3)
    if not as_text:
        return ResultItem(200, value, None, etag, content_type, ttl)
    if len(value) <= SHORT_BYTES_MAX or not _escapes_more_than_double(value):
        try:
            return ResultItem(200, str(value, "utf-8"), None, etag, content_type, ttl)
        except UnicodeDecodeError:
            pass
    return ResultItem(200, None, base64.b64encode(value).decode("ascii"), etag, content_type, ttl)


def _escapes_more_than_double(value: bytes) -> bool:
    long_escapes = _count(value, _LONG_ESCAPED)
    return long_escapes > 0 and 5 * long_escapes + _count(value, _SHORT_ESCAPED) > len(value)


def _count(value: bytes, wanted: bytes) -> int:
    return len(value) - len(value.translate(None, wanted))
