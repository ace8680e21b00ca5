"""Operations of a batch, as a program states them and as the body of the request carries them.

Guarantees: each is an immutable value; `encode_batch` writes keys and values as bytes, so nothing is lost in text.
Leaves to others: limits, which the gateway checks. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgpack

from kvstore.client.urls import key_bytes


@dataclass(frozen=True, slots=True)
class Get:
    key: str | bytes


@dataclass(frozen=True, slots=True)
class Put:
    """`if_match` and `if_none_match` take an etag, or `*`; `ttl_s` is the time to live in seconds."""

    key: str | bytes
    value: bytes
    content_type: str | None = None
    ttl_s: float | None = None
    if_match: str | None = None
    if_none_match: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    key: str | bytes
    if_match: str | None = None


Op = Get | Put | Delete


def encode_batch(ops: Sequence[Op]) -> bytes:
    """The body of a batch request in MessagePack.

    Raises:
        BadKey, KeyTooLong: one of the keys is not allowed.
    """
    body: bytes = msgpack.packb({"ops": [_document(op) for op in ops]}, use_bin_type=True)
    return body


def _document(op: Op) -> dict[str, object]:
    document: dict[str, object] = {"op": type(op).__name__.lower(), "key": key_bytes(op.key)}
    if isinstance(op, Put):
        document["value"] = op.value
        optional = {
            "content_type": op.content_type,
            "ttl": op.ttl_s,
            "if_match": op.if_match,
            "if_none_match": op.if_none_match,
        }
        document.update({name: value for name, value in optional.items() if value is not None})
    elif isinstance(op, Delete) and op.if_match is not None:
        document["if_match"] = op.if_match
    return document
