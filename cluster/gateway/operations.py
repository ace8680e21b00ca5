"""Operations on keys and their results, as the parts of the gateway hand them to each other.

Guarantees: frozen values. Leaves to others: everything. Sans-IO.
"""

from __future__ import annotations

import msgspec

from kvstore.errors import KvError


class Get(msgspec.Struct, frozen=True, gc=False):
    """A read of one key."""

    keyspace: str
    key: bytes


class Change(msgspec.Struct, frozen=True, gc=False):
    """A put (`value` given) or a delete (`value` None). Conditions are `*` or an etag without quotes; `token` is a
    client's, as `tokens` makes it."""

    keyspace: str
    key: bytes
    value: bytes | None
    content_type: str = ""
    ttl_ms: int | None = None
    if_match: str | None = None
    if_none_match: str | None = None
    token: bytes = b""


class Found(msgspec.Struct, frozen=True, gc=False):
    """A value; `ttl_s` is None for one that does not expire."""

    value: bytes
    content_type: str
    etag: str
    ttl_s: float | None


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A put that is durable on `copies` copies."""

    created: bool
    etag: str
    copies: int


class Deleted(msgspec.Struct, frozen=True, gc=False):
    """The key is not there any more, or never was."""


Operation = Get | Change
Result = Found | Stored | Deleted | KvError
