"""Results of operations, as the answers to batches and transactions carry them.

Guarantees: a value that is no text stands in JSON as `value_b64`, in MessagePack every value is bin; what an operation
has not is left out. Leaves to others: which results there are (`bodies`, `txn_bodies`). Sans-IO.
"""

from __future__ import annotations

import base64

import msgspec


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
    try:
        return ResultItem(200, str(value, "utf-8"), None, etag, content_type, ttl)
    except UnicodeDecodeError:
        return ResultItem(200, None, base64.b64encode(value).decode("ascii"), etag, content_type, ttl)
