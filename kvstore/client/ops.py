"""Operations of a batch or a transaction, as a program states them and as the body of the request carries them.

Guarantees: each is an immutable value; keys and values are written as bytes, so nothing is lost in text.
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
    """`if_match` and `if_none_match`, which a transaction has not, take an etag, or `*`; `ttl_s` is the time to live in
    seconds."""

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


@dataclass(frozen=True, slots=True)
class Incr:
    """Of a transaction: add `by` to the decimal number that is the value; an absent key counts from 0."""

    key: str | bytes
    by: int = 1


@dataclass(frozen=True, slots=True)
class If:
    """A condition of a transaction; exactly one of the three is given: the key has the version `etag`, is there or not,
    has the value `value`."""

    key: str | bytes
    etag: str | None = None
    exists: bool | None = None
    value: bytes | None = None


Op = Get | Put | Delete
TxnOp = Op | Incr


def encode_batch(ops: Sequence[Op]) -> bytes:
    """The body of a batch request in MessagePack.

    Raises:
        BadKey, KeyTooLong: one of the keys is not allowed.
    """
    body: bytes = msgpack.packb({"ops": [_document(op) for op in ops]}, use_bin_type=True)
    return body


def encode_txn(conditions: Sequence[If], then: Sequence[TxnOp], otherwise: Sequence[TxnOp]) -> bytes:
    """The body of a transaction in MessagePack; raises as `encode_batch`."""
    document = {
        "if": [_condition(condition) for condition in conditions],
        "then": [_document(op) for op in then],
        "else": [_document(op) for op in otherwise],
    }
    body: bytes = msgpack.packb(document, use_bin_type=True)
    return body


def _condition(condition: If) -> dict[str, object]:
    asked = {"etag": condition.etag, "exists": condition.exists, "value": condition.value}
    return {"key": key_bytes(condition.key), **{name: value for name, value in asked.items() if value is not None}}


def _document(op: TxnOp) -> dict[str, object]:
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
    elif isinstance(op, Incr):
        document["by"] = op.by
    elif isinstance(op, Delete) and op.if_match is not None:
        document["if_match"] = op.if_match
    return document
