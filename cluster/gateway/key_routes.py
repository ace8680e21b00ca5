"""Requests on keys: one key, a batch of them, and where a key lives.

Guarantees: every header and parameter that it does not act on and that would change the meaning of a request is
refused with an error that names it; a body is read only when everything before it is in order. Leaves to others: which
request it is (`routes`), doing it (`service`), bodies of batches (`bodies`).
"""

from __future__ import annotations

import msgspec
from aiohttp import hdrs

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.bodies import accepted_form, decode_batch, encode_results, form_of
from cluster.gateway.conditions import check_content_type, parse_etags, parse_query, parse_ttl_ms
from cluster.gateway.http_request import Request
from cluster.gateway.operations import Change
from cluster.gateway.service import KvService
from kvstore.errors import (
    BadBody,
    BadParameter,
    BadRequest,
    BodyTooLarge,
    KvError,
    MethodNotAllowed,
    NotBuiltYet,
    PreconditionFailed,
    ValueTooLarge,
)
from kvstore.keys import decode_key

KEY_METHODS = ("GET", "HEAD", "PUT", "DELETE")
READ_PARAMETERS = frozenset(("consistency", "max_stale"))
PUT_PARAMETERS = frozenset(("ttl",))
BATCH_PARAMETERS = frozenset(("consistent",))
IDEMPOTENCY_KEY = "Idempotency-Key"

_JSON = msgspec.json.Encoder()


