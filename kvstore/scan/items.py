"""Items of a scan as a user gets them, which only have to be put together on their way.

Guarantees: an item has exactly the bytes in which it stands in the answer, in JSON or MessagePack; what is not UTF-8
stands as `key_b64` and `value_b64` in JSON, and so does a value that escapes would make very long. Leaves to others:
what stands around items. Sans-IO.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from enum import IntEnum

import msgspec

from kvstore.storage.records import expiry_of, split_value
from kvstore.versions import etag

# Escapes make a text up to six times as long, which no frame would hold; base64 makes it a third longer.
JSON_BYTES_MAX = 32 * 1024 * 1024


class ItemForm(IntEnum):
    """How items are written."""

    JSON = 0
    MSGPACK = 1


class _Item(msgspec.Struct, omit_defaults=True):
    key: str | bytes | None = None
    key_b64: str | None = None
    value: str | bytes | None = None
    value_b64: str | None = None
    etag: str | None = None
    content_type: str | None = None
    ttl: float | None = None


_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()

# Of the partition's uid, its time, the key and its row: the item, or None where the key is overdue.
EncodeItem = Callable[[int, int, bytes, bytes], bytes | None]


def item_encoder(form: ItemForm, keys_only: bool, now_ms: int) -> EncodeItem:
    """What turns live keys into items; raises DamagedRow.

    Args:
        now_ms: the wall clock, against which the seconds left are told.
    """
    is_text = form is ItemForm.JSON
    encode = _JSON.encode if is_text else _MSGPACK.encode

    def encode_key(_pid: int, time_ms: int, key: bytes, row: bytes) -> bytes | None:
        if 0 < expiry_of(row) <= time_ms:
            return None
        return encode(_Item(*_text(key)) if is_text else _Item(key))

    def encode_whole(pid: int, time_ms: int, key: bytes, row: bytes) -> bytes | None:
        epoch, seq, expiry_ms, content_type, value, origin = split_value(row)
        ttl = None
        if expiry_ms:
            if expiry_ms <= time_ms:
                return None
            # Never 0, which an import would refuse: by the partition's time there is some left.
            ttl = max(1, expiry_ms - now_ms) / 1000
        version = etag(origin or pid, epoch, seq)
        if not is_text:
            return encode(_Item(key, None, value, None, version, content_type, ttl))
        try:
            item = encode(_Item(str(key, "utf-8"), None, str(value, "utf-8"), None, version, content_type, ttl))
        except UnicodeDecodeError:
            item = encode(_Item(*_text(key), *_text(value), version, content_type, ttl))
        if len(item) > JSON_BYTES_MAX:
            item = encode(_Item(*_text(key), None, _base64(value), version, content_type, ttl))
        return item

    return encode_key if keys_only else encode_whole


def _text(data: bytes) -> tuple[str | None, str | None]:
    """The bytes as text, or else in base64."""
    try:
        return str(data, "utf-8"), None
    except UnicodeDecodeError:
        return None, _base64(data)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
