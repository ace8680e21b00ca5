"""Bodies of transactions: JSON or MessagePack in, the same transaction out, and its outcome back.

Guarantees: a body has exactly the declared shape or raises; whatever is wrong with one operation or condition refuses
the whole transaction, and the error says where it stands, such as `then[3]`. Leaves to others: sizes in bytes
(`http_request`), meaning (`service`). Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.body_forms import Format, decode_json, decode_packed, packed_count
from cluster.gateway.conditions import check_content_type
from cluster.gateway.item_fields import bytes_of, or_none, required, ttl_ms_of
from cluster.gateway.result_items import ResultItem, value_item
from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding, TxnState
from kvstore.errors import BadBody, BodyTooLarge, KeyNotFound, KvError, ValueTooLarge
from kvstore.keys import check_key
from kvstore.messages import OpKind, TxnIf, TxnOp, TxnResult

# Conditions and the operations of both branches together.
OPERATIONS_MAX = 128
TXN_BYTES_MAX = 4 * 1024 * 1024
CONDITION_BYTES_MIN = len('{"key":"","etag":""}')
ETAG_BYTES_MAX = 255
INCREMENTS = range(-(1 << 63), 1 << 63)
FLOAT_EXACT_MAX = float(1 << 53)

# Each condition and each operation has one of these.
_KEY_FIELD = re.compile(rb'"key(?:_b64)?"\s*:')
_KINDS = {"get": OpKind.GET, "put": OpKind.PUT, "delete": OpKind.DELETE, "incr": OpKind.INCR}


class _If(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    etag: str | UnsetType = UNSET
    exists: bool | UnsetType = UNSET


class _JsonIf(_If, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: str | UnsetType = UNSET
    key_b64: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    value_b64: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        # At the first one: a list of very many that are empty would take far more memory than its text.
        if self.key is UNSET and self.key_b64 is UNSET:
            raise ValueError("needs one of key and key_b64")


class _PackedIf(_If, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: bytes
    value: bytes | UnsetType = UNSET


class _Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    op: Literal["get", "put", "delete", "incr"]
    ttl: float | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    # A float too, for JSON knows only one kind of number: 5.0 is 5.
    by: int | float | UnsetType = UNSET


class _JsonOp(_Op, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: str | UnsetType = UNSET
    key_b64: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    value_b64: str | UnsetType = UNSET


class _PackedOp(_Op, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: bytes
    value: bytes | UnsetType = UNSET


class _JsonTxn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    conditions: list[_JsonIf] = msgspec.field(name="if", default_factory=list)
    then: list[_JsonOp] = msgspec.field(default_factory=list)
    otherwise: list[_JsonOp] = msgspec.field(name="else", default_factory=list)


class _PackedTxn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    conditions: list[_PackedIf] = msgspec.field(name="if", default_factory=list)
    then: list[_PackedOp] = msgspec.field(default_factory=list)
    otherwise: list[_PackedOp] = msgspec.field(name="else", default_factory=list)


class _Answer(msgspec.Struct, frozen=True):
    txn: str
    branch: str
    results: list[ResultItem]


class _State(msgspec.Struct, frozen=True, omit_defaults=True):
    state: str
    branch: str | None = None


_Given = TypeVar("_Given")
_Made = TypeVar("_Made")

_JSON = msgspec.json.Decoder(_JsonTxn)
_PACKED = msgspec.msgpack.Decoder(_PackedTxn)
_TO_JSON = msgspec.json.Encoder()
_TO_MSGPACK = msgspec.msgpack.Encoder()


def decode_txn(body: bytes, form: Format, keyspace: str, token: str, max_value_bytes: int) -> Transaction:
    """The transaction that a body asks for.

    Args:
        token: the client's idempotency token, empty for none.
        max_value_bytes: the largest value that may be put.

    Raises:
        BadBody: it is no transaction, or names no key.
        BadKey, KeyTooLong, BadRequest, ValueTooLarge: one of its operations or conditions is not allowed.
        BodyTooLarge: it has too many of them.
    """
    txn: _JsonTxn | _PackedTxn
    if form is Format.MSGPACK:
        if packed_count(body, OPERATIONS_MAX) > OPERATIONS_MAX:
            raise _too_many()
        txn = decode_packed(body, _PACKED, "a transaction")
    else:
        if len(body) > OPERATIONS_MAX * CONDITION_BYTES_MIN and _is_crowded(body):
            raise _too_many()
        txn = decode_json(body, _JSON)
    count = len(txn.conditions) + len(txn.then) + len(txn.otherwise)
    if count > OPERATIONS_MAX:
        raise _too_many()
    if not count:
        raise BadBody("a transaction names at least one key, in if, then or else")
    return Transaction(
        keyspace,
        _each("if", txn.conditions, lambda _, one: _condition(one)),
        _each("then", txn.then, lambda index, op: _operation(index, op, max_value_bytes)),
        _each("else", txn.otherwise, lambda index, op: _operation(index, op, max_value_bytes)),
        token,
    )


def encode_outcome(outcome: TxnOutcome, form: Format) -> bytes:
    """The answer to a transaction that is committed."""
    results = [_item(result, as_text=form is Format.JSON) for result in outcome.results]
    encoder = _TO_JSON if form is Format.JSON else _TO_MSGPACK
    return encoder.encode(_Answer(outcome.id, branch_name(outcome.then), results))


def encode_standing(standing: TxnStanding) -> bytes:
    """Where a transaction stands, in JSON; the branch only of one that is committed."""
    is_committed = standing.state is TxnState.COMMITTED
    return _TO_JSON.encode(_State(standing.state.value, branch_name(standing.then) if is_committed else None))


def branch_name(then: bool) -> str:
    """A branch by its word in the contract."""
    return "then" if then else "else"


def _is_crowded(body: bytes) -> bool:
    return any(place >= OPERATIONS_MAX for place, _ in enumerate(_KEY_FIELD.finditer(body)))


def _too_many() -> BodyTooLarge:
    return BodyTooLarge(f"a transaction has at most {OPERATIONS_MAX} operations, those of if, then and else together")


def _each(name: str, given: Sequence[_Given], make: Callable[[int, _Given], _Made]) -> tuple[_Made, ...]:
    made: list[_Made] = []
    try:
        for index, one in enumerate(given):
            made.append(make(index, one))
    except KvError as error:
        raise type(error)(f"{name}[{len(made)}]: {error.detail}") from error
    return tuple(made)


def _condition(given: _If) -> TxnIf:
    key, value = _key_and_value(given)
    etag, exists = given.etag, given.exists
    if sum(one is not UNSET for one in (etag, exists, value)) != 1:
        raise BadBody("a condition has exactly one of etag, exists and value")
    if etag is not UNSET and (not etag or etag == "*" or '"' in etag or len(etag) > ETAG_BYTES_MAX):
        raise BadBody("etag is one etag without quotes; exists asks for any")
    return TxnIf(key, or_none(etag), or_none(exists), or_none(value))


def _operation(index: int, given: _Op, max_value_bytes: int) -> TxnOp:
    key, value = _key_and_value(given)
    if given.op == "put":
        required(value, "value")
    elif value is not UNSET or given.ttl is not UNSET or given.content_type is not UNSET:
        raise BadBody(f"{given.op} takes no value, ttl or content_type")
    by = _increment(given)
    ttl_ms = ttl_ms_of(given.ttl)
    if value is UNSET:
        return TxnOp(index, _KINDS[given.op], key, by=by)
    if len(value) > max_value_bytes:
        raise ValueTooLarge(f"a value has at most {max_value_bytes} bytes, this one has {len(value)}")
    return TxnOp(index, OpKind.PUT, key, value, check_content_type(or_none(given.content_type) or ""), ttl_ms)


def _key_and_value(given: _If | _Op) -> tuple[bytes, bytes | UnsetType]:
    if isinstance(given, _PackedIf | _PackedOp):
        return check_key(given.key), given.value
    assert isinstance(given, _JsonIf | _JsonOp)
    key = required(bytes_of(given.key, given.key_b64, "key"), "key")
    return check_key(key), bytes_of(given.value, given.value_b64, "value")


def _increment(given: _Op) -> int:
    if given.op != "incr":
        if given.by is not UNSET:
            raise BadBody(f"{given.op} takes no by")
        return 0
    by = 1 if given.by is UNSET else given.by
    # Beyond that not every number can be a float: it may have been another one when it was written.
    is_whole = by in INCREMENTS if isinstance(by, int) else by.is_integer() and abs(by) <= FLOAT_EXACT_MAX
    if not is_whole:
        raise BadBody("by is a whole number of 64 bits, with its sign; beyond 2^53 it is written without a point")
    return int(by)


def _item(result: TxnResult, *, as_text: bool) -> ResultItem:
    if result.value is not None:
        ttl_s = None if result.ttl_ms is None else result.ttl_ms / 1000
        return value_item(result.value, result.etag, result.content_type or None, ttl_s, as_text=as_text)
    if result.status == KeyNotFound.status:
        return ResultItem(KeyNotFound.status, code=KeyNotFound.code, detail="nothing is stored under this key")
    return ResultItem(result.status, etag=result.etag or None)
