"""Items of a range: which range is meant, and how its keys and values stand in pages and lines.

Guarantees: keys and values keep their bytes in every form, text or not; `Bounds.after` leaves out no key that is
allowed. Leaves to others: asking (`ranges`, `exporting`). Sans-IO.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgpack

from kvstore.client.answers import OCTET_STREAM, bare_etag
from kvstore.client.urls import query_of
from kvstore.keys import KEY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Item:
    """A key and what it holds. `ttl_s` is the seconds left, None without a time to live; of a scan with `keys_only`
    there is the key alone."""

    key: bytes
    value: bytes = b""
    etag: str = ""
    content_type: str = OCTET_STREAM
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Items in order, and the `cursor` of the next page, None on the last one. `missing`: partitions without a leader,
    where a partial answer was allowed."""

    items: list[Item]
    cursor: str | None = None
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """The keys from `start` on and before `end` that begin with `prefix`; None is no bound."""

    prefix: bytes | None = None
    start: bytes | None = None
    end: bytes | None = None

    @classmethod
    def of(cls, prefix: str | bytes | None, start: str | bytes | None, end: str | bytes | None) -> Bounds:
        return cls(_bytes(prefix), _bytes(start), _bytes(end))

    def path(self, root: str, **parameters: str | int | bool | None) -> str:
        """The path of a request on these keys of the keyspace below `root`."""
        return f"{root}/kv" + query_of({"prefix": self.prefix, "start": self.start, "end": self.end, **parameters})

    def after(self, key: bytes) -> Bounds | None:
        """What comes after a key of the range; None where no key can."""
        following = key + b"\0" if len(key) < KEY_BYTES_MAX else _next_of_longest(key)
        return replace(self, start=following) if following else None


def _next_of_longest(key: bytes) -> bytes:
    """The first key after one that nothing can be appended to, empty where there is none."""
    kept = key.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""


def _bytes(bound: str | bytes | None) -> bytes | None:
    return bound.encode() if isinstance(bound, str) else bound


def page_of(body: bytes) -> Page:
    """A page in MessagePack; raises ValueError where the bytes are none."""
    try:
        document = msgpack.unpackb(body, raw=False)
        items = [_item(one) for one in document["items"]]
        return Page(items, document.get("cursor"), tuple(int(uid) for uid in document.get("missing", ())))
    except (TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _item(document: Mapping[str, Any]) -> Item:
    ttl = document.get("ttl")
    return Item(
        key=bytes(document["key"]),
        value=bytes(document.get("value", b"")),
        etag=bare_etag(str(document.get("etag", ""))),
        content_type=str(document.get("content_type", OCTET_STREAM)),
        ttl_s=float(ttl) if ttl is not None else None,
    )


def line_of(item: Item, *, keys_only: bool = False) -> str:
    """An item as a line of an export, without its end."""
    document: dict[str, Any] = text_or_base64("key", item.key)
    if not keys_only:
        document |= text_or_base64("value", item.value)
        document |= {"etag": item.etag, "content_type": item.content_type}
        document |= {"ttl": item.ttl_s} if item.ttl_s is not None else {}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def text_or_base64(name: str, data: bytes) -> dict[str, str]:
    """The field that holds these bytes: `name`, or `name_b64` where they are no text."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(data).decode()}


def key_of_line(line: bytes) -> bytes:
    """The key of a line of an export; raises ValueError where the line is none."""
    try:
        return bytes_field(json.loads(line), "key")
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no item: {line[:100]!r}") from error


def bytes_field(document: Mapping[str, Any], name: str) -> bytes:
    """What `text_or_base64` has written; raises KeyError, and ValueError for no base64."""
    return document[name].encode() if name in document else base64.b64decode(document[f"{name}_b64"])


class Lines:
    """Whole lines of a stream that is cut anywhere; `count` is how many there were, `last` the last of them."""

    def __init__(self) -> None:
        self.count = 0
        self.last = b""
        self._rest: list[bytes] = []

    def take(self, piece: bytes) -> bytes:
        """All lines that `piece` completes, each with its end."""
        cut = piece.rfind(b"\n") + 1
        if not cut:
            self._rest.append(piece)
            return b""
        whole = b"".join([*self._rest, piece[:cut]])
        self._rest = [piece[cut:]] if cut < len(piece) else []
        self.count += whole.count(b"\n")
        self.last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        return whole

    def end(self) -> bytes:
        """The last line of a stream that came to its end without a line's end."""
        return self.take(b"\n") if any(self._rest) else b""

    def cut(self) -> None:
        """Forget a line that did not come whole."""
        self._rest = []
