"""Batches of the plainest form, decoded in one step.

Guarantees: what is returned is what `bodies` would make of the same body by way of every field that an operation may
have; where a body has more than keys and values, or is wrong in any way, nothing is, and it is left to that. Leaves to
others: how many operations a batch may have. Sans-IO.
"""

from __future__ import annotations

import msgspec

from cluster.gateway.body_forms import Format
from cluster.gateway.conditions import DEFAULT_CONTENT_TYPE
from cluster.gateway.operations import Change, Get, Operation
from kvstore.errors import KvError
from kvstore.keys import check_key


class _Op(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", gc=False):
    pass


class _PackedGet(_Op, frozen=True, forbid_unknown_fields=True, tag="get"):
    key: bytes


class _PackedPut(_Op, frozen=True, forbid_unknown_fields=True, tag="put"):
    key: bytes
    value: bytes


class _PackedDelete(_Op, frozen=True, forbid_unknown_fields=True, tag="delete"):
    key: bytes


class _PackedBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ops: list[_PackedGet | _PackedPut | _PackedDelete]


class _TextGet(_Op, frozen=True, forbid_unknown_fields=True, tag="get"):
    key: str


class _TextPut(_Op, frozen=True, forbid_unknown_fields=True, tag="put"):
    key: str
    value: str


class _TextDelete(_Op, frozen=True, forbid_unknown_fields=True, tag="delete"):
    key: str


class _TextBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ops: list[_TextGet | _TextPut | _TextDelete]


_PACKED = msgspec.msgpack.Decoder(_PackedBatch)
_TEXT = msgspec.json.Decoder(_TextBatch)
_TO_MSGPACK = msgspec.msgpack.Encoder()


def decode_plain(body: bytes, form: Format, keyspace: str) -> list[Operation | KvError] | None:
    """The operations of a plain batch, or in their places the errors of single ones; None for any other body."""
    try:
        if form is Format.JSON:
            return [_from_text(op, keyspace) for op in _TEXT.decode(body).ops]
        batch = _PACKED.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # A field that is there twice, which is refused, makes a body longer than all that was taken from it.
    if len(_TO_MSGPACK.encode(batch)) != len(body):
        return None
    return [_operation(op, keyspace) for op in batch.ops]


def _from_text(op: _TextGet | _TextPut | _TextDelete, keyspace: str) -> Operation | KvError:
    key = op.key.encode()
    if isinstance(op, _TextGet):
        return _get(keyspace, key)
    return _change(keyspace, key, op.value.encode() if isinstance(op, _TextPut) else None)


def _operation(op: _PackedGet | _PackedPut | _PackedDelete, keyspace: str) -> Operation | KvError:
    if isinstance(op, _PackedGet):
        return _get(keyspace, op.key)
    return _change(keyspace, op.key, op.value if isinstance(op, _PackedPut) else None)


def _get(keyspace: str, key: bytes) -> Operation | KvError:
    try:
        return Get(keyspace, check_key(key))
    except KvError as error:
        return error


def _change(keyspace: str, key: bytes, value: bytes | None) -> Operation | KvError:
    try:
        return Change(keyspace, check_key(key), value, "" if value is None else DEFAULT_CONTENT_TYPE)
    except KvError as error:
        return error
