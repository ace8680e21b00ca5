"""Requests on ranges of keys: pages, streams, counts, and the removal of a range.

Guarantees: a page says where to go on; a stream that cannot be whole is cut off without its end, so that nobody takes
it for whole; nothing more is read from the nodes than the client takes. Leaves to others: parameters (`scan_query`),
scanning (`scans`), bytes on the connection (`http_pieces`).
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from aiohttp import hdrs

from cluster.gateway.answer import Answer, StreamedAnswer, json_answer
from cluster.gateway.conditions import IDEMPOTENCY_KEY
from cluster.gateway.http_request import Request
from cluster.gateway.import_stream import Item
from cluster.gateway.import_window import ImportWindow
from cluster.gateway.operations import Change
from cluster.gateway.page_answers import NDJSON, accepted, limit_of, page_answer, style_of
from cluster.gateway.scan_merge import ItemStyle, KeyRange, Piece
from cluster.gateway.scan_query import ScanQuery, parse_removal, parse_scan
from cluster.gateway.scans import Scans
from cluster.gateway.service import KvService
from kvstore.errors import BadBody, BadRequest, MethodNotAllowed
from kvstore.scan.items import ItemForm

REMOVED_AT_ONCE = 256
# About what a stream holds: two pages of each of three nodes.
STREAM_BYTES = 1024 * 1024
LINES = f"Content-Type: {NDJSON}\r\nCache-Control: no-store\r\n"
NOT_FOR_RANGES = (IDEMPOTENCY_KEY, hdrs.IF_MATCH, hdrs.IF_NONE_MATCH)
METHODS = ("GET", "HEAD", "DELETE")

_JSON = msgspec.json.Encoder()


class _Count(msgspec.Struct, frozen=True, omit_defaults=True):
    count: int
    missing: list[int] = []


class _Missing(msgspec.Struct, frozen=True):
    missing: Sequence[int]


class _Removed(msgspec.Struct, frozen=True, omit_defaults=True):
    deleted: int
    done: bool = False


class ScanRoutes:
    """Args:
    cluster_id: whose cursors are taken.
    patience_s: how long a removal that is refused for now is tried again without progress, in seconds.
    """

    def __init__(self, scans: Scans, service: KvService, *, cluster_id: bytes, patience_s: float) -> None:
        self._scans = scans
        self._service = service
        self._cluster_id = cluster_id
        self._patience_s = patience_s

    async def range(self, request: Request, keyspace: str, query: str) -> Answer:
        """A request on the keys of a keyspace."""
        if request.method not in METHODS:
            raise MethodNotAllowed(METHODS)
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        if request.method == "DELETE":
            for name in NOT_FOR_RANGES:
                if name in request.headers:
                    raise BadRequest(f"{name}: the removal of a range takes none")
            request.operation = "remove_range"
            keys = parse_removal(query)
            request.hold(STREAM_BYTES)
            return await _streamed(self._removed(keyspace, keys))
        request.operation = "scan"
        asked = parse_scan(query, keyspace, self._cluster_id)
        if asked.is_count:
            request.operation = "count"
            count, missing = await self._scans.count(keyspace, asked.keys, asked.allow_partial)
            return json_answer(200, _JSON.encode(_Count(count, missing)))
        media = accepted(request.headers.get(hdrs.ACCEPT, ""))
        if media == NDJSON:
            request.operation = "scan_stream"
            request.hold(STREAM_BYTES)
            return await _streamed(self._lines(keyspace, asked))
        return await self._page(request, keyspace, asked, media)

    async def _page(self, request: Request, keyspace: str, asked: ScanQuery, media: str) -> Answer:
        style, limit = style_of(asked, media), limit_of(asked)
        page = await self._scans.page(keyspace, asked.keys, style, limit, asked.allow_partial, request.hold)
        return page_answer(keyspace, asked, media, self._cluster_id, page.items, page.last_key, page.missing)

    async def _lines(self, keyspace: str, asked: ScanQuery) -> AsyncGenerator[bytes, None]:
        style = ItemStyle(ItemForm.JSON, asked.keys_only)
        pieces = self._scans.stream(keyspace, asked.keys, style, limit=asked.limit, allow_partial=asked.allow_partial)
        async with aclosing(pieces):
            async for piece in pieces:
                yield _as_lines(piece)

    async def _removed(self, keyspace: str, keys: KeyRange) -> AsyncGenerator[bytes, None]:
        """Remove a range; yields how many keys are gone."""
        window = self._service.open_import(self._patience_s)
        numbers = itertools.count(1)
        # The deletes are requests themselves, and slower than it.
        pieces = self._scans.stream(keyspace, keys, ItemStyle(ItemForm.JSON, True), is_courteous=False)
        is_whole = False
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    # Said before anything is removed: a refusal promises that nothing was.
                    yield _progress(window)
                    for first in range(0, len(piece.keys), REMOVED_AT_ONCE):
                        chunk = piece.keys[first : first + REMOVED_AT_ONCE]
                        await window.put([Item(next(numbers), Change(keyspace, key, None)) for key in chunk])
            is_whole = True
        finally:
            if not is_whole:
                window.abandon()
            await window.finish()
        if window.failure is not None:
            raise window.failure
        yield _JSON.encode(_Removed(window.imported, done=True)) + b"\n"


def _progress(window: ImportWindow) -> bytes:
    return _JSON.encode(_Removed(window.imported)) + b"\n"


def _as_lines(piece: Piece) -> bytes:
    lines = [*piece.items, _JSON.encode(_Missing(piece.missing))] if piece.missing else piece.items
    return b"\n".join(lines) + b"\n"


async def _streamed(pieces: AsyncGenerator[bytes, None]) -> Answer:
    """An answer whose first piece is made already: what goes wrong before it is an ordinary refusal."""
    first = await anext(pieces, b"")
    return StreamedAnswer(200, LINES, first, pieces)
