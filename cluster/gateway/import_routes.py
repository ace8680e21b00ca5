"""The import: a stream of items in one request, of any length.

Guarantees: nothing of the body is read before everything else is in order, and no more of it than is being stored; the
answer comes after all that was stored, and says with `imported` and `line` how far an import came that ended early.
Leaves to others: the items (`import_stream`), storing them (`import_window`), too slow a client (`http_protocol`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from aiohttp import hdrs

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.body_forms import FORM_TYPES, media_type
from cluster.gateway.conditions import IDEMPOTENCY_KEY, parse_query
from cluster.gateway.http_request import Request
from cluster.gateway.import_stream import Item, ItemParser, JsonLines, PackedItems
from cluster.gateway.import_window import ImportWindow
from cluster.gateway.service import KvService
from kvstore.errors import BadBody, BadRequest, KvError, MethodNotAllowed, UnsupportedMediaType

PARSERS: dict[str, type[ItemParser]] = {"application/x-ndjson": JsonLines, "application/msgpack": PackedItems}

_JSON = msgspec.json.Encoder()


class ImportRoutes:
    """Args:
    patience_s: how long items that are refused for now are tried again without progress, in seconds.
    """

    def __init__(self, service: KvService, *, patience_s: float) -> None:
        self._service = service
        self._patience_s = patience_s

    async def import_items(self, request: Request, keyspace: str, query: str) -> Answer:
        """Store every item of the body."""
        request.operation = "import"
        if request.method != "POST":
            raise MethodNotAllowed(("POST",))
        parse_query(query, ())
        if IDEMPOTENCY_KEY in request.headers:
            raise BadRequest(f"{IDEMPOTENCY_KEY}: an import takes none")
        parser = _parser_of(request.headers.get(hdrs.CONTENT_TYPE, ""))(keyspace, self._service.rules(keyspace))
        window = self._service.open_import(self._patience_s)
        ended: KvError | None = None
        try:
            await _store_all(request, parser, window)
        except KvError as error:
            ended = error
        except ConnectionError:
            window.abandon()
            raise
        finally:
            await window.finish()
        ended = window.failure or ended
        if ended is None:
            return json_answer(200, _JSON.encode({"imported": window.imported}))
        ended.numbers = {"imported": window.imported, "line": window.line or parser.line}
        raise ended


async def _store_all(request: Request, parser: ItemParser, window: ImportWindow) -> None:
    async for piece in request.pieces():
        request.hold(window.bytes_under_way + parser.kept_bytes + len(piece))
        await _store(parser.feed(piece), window)
    await _store(parser.end(), window)


async def _store(parsed: Iterator[Item], window: ImportWindow) -> None:
    """Send what stands before the first bad line, then raise what is bad about it."""
    items: list[Item] = []
    try:
        items.extend(parsed)
    except BadBody as error:
        bad: BadBody | None = error
    else:
        bad = None
    if items:
        await window.put(items)
    if bad is not None:
        raise bad


def _parser_of(content_type: str) -> type[ItemParser]:
    """The parser for a `Content-Type`; none, and curl's default, mean lines of JSON. Raises UnsupportedMediaType."""
    given = media_type(content_type)
    if given in FORM_TYPES:
        return JsonLines
    if given not in PARSERS:
        raise UnsupportedMediaType(f"an import is {' or '.join(PARSERS)}")
    return PARSERS[given]
