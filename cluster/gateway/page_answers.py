"""What the answer to a request for a page of keys says.

Guarantees: the same page is the same bytes, whichever way the request went. Leaves to others: which items are in the
page (`scans`, `fast_pages`), and what they look like (`kvstore.scan.items`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cluster.gateway.answer import Answer
from cluster.gateway.body_forms import acceptable
from cluster.gateway.cursors import Cursor, encode_cursor
from cluster.gateway.scan_merge import ItemStyle
from cluster.gateway.scan_query import ScanQuery
from kvstore.scan.items import ItemForm

LIMIT_DEFAULT = 100
JSON, MSGPACK, NDJSON = "application/json", "application/msgpack", "application/x-ndjson"
MEDIA_TYPES = {"*/*": JSON, "application/*": JSON, JSON: JSON, MSGPACK: MSGPACK, NDJSON: NDJSON}

_JSON = msgspec.json.Encoder()
_MSGPACK = msgspec.msgpack.Encoder()


class _Page(msgspec.Struct, frozen=True, omit_defaults=True):
    items: list[msgspec.Raw]
    cursor: str | None = None
    missing: Sequence[int] = []


def accepted(accept: str) -> str:
    """The media type of a scan that `Accept` prefers; JSON where it names none."""
    return next((MEDIA_TYPES[media] for media in acceptable(accept) if media in MEDIA_TYPES), JSON)


def limit_of(asked: ScanQuery) -> int:
    """How many items a page has at most."""
    return LIMIT_DEFAULT if asked.limit is None else asked.limit


def style_of(asked: ScanQuery, media: str) -> ItemStyle:
    """How the items of a page are written."""
    return ItemStyle(ItemForm.MSGPACK if media == MSGPACK else ItemForm.JSON, asked.keys_only)


def page_answer(
    keyspace: str,
    asked: ScanQuery,
    media: str,
    cluster_id: bytes,
    items: list[bytes],
    last_key: bytes | None,
    missing: Sequence[int] = (),
) -> Answer:
    """The answer that has these items.

    Args:
        last_key: of the last item, None where nothing comes after it.
        missing: the partitions that were given up.
    """
    cursor = None if last_key is None else encode_cursor(Cursor(keyspace, asked.whole, last_key), cluster_id)
    if media == MSGPACK:
        body = _MSGPACK.encode(_Page([msgspec.Raw(item) for item in items], cursor, missing or []))
    else:
        # What an encoder would make of it, which takes an object for each item.
        pieces = [b'{"items":[', b",".join(items), b"]"]
        if cursor is not None:
            pieces.append(b',"cursor":"%b"' % cursor.encode())
        if missing:
            pieces.append(b',"missing":%b' % _JSON.encode(missing))
        body = b"".join((*pieces, b"}"))
    return Answer(200, f"Content-Type: {media}\r\nCache-Control: no-store\r\n", body)
