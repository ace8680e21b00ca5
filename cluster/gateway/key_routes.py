"""Requests on keys: one key, a batch of them, and where a key lives.

Guarantees: every header and parameter that it does not act on and that would change the meaning of a request is
refused with an error that names it; a body is read only when everything before it is in order. Leaves to others: which
request it is (`routes`), doing it (`service`), bodies of batches (`bodies`).
"""

from __future__ import annotations

from enum import Enum

import msgspec
from aiohttp import hdrs

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.bodies import decode_batch, encode_results
from cluster.gateway.body_forms import accepted_form, form_of
from cluster.gateway.conditions import (
    IDEMPOTENCY_KEY,
    check_content_type,
    parse_etags,
    parse_max_stale_ms,
    parse_query,
    parse_token,
    parse_ttl_ms,
)
from cluster.gateway.http_request import Request
from cluster.gateway.key_answers import NOT_CACHED, deleted_answer, found_answer, found_lines, stored_answer
from cluster.gateway.operations import Change
from cluster.gateway.service import KvService
from cluster.gateway.tokens import with_token, with_tokens
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

_JSON = msgspec.json.Encoder()


class Consistency(Enum):
    """What a reader asks of the answer, by its word in the contract."""

    STRONG = "strong"
    QUORUM = "quorum"
    STALE = "stale"


STRONG, QUORUM, STALE = Consistency
_CONSISTENCIES = {one.value: one for one in Consistency}


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

    async def locate(self, request: Request, keyspace: str, raw_key: str, query: str) -> Answer:
        """Where a key lives, and why."""
        request.operation = "locate"
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(("GET", "HEAD"))
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        parse_query(query, ())
        return json_answer(200, _JSON.encode(await self._service.locate(keyspace, decode_key(raw_key))))

    async def batch(self, request: Request, keyspace: str, query: str) -> Answer:
        """Independent operations on many keys."""
        request.operation = "batch"
        if request.method != "POST":
            raise MethodNotAllowed(("POST",))
        consistent = parse_query(query, BATCH_PARAMETERS).get("consistent", "false")
        if consistent not in ("true", "false"):
            raise BadParameter("consistent is true or false")
        is_consistent = consistent == "true"
        token = token_of(request)
        form = form_of(request.headers.get(hdrs.CONTENT_TYPE, ""))
        answer_form = accepted_form(request.headers.get(hdrs.ACCEPT, ""), form)
        body = await request.read_body(self._batch_bytes_max, BodyTooLarge)
        operations = decode_batch(body, form, keyspace, gets_only=is_consistent)
        if token:
            operations = with_tokens(operations, token)
        results = await (self._service.snapshot if is_consistent else self._service.batch)(operations)
        has_failures = any(isinstance(result, KvError) and result.status >= 500 for result in results)
        outcome = "partial" if has_failures else "ok"
        return Answer(200, f"Content-Type: {answer_form.value}\r\n", encode_results(results, answer_form), outcome)

    async def _get(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        headers = request.headers
        consistency, max_stale_ms = _consistency(parse_query(query, READ_PARAMETERS)) if query else (STRONG, None)
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        more = NOT_CACHED
        if consistency is STRONG:
            found = await self._service.get(keyspace, key)
        elif consistency is QUORUM:
            request.operation = "get_quorum"
            found = await self._service.get_quorum(keyspace, key)
        else:
            request.operation = "get_stale"
            found, lag_ms = await self._service.get_stale(keyspace, key, max_stale_ms)
            more = f"X-KV-Lag-Ms: {lag_ms}\r\n{_cache_control(lag_ms, max_stale_ms)}"
        lines = found_lines(found, more)
        if hdrs.IF_MATCH in headers:
            strong, _ = parse_etags("If-Match", headers.getall(hdrs.IF_MATCH))
            if strong != ("*",) and found.etag not in strong:
                raise PreconditionFailed("If-Match: none of these is the current version")
        if hdrs.IF_NONE_MATCH in headers:
            strong, weak = parse_etags("If-None-Match", headers.getall(hdrs.IF_NONE_MATCH))
            if strong == ("*",) or found.etag in strong or found.etag in weak:
                return Answer(304, lines, outcome="not_modified")
        return found_answer(found, lines)

    async def _put(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        headers = request.headers
        ttl_ms = None
        if query:
            parameters = parse_query(query, PUT_PARAMETERS)
            ttl_ms = parse_ttl_ms(parameters["ttl"]) if "ttl" in parameters else None
        content_type = check_content_type(headers.get(hdrs.CONTENT_TYPE, ""))
        token = token_of(request)
        if_match, if_none_match = _conditions(request)
        if hdrs.CONTENT_RANGE in headers:
            raise BadRequest("Content-Range: a value is put as a whole")
        check_framing(request)
        value = await request.read_body(self._max_value_bytes, ValueTooLarge)
        change = Change(keyspace, key, value, content_type, ttl_ms, if_match, if_none_match)
        stored = await self._service.put(with_token(change, token) if token else change)
        return stored_answer(stored)

    async def _delete(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        parse_query(query, ())
        if request.has_body:
            raise BadBody("DELETE takes no body")
        token = token_of(request)
        if_match, if_none_match = _conditions(request)
        change = Change(keyspace, key, None, "", None, if_match, if_none_match)
        await self._service.delete(with_token(change, token) if token else change)
        return deleted_answer()


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


def _consistency(parameters: dict[str, str]) -> tuple[Consistency, int | None]:
    """How a read is asked for, and how far behind a stale one may be; raises BadParameter."""
    text = parameters.get("consistency", STRONG.value)
    if text not in _CONSISTENCIES:
        raise BadParameter("consistency is strong, quorum or stale")
    consistency = _CONSISTENCIES[text]
    if "max_stale" not in parameters:
        return consistency, None
    if consistency is not STALE:
        raise BadParameter("max_stale is for reads with consistency=stale")
    return consistency, parse_max_stale_ms(parameters["max_stale"])


def _cache_control(lag_ms: int, max_stale_ms: int | None) -> str:
    """A cache may keep only what is asked for as stale, for as long as it stays within what was asked for."""
    left_s = 0 if max_stale_ms is None else (max_stale_ms - lag_ms) // 1000
    return f"Cache-Control: private, max-age={left_s}\r\n" if left_s > 0 else NOT_CACHED


def token_of(request: Request) -> str:
    """The request's idempotency token, empty for none."""
    headers = request.headers
    return parse_token(headers.getall(IDEMPOTENCY_KEY)) if IDEMPOTENCY_KEY in headers else ""


def _conditions(request: Request) -> tuple[str | None, str | None]:
    """The conditions of a write, as `Change` takes them: the etags of `If-Match`, and the `*` of `If-None-Match`."""
    headers = request.headers
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
