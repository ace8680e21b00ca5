"""Routes: from a request's method and path to the operation it asks for, and back to an answer.

Guarantees: takes keys from the raw path, decoded once; every header and parameter that it does not act on and that
would change the meaning of a request is refused with an error that names it; parts of the contract that this version
does not have answer 501. Leaves to others: doing it (`service`, control), bytes on the connection (`http_protocol`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol, overload

import msgspec
from aiohttp import hdrs

from cluster.control.messages import AdmitNode, Admitted, ClusterStatus, ClusterView, Readiness, Ready
from cluster.gateway.answer import Answer
from cluster.gateway.bodies import Format, decode_batch, encode_results
from cluster.gateway.conditions import check_content_type, parse_etags, parse_query, parse_ttl_ms
from cluster.gateway.http_request import Request
from cluster.gateway.metrics import CONTENT_TYPE as METRICS_TYPE
from cluster.gateway.metrics import Metrics
from cluster.gateway.operations import Change
from cluster.gateway.service import KvService
from kvstore.errors import (
    BadBody,
    BadParameter,
    BadRequest,
    BodyTooLarge,
    MethodNotAllowed,
    NoLeader,
    NotBuiltYet,
    NotFound,
    PreconditionFailed,
    UnsupportedEncoding,
    UnsupportedMediaType,
    ValueTooLarge,
)
from kvstore.keys import decode_key

NODE_BODY_BYTES_MAX = 64 * 1024
DEFAULT_KEYSPACE = "default"
KEY_METHODS = ("GET", "HEAD", "PUT", "DELETE")
READ_PARAMETERS = frozenset(("consistency", "max_stale"))
PUT_PARAMETERS = frozenset(("ttl",))
BATCH_PARAMETERS = frozenset(("consistent",))

IDEMPOTENCY_KEY = "Idempotency-Key"
FORM_TYPES = frozenset(("", "application/x-www-form-urlencoded"))
NOT_BUILT: dict[str, dict[str, str]] = {
    "kv": {"GET": "scans", "HEAD": "scans"},
    "txn": {"POST": "transactions"},
    "import": {"POST": "import"},
    "ids": {"POST": "ids"},
    "keyspaces": {"GET": "the administration of keyspaces"},
    "cluster/plan": {"POST": "plan"},
    "cluster/rebalance": {"GET": "rebalance", "PUT": "rebalance"},
    "cluster/rebalance/pause": {"POST": "rebalance"},
    "cluster/rebalance/resume": {"POST": "rebalance"},
    "cluster/verify": {"POST": "verify"},
}
WELCOME = (
    b"kvstore: a sharded, replicated key-value store.\n\n"
    b"  curl -X PUT --data-binary hello http://HOST/v1/kv/greeting\n"
    b"  curl http://HOST/v1/kv/greeting\n\n"
    b"/openapi.yaml describes every request, /v1/cluster the cluster, /metrics what this gateway counts.\n"
)


class Control(Protocol):
    """What the routes ask of control; a refusal is raised as `KvError`."""

    @overload
    async def ask(self, request: AdmitNode) -> Admitted: ...
    @overload
    async def ask(self, request: ClusterStatus) -> ClusterView: ...
    @overload
    async def ask(self, request: Readiness) -> Ready: ...


class _NodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    address: str
    zone: str = "default"
    weight: float = 1.0


_NODE = msgspec.json.Decoder(_NodeBody)
_JSON = msgspec.json.Encoder()

FixedHandler = Callable[[Request], Awaitable[Answer]]


class Routes:
    """The handler of all requests.

    Args:
        max_value_bytes: the largest body of a PUT.
        batch_bytes_max: the largest body of a batch.
        openapi: the text served at `/openapi.yaml`.
    """

    def __init__(
        self,
        service: KvService,
        control: Control,
        metrics: Metrics,
        *,
        max_value_bytes: int,
        batch_bytes_max: int,
        openapi: bytes,
    ) -> None:
        self._service = service
        self._control = control
        self.metrics = metrics
        self._max_value_bytes = max_value_bytes
        self._batch_bytes_max = batch_bytes_max
        self._openapi = openapi
        self._fixed: dict[str, tuple[str, FixedHandler]] = {
            "/": ("GET", self._welcome),
            "/healthz": ("GET", self._healthz),
            "/readyz": ("GET", self._readyz),
            "/metrics": ("GET", self._show_metrics),
            "/openapi.yaml": ("GET", self._show_openapi),
            "/v1/cluster": ("GET", self._cluster),
            "/v1/cluster/nodes": ("POST", self._admit),
        }

    async def handle(self, request: Request) -> Answer:
        """Answer one request; refusals are raised as `KvError`."""
        headers = request.headers
        if hdrs.CONTENT_ENCODING in headers:
            raise UnsupportedEncoding("send the body as it is, without Content-Encoding")
        target = request.target
        if target.startswith("/v1/kv/"):
            raw_key, mark, query = target[7:].partition("?")
            return await self._one_key(request, DEFAULT_KEYSPACE, raw_key, query if mark else "")
        _check_framing(request)
        path, _, query = _origin_form(target).partition("?")
        fixed = self._fixed.get(path)
        if fixed is not None:
            method, handler = fixed
            if request.method != method and (request.method, method) != ("HEAD", "GET"):
                raise MethodNotAllowed((method, "HEAD") if method == "GET" else (method,))
            if method == "GET" and request.has_body:
                raise BadBody(f"{request.method} takes no body")
            parse_query(query, ())
            return await handler(request)
        if not path.startswith("/v1/"):
            raise NotFound(f"there is nothing at {path[:200]!r}")
        return await self._keyspaced(request, path[4:], query)

    # ---- keys -------------------------------------------------------------------------------------------------------

    async def _keyspaced(self, request: Request, path: str, query: str) -> Answer:
        """Requests below `/v1/` that may also stand below `/v1/keyspaces/NAME/`."""
        keyspace = DEFAULT_KEYSPACE
        if path.startswith("keyspaces/"):
            name, slash, rest = path[10:].partition("/")
            if not slash:
                _not_built(request, "the administration of keyspaces", ("GET", "PUT", "DELETE"))
            keyspace, path = decode_key(name).decode("utf-8", "backslashreplace"), rest
        part, slash, rest = path.partition("/")
        if part == "kv" and slash:
            return await self._one_key(request, keyspace, rest, query)
        if part == "locate" and slash:
            return self._locate(request, keyspace, rest, query)
        if path == "batch":
            return await self._batch(request, keyspace, query)
        if path in NOT_BUILT:
            _not_built(request, *_part_of(NOT_BUILT[path], request.method))
        if part == "txn" and rest:
            _not_built(request, "transactions", ("GET",))
        if path.startswith("cluster/nodes/"):
            _not_built(request, "the removal of nodes", ("DELETE",))
        raise NotFound(f"there is nothing at {request.target[:200]!r}")

    async def _one_key(self, request: Request, keyspace: str, raw_key: str, query: str) -> Answer:
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
        _check_framing(request)
        value = await request.read_body(self._max_value_bytes, ValueTooLarge)
        single = if_match[0] if len(if_match) == 1 else None
        change = Change(keyspace, key, value, content_type, ttl_ms, single, if_none_match)
        stored = await self._service.put(change, if_match if len(if_match) > 1 else ())
        lines = f'ETag: "{stored.etag}"\r\nX-KV-Copies: {stored.copies}\r\n'
        return Answer(201 if stored.created else 204, lines)

    async def _delete(self, request: Request, keyspace: str, key: bytes, query: str) -> Answer:
        parse_query(query, ())
        if request.has_body:
            raise BadBody("DELETE takes no body")
        if_match, if_none_match = _conditions(request)
        single = if_match[0] if len(if_match) == 1 else None
        change = Change(keyspace, key, None, "", None, single, if_none_match)
        await self._service.delete(change, if_match if len(if_match) > 1 else ())
        return Answer(204)

    def _locate(self, request: Request, keyspace: str, raw_key: str, query: str) -> Answer:
        request.operation = "locate"
        _allow(request, "GET", "HEAD")
        parse_query(query, ())
        return _json(200, _JSON.encode(self._service.locate(keyspace, decode_key(raw_key))))

    async def _batch(self, request: Request, keyspace: str, query: str) -> Answer:
        request.operation = "batch"
        _allow(request, "POST")
        parameters = parse_query(query, BATCH_PARAMETERS)
        if parameters.get("consistent", "false") != "false":
            if parameters["consistent"] == "true":
                raise NotBuiltYet("batches that read one snapshot (consistent=true) are not built yet")
            raise BadParameter("consistent is true or false")
        _refuse_idempotency(request)
        form = _form_of(request.headers.get(hdrs.CONTENT_TYPE, ""))
        answer_form = _accepted(request.headers.get(hdrs.ACCEPT, ""), form)
        operations = decode_batch(await request.read_body(self._batch_bytes_max, BodyTooLarge), form, keyspace)
        results = await self._service.batch(operations)
        return Answer(200, f"Content-Type: {answer_form.value}\r\n", encode_results(results, answer_form))

    # ---- cluster ----------------------------------------------------------------------------------------------------

    async def _cluster(self, request: Request) -> Answer:
        request.operation = "cluster"
        return _json(200, _JSON.encode(await self._control.ask(ClusterStatus())))

    async def _admit(self, request: Request) -> Answer:
        request.operation = "admit"
        if _form_of(request.headers.get(hdrs.CONTENT_TYPE, "")) is not Format.JSON:
            raise UnsupportedMediaType("a node is described in JSON")
        body = await request.read_body(NODE_BODY_BYTES_MAX, BodyTooLarge)
        try:
            node = _NODE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadBody(str(error)) from error
        admitted = await self._control.ask(AdmitNode(node.id, node.address, node.zone, node.weight))
        return _json(201 if admitted.created else 200, _JSON.encode({"id": node.id}))

    async def _readyz(self, request: Request) -> Answer:
        request.operation = "health"
        ready = await self._control.ask(Readiness())
        if not ready.ready:
            raise NoLeader(ready.reason)
        return _text("ready\n")

    # ---- fixed texts ------------------------------------------------------------------------------------------------

    async def _healthz(self, request: Request) -> Answer:
        request.operation = "health"
        return _text("ok\n")

    async def _welcome(self, _request: Request) -> Answer:
        return Answer(200, "Content-Type: text/plain; charset=utf-8\r\n", WELCOME)

    async def _show_metrics(self, request: Request) -> Answer:
        request.operation = "metrics"
        return Answer(200, f"Content-Type: {METRICS_TYPE}\r\n", self.metrics.render())

    async def _show_openapi(self, _request: Request) -> Answer:
        return Answer(200, "Content-Type: application/yaml\r\n", self._openapi)


def _text(text: str) -> Answer:
    return Answer(200, "Content-Type: text/plain; charset=utf-8\r\n", text.encode())


def _json(status: int, body: bytes) -> Answer:
    return Answer(status, "Content-Type: application/json\r\nCache-Control: no-store\r\n", body)


def _origin_form(target: str) -> str:
    """The path and query of a target in absolute form (RFC 9112, section 3.2.2), or the target itself."""
    scheme, mark, rest = target.partition("://")
    if not mark or "/" in scheme:
        return target
    _, slash, path = rest.partition("/")
    return slash + path or "/"


def _check_framing(request: Request) -> None:
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
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


def _conditions(request: Request) -> tuple[tuple[str, ...], str | None]:
    """The etags of `If-Match` (empty where there is none) and the `*` of `If-None-Match`, for a write."""
    headers = request.headers
    _refuse_idempotency(request)
    if_match: tuple[str, ...] = ()
    if hdrs.IF_MATCH in headers:
        if_match, weak = parse_etags("If-Match", headers.getall(hdrs.IF_MATCH))
        if not if_match:
            raise PreconditionFailed(f"If-Match compares strongly: {len(weak)} weak etags match nothing")
    if hdrs.IF_NONE_MATCH not in headers:
        return if_match, None
    if parse_etags("If-None-Match", headers.getall(hdrs.IF_NONE_MATCH)) != (("*",), ()):
        raise BadRequest("If-None-Match on a write takes only *")
    return if_match, "*"


def _media_type(field: str) -> str:
    return field.partition(";")[0].strip().lower()


def _form_of(content_type: str) -> Format:
    media_type = _media_type(content_type)
    if media_type in FORM_TYPES:
        return Format.JSON
    for form in Format:
        if media_type == form.value:
            return form
    raise UnsupportedMediaType(f"a batch is {' or '.join(form.value for form in Format)}")


def _accepted(accept: str, default: Format) -> Format:
    """The first form that `Accept` names; `default` where it names none."""
    for part in accept.split(","):
        for form in Format:
            if _media_type(part) == form.value:
                return form
    return default


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowed(methods)
    if request.method != "POST" and request.has_body:
        raise BadBody(f"{request.method} takes no body")


def _part_of(parts: dict[str, str], method: str) -> tuple[str, tuple[str, ...]]:
    return parts.get(method, ""), tuple(parts)


def _not_built(request: Request, part: str, methods: tuple[str, ...]) -> NoReturn:
    if request.method not in methods:
        raise MethodNotAllowed(methods)
    raise NotBuiltYet(f"{part}: not built yet")
