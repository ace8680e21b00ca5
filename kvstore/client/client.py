"""The asynchronous client: one method a request of the contract, on one pool of connections.

Guarantees: every call ends within its deadline in an answer or in one error of `kvstore.errors`; every write but an
import carries a token of its own, so it is sent again until its outcome is known and is applied once; where it stays
unknown the call ends in `OutcomeUnknown`. aiohttp on its own sends PUT and DELETE a second time when a kept connection
turns out to be dead; that is switched off here, so that it is known which attempt may have been carried out.
Leaves to others: bytes of requests and answers (`urls`, `ops`, `answers`), when to retry (`attempts`).
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import secrets
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from kvstore.client import answers
from kvstore.client.answers import Consistency, Outcome, Readiness, Unreachable, Value, Written
from kvstore.client.attempts import RESERVE, TOKEN_S_MAX, pause_before_retry, retry_after_s, told
from kvstore.client.ops import Op, encode_batch, writes
from kvstore.client.urls import base_url, encode_key, key_bytes
from kvstore.errors import KeyNotFound, KvError, OutcomeUnknown

DEFAULT_GATEWAY = "http://127.0.0.1:8000"
CONNECT_TIMEOUT_S = 3.0
PIECE_BYTES_MAX = 256 * 1024
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
IMPORT_ANSWER_S = 60.0
IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    body: bytes | AsyncIterable[bytes] | None = None
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

    async def get(
        self, key: str | bytes, *, consistency: Consistency = "strong", max_stale_s: float | None = None
    ) -> Value:
        """Read one key.

        Args:
            consistency: `strong` is linearizable; `quorum` too, whatever the nodes' clocks do; `stale` may be answered
                by a follower, and tells in `lag_ms` how far behind it may be.
            max_stale_s: of a stale read, how many seconds it may be behind.

        Raises:
            KeyNotFound: there is no such key; of a stale read, `lag_ms` tells as of when.
            KvError: any other refusal.
        """
        query = "" if consistency == "strong" else f"?consistency={consistency}"
        if max_stale_s is not None:
            query += f"{'&' if query else '?'}max_stale={max_stale_s:.6f}"
        answer = await self._send(_Request("GET", _key_path(key) + query))
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

    async def import_(self, pieces: AsyncIterable[bytes], *, packed: bool = False) -> int:
        """Store a stream of items: JSON objects, one a line, or with `packed` maps of MessagePack.

        The stream is read only as fast as its items are stored, and may take any time; `timeout_s` is not for it. It is
        sent once: after a failure, send what comes from `line` on.

        Args:
            pieces: the bytes of the stream, cut anywhere.

        Returns:
            How many items were stored.

        Raises:
            BadBody: a line is no item. As with every error that the gateway tells, `numbers["line"]` is the first line
                that is not known to be in, and `numbers["imported"]` counts the items before it, which are in.
            OutcomeUnknown: the item on `line` may be in, or without that number any of them.
            KvError: any other refusal; items after `line` may be in.
        """
        headers = {"Content-Type": MSGPACK if packed else NDJSON}
        request = _Request("POST", "/v1/import", pieces, headers, is_write=True)
        answer = await self._attempt(
            request, aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT_S, sock_read=IMPORT_ANSWER_S)
        )
        if answer.status != 200:
            raise answers.refusal(answer.status, answer.body, is_write=True)
        return answers.imported_of(answer.body)

    async def locate(self, key: str | bytes) -> dict[str, Any]:
        """Where a key lives and why: `partition`, `leader`, `followers`, `hash`, `why`."""
        return await self._document(_Request("GET", "/v1/locate/" + encode_key(key_bytes(key))))

    async def status(self) -> dict[str, Any]:
        """The state of the cluster, as `GET /v1/cluster` gives it."""
        return await self._document(_Request("GET", "/v1/cluster"))

    async def operate(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A request on members and moves, below `/v1/cluster/`, as the contract describes it.

        Raises:
            OutcomeUnknown: it may have been done: see `status`.
            KvError: any other refusal; nothing was done.
        """
        headers = None if document is None else {"Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        request = _Request(method, f"/v1/cluster/{path}", body, headers, is_write=method != "GET")
        return await self._document(request)

    async def force_promote(
        self, *, partition: int | None = None, all_of: str = "", confirmed_stopped: Sequence[str]
    ) -> dict[str, Any]:
        """Let a copy lead that was not in sync, because all that were are dead; acknowledged writes may be lost.

        Args:
            partition: the partition, or
            all_of: every one whose last in-sync copy was on this node.
            confirmed_stopped: the nodes of the in-sync copies, of which you know that they do not run.

        Returns:
            `promoted` and `refused`, partition by partition.

        Raises:
            Conflict: nothing may be promoted.
            OutcomeUnknown: it may have been done: see `status`.
            KvError: any other refusal; nothing was done.
        """
        asked: dict[str, Any] = {"confirmed_stopped": list(confirmed_stopped)}
        asked |= {"partition": partition} if partition is not None else {}
        asked |= {"all_of": all_of} if all_of else {}
        headers = {"Content-Type": "application/json"}
        body = json.dumps(asked).encode()
        return await self._document(_Request("POST", "/v1/cluster/force-promote", body, headers, is_write=True))

    async def verify(self) -> dict[str, Any]:
        """Compare the copies of every partition, as `POST /v1/cluster/verify` does: `ok`, `partitions`, `differences`.

        It takes as long as reading all data slowly does; `timeout_s` is for all of it.
        """
        return await self._document(_Request("POST", "/v1/cluster/verify", None))

    async def ready(self) -> Readiness:
        """Ask once whether every partition has a reachable leader; raises Unreachable where no gateway answers."""
        answer = await self._attempt(_Request("GET", "/readyz"), _within(self._timeout_s))
        return answers.readiness_of(answer.status, answer.body)

    async def _document(self, request: _Request) -> dict[str, Any]:
        path, body = request.path, (await self._send(request)).body
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
        token_end_s = loop.time() + TOKEN_S_MAX
        reserve_s = RESERVE * min(self._timeout_s, TOKEN_S_MAX)
        if request.is_write:
            headers = {**(request.headers or {}), IDEMPOTENCY_KEY: secrets.token_hex(16)}
            request = replace(request, headers=headers)
        unknown: KvError | None = None
        attempt = 0
        while True:
            attempt += 1
            asked_s = 0.0
            try:
                answer = await self._attempt(request, _within(deadline - loop.time()))
                if answer.status < 300:
                    return answer
                asked_s = retry_after_s(answer.headers.get("Retry-After"))
                failure = answers.refusal(answer.status, answer.body, is_write=request.is_write)
                if isinstance(failure, KeyNotFound):
                    failure.lag_ms = answers.lag_ms_of(answer.headers)
            except KvError as error:
                failure = error
            if not failure.definite:
                unknown = failure
                deadline = min(deadline, token_end_s)
            left_s, jitter = deadline - reserve_s - loop.time(), random.random()
            pause_s = pause_before_retry(failure, attempt, asked_s, left_s, jitter, has_token=request.is_write)
            if pause_s is None:
                raise told(failure, unknown)
            await asyncio.sleep(pause_s)

    async def _attempt(self, request: _Request, timeout: aiohttp.ClientTimeout) -> _Answer:
        if self._session is None:
            raise RuntimeError("the client is not open; use it as `async with Client(...)`")
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


def _within(left_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=max(left_s, 0.001), connect=CONNECT_TIMEOUT_S)


def _payload(body: bytes | AsyncIterable[bytes] | None) -> bytes | io.BytesIO | AsyncIterable[bytes] | None:
    # aiohttp writes a stream in pieces, and bytes in one piece, which it warns of when they are many.
    return io.BytesIO(body) if isinstance(body, bytes) and len(body) > PIECE_BYTES_MAX else body


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
