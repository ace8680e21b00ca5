"""Bodies of batches: JSON or MessagePack in, the same operations out, and results back.

Guarantees: a body has exactly the declared shape (types, no unknown or doubled field in MessagePack, at most
`OPERATIONS_MAX` operations) or raises; what is wrong with one key alone becomes that operation's error and leaves the
others alone. Leaves to others: sizes in bytes (`http_request`), meaning (`service`). Sans-IO.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Literal, TypeVar

import msgpack
import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.conditions import check_content_type
from cluster.gateway.item_fields import TEXT_BYTES_MAX, bytes_of, distinct_fields, or_none, required, ttl_ms_of
from cluster.gateway.operations import Change, Deleted, Found, Get, Operation, Result, Stored
from kvstore.errors import BadBody, BodyTooLarge, KvError, UnsupportedMediaType
from kvstore.keys import check_key

OPERATIONS_MAX = 1000
OPERATION_BYTES_MIN = len('{"op":"get"}')
CONTAINER_LENGTH_MAX = 4096
FORM_TYPES = frozenset(("", "application/x-www-form-urlencoded"))

_OP_FIELD = re.compile(rb'"op"\s*:')


class Format(Enum):
    """How a body is written; the value is its media type."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


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


class _Item(msgspec.Struct, frozen=True, omit_defaults=True):
    status: int
    value: str | bytes | None = None
    value_b64: str | None = None
    etag: str | None = None
    content_type: str | None = None
    ttl: float | None = None
    code: str | None = None
    detail: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    results: list[_Item]


_JSON = msgspec.json.Decoder(_JsonBatch)
_TO_JSON = msgspec.json.Encoder()
_TO_MSGPACK = msgspec.msgpack.Encoder()
_DELETED = _Item(204)


def decode_batch(body: bytes, form: Format, keyspace: str) -> list[Operation | KvError]:
    """The operations of a batch, or in their places the errors of single ones.

    Raises:
        BadBody: it is not a batch; names what and where.
        BodyTooLarge: it has too many operations.
    """
    if form is Format.MSGPACK:
        packed = _unpack(body)
        _check_count(len(packed.ops))
        return _each(packed.ops, lambda op: _operation(op, keyspace, op.key, op.value))
    if len(body) > OPERATIONS_MAX * OPERATION_BYTES_MIN and sum(1 for _ in _OP_FIELD.finditer(body)) > OPERATIONS_MAX:
        _check_count(OPERATIONS_MAX + 1)
    try:
        batch = _JSON.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(str(error)) from error
    _check_count(len(batch.ops))
    return _each(batch.ops, lambda op: _json_operation(op, keyspace))


def encode_results(results: Sequence[Result], form: Format) -> bytes:
    """The answer to a batch."""
    if form is Format.MSGPACK:
        return _TO_MSGPACK.encode(_Answer([_item(result, as_text=False) for result in results]))
    return _TO_JSON.encode(_Answer([_item(result, as_text=True) for result in results]))


def _check_count(count: int) -> None:
    if count > OPERATIONS_MAX:
        raise BodyTooLarge(f"a batch has at most {OPERATIONS_MAX} operations")


def _unpack(body: bytes) -> _PackedBatch:
    try:
        tree = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=distinct_fields,
            max_array_len=CONTAINER_LENGTH_MAX,
            max_map_len=CONTAINER_LENGTH_MAX,
            max_str_len=TEXT_BYTES_MAX,
            max_bin_len=len(body),
            max_ext_len=0,
        )
        return msgspec.convert(tree, _PackedBatch, builtin_types=(bytes,), strict=True)
    except BodyTooLarge:
        raise
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise BadBody(f"not a batch in MessagePack: {error or type(error).__name__}") from error


def _each(ops: Sequence[Op], decode: Callable[[Op], Operation | KvError]) -> list[Operation | KvError]:
    decoded: list[Operation | KvError] = []
    try:
        for op in ops:
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


def _item(result: Result, *, as_text: bool) -> _Item:
    if isinstance(result, Found):
        ttl = None if result.ttl_s is None else round(result.ttl_s, 3)
        if not as_text:
            return _Item(200, result.value, None, result.etag, result.content_type, ttl)
        try:
            return _Item(200, str(result.value, "utf-8"), None, result.etag, result.content_type, ttl)
        except UnicodeDecodeError:
            text = base64.b64encode(result.value).decode("ascii")
            return _Item(200, None, text, result.etag, result.content_type, ttl)
    if isinstance(result, Stored):
        return _Item(201 if result.created else 204, etag=result.etag)
    if isinstance(result, Deleted):
        return _DELETED
    return _Item(result.status, code=result.code, detail=result.detail)


def media_type(field: str) -> str:
    """The media type of a `Content-Type`, or of one part of an `Accept`, without its parameters."""
    return field.partition(";")[0].strip().lower()


def form_of(content_type: str) -> Format:
    """The form that a `Content-Type` names; none, and curl's default, mean JSON. Raises UnsupportedMediaType."""
    given = media_type(content_type)
    if given in FORM_TYPES:
        return Format.JSON
    for form in Format:
        if given == form.value:
            return form
    raise UnsupportedMediaType(f"a batch is {' or '.join(form.value for form in Format)}")


def accepted_form(accept: str, default: Format) -> Format:
    """The first form that `Accept` names; `default` where it names none."""
    for part in accept.split(","):
        for form in Format:
            if media_type(part) == form.value:
                return form
    return default
