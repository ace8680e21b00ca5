"""The asynchronous client: one method a request of the contract, on one pool of connections.

Guarantees: every call ends within its deadline in an answer or in one error of `kvstore.errors`; a write is sent at
most once after anything of it may have arrived, so an attempt whose outcome is unknown ends in `OutcomeUnknown`; only
refusals that promise that nothing was applied are tried again. aiohttp on its own sends PUT and DELETE a second time
when a kept connection turns out to be dead; that is switched off here, for the first one may have been carried out.
Leaves to others: bytes of requests and answers (`urls`, `ops`, `answers`), when to retry (`attempts`).
"""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from kvstore.client import answers
from kvstore.client.answers import Outcome, Readiness, Unreachable, Value, Written
from kvstore.client.attempts import pause_before_retry, retry_after_s
from kvstore.client.ops import Op, encode_batch, writes
from kvstore.client.urls import base_url, encode_key, key_bytes
from kvstore.errors import KvError, OutcomeUnknown

DEFAULT_GATEWAY = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_S = 3.0
PIECE_BYTES_MAX = 256 * 1024
MSGPACK = "application/msgpack"


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] | None = None
    is_write: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class _ConnectionLost(aiohttp.ClientError):
    """The connection ended after the request began to leave."""


@dataclass(slots=True)
class _Sending:
    """How far one attempt came: without a connection, no byte of it can have left."""

    has_connection: bool = False


