"""Operations on keys and their results, as the parts of the gateway hand them to each other.

Guarantees: frozen values. Leaves to others: everything. Sans-IO.
"""

from __future__ import annotations

from dataclasses import dataclass

from kvstore.errors import KvError


@dataclass(frozen=True, slots=True)
class Get:
    """A read of one key."""

    keyspace: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """A put (`value` given) or a delete (`value` None). Conditions are `*` or an etag without quotes."""

    keyspace: str
    key: bytes
    value: bytes | None
    content_type: str = ""
    ttl_ms: int | None = None
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A value; `ttl_s` is None for one that does not expire."""

    value: bytes
    content_type: str
    etag: str
    ttl_s: float | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A put that is durable on `copies` copies."""

    created: bool
    etag: str
    copies: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The key is not there any more, or never was."""


Operation = Get | Change
Result = Found | Stored | Deleted | KvError
