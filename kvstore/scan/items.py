"""Items of a scan as a user gets them, which only have to be put together on their way.

Guarantees: an item has exactly the bytes in which it stands in the answer, in JSON or MessagePack; what is not UTF-8
stands as `key_b64` and `value_b64` in JSON, and so does a value that escapes would make very long. Leaves to others:
what stands around items. Sans-IO.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from enum import IntEnum
from operator import itemgetter

import msgspec

from kvstore.messages import Scanned
from kvstore.scan.capture import CapturedPart, DamagedPart
from kvstore.storage.records import HEAD_BYTES, ROW_FORMAT, DamagedRow, expiry_of, split_head, split_value
from kvstore.versions import etag

# Escapes make a text up to six times as long, which no frame would hold; base64 makes it a third longer.
JSON_BYTES_MAX = 32 * 1024 * 1024
# A larger row is made an item by itself, so that there are fewer copies of it.
TOGETHER_BYTES_MAX = 64 * 1024


class ItemForm(IntEnum):
    """How items are written."""

    JSON = 0
    MSGPACK = 1


class _Item(msgspec.Struct, omit_defaults=True, gc=False):
    key: str | bytes | None = None
    key_b64: str | None = None
    value: str | bytes | None = None
    value_b64: str | None = None
    etag: str | None = None
    content_type: str | None = None
    ttl: float | None = None


class _TextItem(msgspec.Struct, gc=False):
    """Of an item without a time to live, whose key and value are text."""

    key: str
    value: str
    etag: str
    content_type: str


# The same where nothing in it is to be escaped, in two thirds of the time.
PLAIN = b'{"key":"%b","value":"%b","etag":"%x.%x.%x","content_type":"%b"}'
_KEY_AT = PLAIN.index(b"%b")

_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()

# Of the partition's uid, its time, the key and its row: the item, or None where the key is overdue.
EncodeItem = Callable[[int, int, bytes, bytes], bytes | None]

# Of keys, the row and the partition of each: their items, with None for those that are overdue. Raises DamagedPart.
EncodeItems = Callable[[Sequence[bytes], Sequence[bytes], Sequence[CapturedPart]], list[bytes | None]]


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


def items_encoder(form: ItemForm, keys_only: bool, now_ms: int) -> EncodeItems:
    """What turns many keys into items at once; arguments as for `item_encoder`, whose items they are."""
    encode_one = item_encoder(form, keys_only, now_ms)

    def one_by_one(keys: Sequence[bytes], rows: Sequence[bytes], parts: Sequence[CapturedPart]) -> list[bytes | None]:
        items: list[bytes | None] = []
        for key, row, part in zip(keys, rows, parts, strict=True):
            try:
                items.append(encode_one(part.pid, part.time_ms, key, row))
            except DamagedRow as error:
                raise DamagedPart(part.pid, error) from error
        return items

    def together(keys: Sequence[bytes], rows: Sequence[bytes], parts: Sequence[CapturedPart]) -> list[bytes | None]:
        made = text_items(keys, rows, [part.pid for part in parts])
        return one_by_one(keys, rows, parts) if made is None else [*made.items]

    return one_by_one if keys_only or form is not ItemForm.JSON else together


class TextItems(msgspec.Struct, frozen=True, gc=False):
    """Items in JSON. Where they `tell_keys`, each is `PLAIN`, and they are in order where their keys are."""

    items: list[bytes]
    tell_keys: bool


def text_items(keys: Sequence[bytes], rows: Sequence[bytes], pids: Sequence[int]) -> TextItems | None:
    """The items in JSON of these keys, each with its row and partition; None where one has a time to live, comes from
    another partition, is large or no text, or cannot be read."""
    fields = _fields_of(keys, rows, pids)
    if fields is None:
        return None
    names = b"".join(keys)
    if _is_plain(b"".join((names, *map(_VALUE, fields), *set(map(_KIND, fields))))):
        # A quotation mark ends the key, and only these two come before it.
        return TextItems([PLAIN % field for field in fields], b" " not in names and b"!" not in names)
    try:
        texts = [
            _TextItem(key.decode(), value.decode(), etag(*version), kind.decode())
            for key, value, *version, kind in fields
        ]
    except UnicodeDecodeError:
        return None
    # No item has a line feed in it: within texts it is escaped.
    lines = _JSON.encode_lines(texts)
    return TextItems(lines.split(b"\n")[:-1], False) if len(lines) <= JSON_BYTES_MAX else None


def key_in(item: bytes) -> bytes:
    """The key of an item that is `PLAIN`."""
    return item[_KEY_AT : item.index(b'"', _KEY_AT)]


def keys_of(page: Scanned) -> list[bytes]:
    """The keys of all items of a page."""
    return page.keys or [*map(key_in, page.items)]


# The key, the value, the partition, epoch and seq of its version, and the content type.
_Fields = tuple[bytes, bytes, int, int, int, bytes]
_VALUE, _KIND = itemgetter(1), itemgetter(5)


def _fields_of(keys: Sequence[bytes], rows: Sequence[bytes], pids: Sequence[int]) -> list[_Fields] | None:
    fields: list[_Fields] = []
    for key, row, pid in zip(keys, rows, pids, strict=True):
        if len(row) < HEAD_BYTES:
            return None
        row_format, epoch, seq, expiry_ms, length = split_head(row)
        start = HEAD_BYTES + length
        if row_format != ROW_FORMAT or expiry_ms or not start <= len(row) <= TOGETHER_BYTES_MAX:
            return None
        fields.append((key, row[start:], pid, epoch, seq, row[HEAD_BYTES:start]))
    return fields


def _is_plain(text: bytes) -> bool:
    """Whether it is ASCII, of which JSON escapes nothing."""
    return text.isascii() and len(_JSON.encode(text.decode())) == len(text) + 2


def _text(data: bytes) -> tuple[str | None, str | None]:
    """The bytes as text, or else in base64."""
    try:
        return str(data, "utf-8"), None
    except UnicodeDecodeError:
        return None, _base64(data)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