class KeyRoutes:
    """Args:
    max_value_bytes: the largest body of a PUT.
    batch_bytes_max: the largest body of a batch.
    """

    def __init__(self, service: KvService, *, max_value_bytes: int, batch_bytes_max: int) -> None:
        self._service = service
        self._max_value_bytes = max_value_bytes
        self._batch_bytes_max = batch_bytes_max

    async def one_key(self, request: Request, keyspace: str, raw_key: str, query: str) -> Answer:
        """A request on the key that `raw_key`, a piece of a raw path, names."""
        method = request.method
        if method == "GET" or method == "HEAD":
            request.operation = "get"
            return await self._get(request, keyspace, decode_key(raw_key), query)
        if method == "PUT":
            request.operation = "put"
            return await self._put(request, keyspace, decode_key(raw_key), query)
        if method == "DELETE":
            request.operation = "delete"
            return await self._delete(request, keyspace, decode_key(raw_key), query)
        raise MethodNotAllowed(KEY_METHODS)

    def locate(self, request: Request, keyspace: str, raw_key: str, query: str) -> Answer:
        """Where a key lives, and why."""
        request.operation = "locate"
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(("GET", "HEAD"))
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        parse_query(query, ())
        return json_answer(200, _JSON.encode(self._service.locate(keyspace, decode_key(raw_key))))

    async def batch(self, request: Request, keyspace: str, query: str) -> Answer:
        """Independent operations on many keys."""
        request.operation = "batch"
        if request.method != "POST":
            raise MethodNotAllowed(("POST",))
        parameters = parse_query(query, BATCH_PARAMETERS)
        if parameters.get("consistent", "false") != "false":
            if parameters["consistent"] == "true":
                raise NotBuiltYet("batches that read one snapshot (consistent=true) are not built yet")
            raise BadParameter("consistent is true or false")
        _refuse_idempotency(request)
        form = form_of(request.headers.get(hdrs.CONTENT_TYPE, ""))
        answer_form = accepted_form(request.headers.get(hdrs.ACCEPT, ""), form)
        operations = decode_batch(await request.read_body(self._batch_bytes_max, BodyTooLarge), form, keyspace)
        results = await self._service.batch(operations)
        has_failures = any(isinstance(result, KvError) and result.status >= 500 for result in results)
        outcome = "partial" if has_failures else "ok"
        return Answer(200, f"Content-Type: {answer_form.value}\r\n", encode_results(results, answer_form), outcome)

    async def _get(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        headers = request.headers
        if query:
            _check_consistency(parse_query(query, READ_PARAMETERS))
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        found = await self._service.get(keyspace, key)
        lines = f'ETag: "{found.etag}"\r\nCache-Control: no-store\r\n'
        if found.ttl_s is not None:
            lines += f"X-KV-TTL: {found.ttl_s:.3f}\r\n"
        if hdrs.IF_MATCH in headers:
            strong, _ = parse_etags("If-Match", headers.getall(hdrs.IF_MATCH))
            if strong != ("*",) and found.etag not in strong:
                raise PreconditionFailed("If-Match: none of these is the current version")
        if hdrs.IF_NONE_MATCH in headers:
            strong, weak = parse_etags("If-None-Match", headers.getall(hdrs.IF_NONE_MATCH))
            if strong == ("*",) or found.etag in strong or found.etag in weak:
                return Answer(304, lines, outcome="not_modified")
        return Answer(200, f"Content-Type: {found.content_type}\r\n{lines}", found.value)

    async def _put(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        headers = request.headers
        ttl_ms = None
        if query:
            parameters = parse_query(query, PUT_PARAMETERS)
            ttl_ms = parse_ttl_ms(parameters["ttl"]) if "ttl" in parameters else None
        content_type = check_content_type(headers.get(hdrs.CONTENT_TYPE, ""))
        if_match, if_none_match = _conditions(request)
        if hdrs.CONTENT_RANGE in headers:
            raise BadRequest("Content-Range: a value is put as a whole")
        check_framing(request)
        value = await request.read_body(self._max_value_bytes, ValueTooLarge)
        change = Change(keyspace, key, value, content_type, ttl_ms, if_match, if_none_match)
        stored = await self._service.put(change)
        lines = f'ETag: "{stored.etag}"\r\nX-KV-Copies: {stored.copies}\r\n'
        return Answer(201 if stored.created else 204, lines)

    async def _delete(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        parse_query(query, ())
        if request.has_body:
            raise BadBody("DELETE takes no body")
        if_match, if_none_match = _conditions(request)
        await self._service.delete(Change(keyspace, key, None, "", None, if_match, if_none_match))
        return Answer(204)


def check_framing(request: Request) -> None:
    """Refuse a way of sending the body that is not there; raises NotBuiltYet and BadRequest."""
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is not None and request.is_http10:
        raise BadRequest("HTTP/1.0 has no transfer codings")
    if coding is not None and coding.strip().lower() != "chunked":
        raise NotBuiltYet("of the transfer codings, only chunked is there")
    expected = request.headers.get(hdrs.EXPECT)
    if expected is not None and expected.strip().lower() != "100-continue":
        raise BadRequest("Expect: only 100-continue can be met")


def _check_consistency(parameters: dict[str, str]) -> None:
    consistency = parameters.get("consistency", "strong")
    if consistency not in ("strong", "quorum", "stale"):
        raise BadParameter("consistency is strong, quorum or stale")
    if consistency != "strong":
        raise NotBuiltYet(f"reads with consistency={consistency} are not built yet")
    if "max_stale" in parameters:
        raise NotBuiltYet("reads with max_stale are not built yet")


def _refuse_idempotency(request: Request) -> None:
    if IDEMPOTENCY_KEY in request.headers:
        raise NotBuiltYet("Idempotency-Key is not built yet; without it a retry may apply a write twice")


def _conditions(request: Request) -> tuple[str | None, str | None]:
    """The conditions of a write, as `Change` takes them: the etags of `If-Match`, and the `*` of `If-None-Match`."""
    headers = request.headers
    _refuse_idempotency(request)
    if_match: str | None = None
    if hdrs.IF_MATCH in headers:
        strong, weak = parse_etags("If-Match", headers.getall(hdrs.IF_MATCH))
        if_match = '"'.join(strong)
        if not strong:
            raise PreconditionFailed(f"If-Match compares strongly: {len(weak)} weak etags match nothing")
    if hdrs.IF_NONE_MATCH not in headers:
        return if_match, None
    if parse_etags("If-None-Match", headers.getall(hdrs.IF_NONE_MATCH)) != (("*",), ()):
        raise BadRequest("If-None-Match on a write takes only *")
    return if_match, "*"
