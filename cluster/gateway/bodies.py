"""Bodies of batches: JSON or MessagePack in, the same operations out, and results back.

Guarantees: a body has exactly the declared shape (types, no unknown or doubled field in MessagePack, at most
`OPERATIONS_MAX` operations) or raises; what is wrong with one key alone becomes that operation's error and leaves the
others alone. Leaves to others: sizes in bytes (`http_request`), meaning (`service`). Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.body_forms import Format, decode_json, decode_packed, packed_count
from cluster.gateway.conditions import check_content_type
from cluster.gateway.item_fields import bytes_of, or_none, required, ttl_ms_of
from cluster.gateway.operations import Change, Deleted, Found, Get, Operation, Result, Stored
from cluster.gateway.plain_batches import decode_plain
from cluster.gateway.result_items import ResultItem, value_item
from kvstore.errors import BadBody, BodyTooLarge, KvError
from kvstore.keys import check_key

OPERATIONS_MAX = 1000
OPERATION_BYTES_MIN = len('{"op":"get"}')

_OP_FIELD = re.compile(rb'"op"\s*:')


class _Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    op: Literal["get", "put", "delete"]
    ttl: float | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    if_match: str | UnsetType = UNSET
    if_none_match: str | UnsetType = UNSET


class _JsonOp(_Op, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: str | UnsetType = UNSET
    key_b64: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    value_b64: str | UnsetType = UNSET


class _PackedOp(_Op, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: bytes
    value: bytes | UnsetType = UNSET


Op = TypeVar("Op", _JsonOp, _PackedOp)


class _JsonBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ops: list[_JsonOp]


class _PackedBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ops: list[_PackedOp]


class _Answer(msgspec.Struct, frozen=True):
    results: list[ResultItem]


_JSON = msgspec.json.Decoder(_JsonBatch)
_PACKED = msgspec.msgpack.Decoder(_PackedBatch)
_TO_JSON = msgspec.json.Encoder()
_TO_MSGPACK = msgspec.msgpack.Encoder()
_DELETED = ResultItem(204)


def decode_batch(body: bytes, form: Format, keyspace: str, *, gets_only: bool = False) -> list[Operation | KvError]:
    """The operations of a batch, or in their places the errors of single ones.

    Raises:
        BadBody: it is not a batch, or not of gets only where it has to be; names what and where.
        BodyTooLarge: it has too many operations.
    """
    if form is Format.MSGPACK:
        _check_count(packed_count(body, OPERATIONS_MAX))
    elif len(body) > OPERATIONS_MAX * OPERATION_BYTES_MIN:
        _check_count(sum(1 for _ in islice(_OP_FIELD.finditer(body), OPERATIONS_MAX + 1)))
    plain = None if gets_only else decode_plain(body, form, keyspace)
    if plain is not None:
        _check_count(len(plain))
        return plain
    if form is Format.MSGPACK:
        packed = decode_packed(body, _PACKED, "a batch")
        return _each(packed.ops, gets_only, lambda op: _operation(op, keyspace, op.key, op.value))
    batch = decode_json(body, _JSON)
    _check_count(len(batch.ops))
    return _each(batch.ops, gets_only, lambda op: _json_operation(op, keyspace))


def encode_results(results: Sequence[Result], form: Format) -> bytes:
    """The answer to a batch."""
    if form is Format.MSGPACK:
        return _TO_MSGPACK.encode(_Answer([_item(result, as_text=False) for result in results]))
    return _TO_JSON.encode(_Answer([_item(result, as_text=True) for result in results]))


def _check_count(count: int) -> None:
    if count > OPERATIONS_MAX:
        raise BodyTooLarge(f"a batch has at most {OPERATIONS_MAX} operations")


def _each(ops: Sequence[Op], gets_only: bool, decode: Callable[[Op], Operation | KvError]) -> list[Operation | KvError]:
    decoded: list[Operation | KvError] = []
    try:
        for op in ops:
            if gets_only and op.op != "get":
                raise BadBody(f"with consistent=true an operation is a get, not a {op.op}")
            decoded.append(decode(op))
    except BadBody as error:
        raise BadBody(f"ops[{len(decoded)}]: {error.detail}") from error
    return decoded


def _json_operation(op: _JsonOp, keyspace: str) -> Operation | KvError:
    key = required(bytes_of(op.key, op.key_b64, "key"), "key")
    return _operation(op, keyspace, key, bytes_of(op.value, op.value_b64, "value"))


def _operation(op: _Op, keyspace: str, key: bytes, value: bytes | UnsetType) -> Operation | KvError:
    if op.op == "put":
        required(value, "value")
    elif value is not UNSET or op.ttl is not UNSET or op.content_type is not UNSET:
        raise BadBody(f"{op.op} takes no value, ttl or content_type")
    if op.op == "get" and (op.if_match is not UNSET or op.if_none_match is not UNSET):
        raise BadBody("get takes no condition")
    ttl_ms = ttl_ms_of(op.ttl)
    for name, etag in (("if_match", op.if_match), ("if_none_match", op.if_none_match)):
        if etag is not UNSET and (not etag or '"' in etag or len(etag) > 255):
            raise BadBody(f"{name} is * or an etag without quotes")
    if op.if_none_match not in (UNSET, "*"):
        raise BadBody("if_none_match takes only *")
    try:
        check_key(key)
        if op.op == "get":
            return Get(keyspace, key)
        content_type = "" if value is UNSET else check_content_type(op.content_type or "")
        if_match, if_none_match = or_none(op.if_match), or_none(op.if_none_match)
        return Change(keyspace, key, or_none(value), content_type, ttl_ms, if_match, if_none_match)
    except KvError as error:
        return error


def _item(result: Result, *, as_text: bool) -> ResultItem:
    if isinstance(result, Found):
        return value_item(result.value, result.etag, result.content_type, result.ttl_s, as_text=as_text)
    if isinstance(result, Stored):
        return ResultItem(201 if result.created else 204, etag=result.etag)
    if isinstance(result, Deleted):
        return _DELETED
    return ResultItem(result.status, code=result.code, detail=result.detail)
