"""Bodies of batches, imports and their answers, written and read without the code under test.

Guarantees: bytes that are no text stand as base64 in JSON, and only those. Leaves to others: what they mean.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote_from_bytes

import msgpack
from checkers.dictionary import Found
from checkers.history import Anomaly

JSON, MSGPACK, NDJSON = "application/json", "application/msgpack", "application/x-ndjson"
MEDIA_TYPES = {"json": JSON, "msgpack": MSGPACK, "ndjson": NDJSON}
# What may stand in a path as it is, dots and slashes among them: nobody is to fold them.
PLAIN = "/!$&'()*+,;=:@.~-_"

Document = dict[str, Any]


def spelled(key: bytes, way: int) -> str:
    """A key in a path: with as many of its bytes as may be as they are, or with none, in either case of digits."""
    if way == 0:
        return quote_from_bytes(key, safe=PLAIN)
    return "".join(f"%{byte:02x}" if way == 1 else f"%{byte:02X}" for byte in key)


def fields(**given: object) -> Document:
    """Those that are given; `key` and `value` are bytes."""
    return {name: value for name, value in given.items() if value not in (None, "") or name == "value"}


def encode(document: Any, form: str) -> bytes:
    """A body of one document whose operations or items have bytes in them."""
    if form == "msgpack":
        return bytes(msgpack.packb(document))
    return json.dumps(document, default=str).encode()


def encode_batch(ops: Sequence[Document], form: str) -> bytes:
    """A batch."""
    return encode({"ops": list(ops) if form == "msgpack" else [as_text(op) for op in ops]}, form)


def encode_items(items: Sequence[Document], form: str, bad_at: int | None) -> bytes:
    """The body of an import, with something else than an item before the one at `bad_at`."""
    if form == "msgpack":
        lines, bad = [bytes(msgpack.packb(item)) for item in items], b"\x07"
    else:
        lines, bad = [json.dumps(as_text(item)).encode() + b"\n" for item in items], b'{"key":\n'
    if bad_at is not None:
        lines.insert(bad_at, bad)
    return b"".join(lines)


def decode(body: bytes, media_type: str) -> Any:
    """An answer, of which every byte has to be a part."""
    try:
        return msgpack.unpackb(body, raw=False) if media_type.startswith(MSGPACK) else json.loads(body)
    except ValueError as error:
        raise Anomaly(f"an answer that is not {media_type}: {body[:100]!r}: {error}") from error


def as_text(document: Document) -> Document:
    """With bytes as JSON has them."""
    found: Document = {}
    for name, value in document.items():
        if not isinstance(value, bytes):
            found[name] = value
            continue
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            found[f"{name}_b64"] = base64.b64encode(value).decode()
    return found


def data_of(document: Document, name: str, form: str) -> bytes:
    """The bytes that stand as `name`; raises `Anomaly` where they do not stand as the contract says."""
    plain, coded = document.get(name), document.get(f"{name}_b64")
    if form == "msgpack":
        if not isinstance(plain, bytes) or coded is not None:
            raise Anomaly(f"{name} is not bin alone: {document}")
        return plain
    if isinstance(plain, str) and coded is None:
        return plain.encode()
    if not isinstance(coded, str) or plain is not None:
        raise Anomaly(f"{name} has to stand once: {document}")
    data = base64.b64decode(coded, validate=True)
    if is_text(data):
        raise Anomaly(f"{name} is text and stands as base64: {document}")
    return data


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def found_of(document: Document, form: str) -> Found:
    """What a result or an item tells of a value that is there."""
    ttl_s = document.get("ttl")
    return Found(
        value=data_of(document, "value", form),
        content_type=str(document["content_type"]),
        etag=str(document["etag"]),
        ttl_s=None if ttl_s is None else float(ttl_s),
    )