async def _note_connection(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
    context.trace_request_ctx.has_connection = True


def _tracing() -> aiohttp.TraceConfig:
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(_note_connection)
    tracing.on_connection_reuseconn.append(_note_connection)
    return tracing


async def _never_resend(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost(str(error)) from error


class Client:
    """Talks to one gateway. Use it as `async with Client(...) as client`, within one event loop.

    Args:
        gateway: its address, `http://HOST:PORT`.
        timeout_s: the deadline of each call, retries included, in seconds.
        connections_max: how many connections are open at a time; further calls wait for one.

    Raises:
        ValueError: `gateway` is no such address.
    """

    def __init__(self, gateway: str = DEFAULT_GATEWAY, *, timeout_s: float = 10.0, connections_max: int = 64) -> None:
        self.gateway = base_url(gateway)
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            middlewares=(_never_resend,),
            trace_configs=[_tracing()],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, key: str | bytes) -> Value:
        """Read one key, linearizably.

        Raises:
            KeyNotFound: there is no such key.
            KvError: any other refusal.
        """
        answer = await self._send(_Request("GET", _key_path(key)))
        return answers.value_of(answer.headers, answer.body)

    async def put(
        self,
        key: str | bytes,
        value: bytes,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Written:
        """Write one key; at the return it is on disk on all in-sync copies.

        Args:
            ttl_s: the key is gone after that many seconds.
            if_match: an etag without quotes, or `*`: only when the key has that version (any version).
            if_none_match: `*`: only when there is no such key.

        Raises:
            PreconditionFailed: the condition does not hold; nothing was written.
            OutcomeUnknown: it may or may not have been written.
            KvError: any other refusal; nothing was written.
        """
        headers = _conditions(if_match, if_none_match)
        if content_type is not None:
            headers["Content-Type"] = content_type
        query = f"?ttl={ttl_s:.6f}" if ttl_s is not None else ""
        answer = await self._send(_Request("PUT", _key_path(key) + query, value, headers, is_write=True))
        return answers.written_of(answer.status, answer.headers)

    async def delete(self, key: str | bytes, *, if_match: str | None = None) -> None:
        """Delete one key, whether or not it is there; `if_match` and errors as for `put`."""
        await self._send(_Request("DELETE", _key_path(key), None, _conditions(if_match, None), is_write=True))

    async def batch(self, ops: Sequence[Op]) -> list[Outcome]:
        """Carry out independent operations, in order where keys are equal.

        Returns:
            For each operation what it came to: one that failed has its error in the list, and is not tried again,
            since a later operation of the same key may have been carried out.

        Raises:
            OutcomeUnknown: the batch as a whole got no answer, and it writes.
            KvError: the batch as a whole was refused; nothing was applied.
        """
        headers = {"Content-Type": MSGPACK, "Accept": MSGPACK}
        request = _Request("POST", "/v1/batch", encode_batch(ops), headers, is_write=writes(ops))
        return answers.outcomes_of(ops, (await self._send(request)).body)

    async def batch_document(self, document: bytes) -> bytes:
        """Send a batch that is already a JSON document, and return the JSON answer as it came; errors as `batch`."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        return (await self._send(_Request("POST", "/v1/batch", document, headers, is_write=True))).body

    async def locate(self, key: str | bytes) -> dict[str, Any]:
        """Where a key lives and why: `partition`, `leader`, `followers`, `hash`, `why`."""
        return await self._document("/v1/locate/" + encode_key(key_bytes(key)))

    async def status(self) -> dict[str, Any]:
        """The state of the cluster, as `GET /v1/cluster` gives it."""
        return await self._document("/v1/cluster")

    async def ready(self) -> Readiness:
        """Ask once whether every partition has a reachable leader; raises Unreachable where no gateway answers."""
        answer = await self._attempt(_Request("GET", "/readyz"), self._timeout_s)
        return answers.readiness_of(answer.status, answer.body)

    async def _document(self, path: str) -> dict[str, Any]:
        body = (await self._send(_Request("GET", path))).body
        try:
            document = json.loads(body)
        except ValueError as error:
            raise Unreachable(f"{self.gateway}{path} did not answer with JSON") from error
        if not isinstance(document, dict):
            raise Unreachable(f"{self.gateway}{path} did not answer with a JSON object")
        return document

    async def _send(self, request: _Request) -> _Answer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_s
        attempt = 0
        while True:
            attempt += 1
            asked_s = 0.0
            try:
                answer = await self._attempt(request, deadline - loop.time())
                if answer.status < 300:
                    return answer
                asked_s = retry_after_s(answer.headers.get("Retry-After"))
                failure = answers.refusal(answer.status, answer.body, is_write=request.is_write)
            except KvError as error:
                failure = error
            pause_s = pause_before_retry(failure, attempt, asked_s, deadline - loop.time(), random.random())
            if pause_s is None:
                raise failure
            await asyncio.sleep(pause_s)

    async def _attempt(self, request: _Request, left_s: float) -> _Answer:
        if self._session is None:
            raise RuntimeError("the client is not open; use it as `async with Client(...)`")
        timeout = aiohttp.ClientTimeout(total=max(left_s, 0.001), connect=CONNECT_TIMEOUT_S)
        sending = _Sending()
        url = URL(self.gateway + request.path, encoded=True)
        try:
            async with self._session.request(
                request.method,
                url,
                data=_payload(request.body),
                headers=request.headers,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=sending,
            ) as answer:
                return _Answer(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if not sending.has_connection:
                raise Unreachable(f"cannot connect to {self.gateway}: {_reason(error)}") from error
            detail = f"no answer from {self.gateway}: {_reason(error)}"
            raise (OutcomeUnknown(detail) if request.is_write else Unreachable(detail)) from error


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    # aiohttp writes a stream in pieces, and bytes in one piece, which it warns of when they are many.
    return io.BytesIO(body) if body is not None and len(body) > PIECE_BYTES_MAX else body


def _key_path(key: str | bytes) -> str:
    return "/v1/kv/" + encode_key(key_bytes(key))


def _conditions(if_match: str | None, if_none_match: str | None) -> dict[str, str]:
    headers = {}
    if if_match is not None:
        headers["If-Match"] = answers.quoted_etag(if_match)
    if if_none_match is not None:
        headers["If-None-Match"] = answers.quoted_etag(if_none_match)
    return headers


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__
