"""Items of a scan as a user gets them, which only have to be put together on their way.

Guarantees: an item has exactly the bytes in which it stands in the answer, in JSON or MessagePack; what is not UTF-8
stands as `key_b64` and `value_b64` in JSON. Leaves to others: what stands around items. Sans-IO.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from enum import IntEnum

import msgspec

from kvstore.storage.records import decode_value
from kvstore.versions import etag


class ItemForm(IntEnum):
    """How items are written."""

    JSON = 0
    MSGPACK = 1


class _Item(msgspec.Struct, frozen=True, omit_defaults=True):
    key: str | bytes | None = None
    key_b64: str | None = None
    value: str | bytes | None = None
    value_b64: str | None = None
    etag: str | None = None
    content_type: str | None = None
    ttl: float | None = None


_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()

EncodeItem = Callable[[int, bytes, bytes], bytes]
Fields = tuple[str | bytes | None, str | None]


def item_encoder(form: ItemForm, keys_only: bool, now_ms: int) -> EncodeItem:
    """What turns the partition, the key and the row of a live key into an item; raises DamagedRow.

    Args:
        now_ms: the wall clock, against which the seconds left are told.
    """
    encode = _JSON.encode if form is ItemForm.JSON else _MSGPACK.encode
    text_of: Callable[[bytes], Fields] = _text if form is ItemForm.JSON else _binary

    def encode_key(_pid: int, key: bytes, _row: bytes) -> bytes:
        return encode(_Item(*text_of(key)))

    def encode_whole(pid: int, key: bytes, row: bytes) -> bytes:
        stored = decode_value(row)
        ttl = max(0, stored.expiry_ms - now_ms) / 1000 if stored.expiry_ms else None
        version = etag(pid, stored.epoch, stored.seq)
        return encode(_Item(*text_of(key), *text_of(stored.value), version, stored.content_type, ttl))

    return encode_key if keys_only else encode_whole


def _text(data: bytes) -> Fields:
    """The bytes as text, or else in base64."""
    try:
        return str(data, "utf-8"), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode("ascii")


def _binary(data: bytes) -> Fields:
    return data, None
