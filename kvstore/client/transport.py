"""Requests on one pool of connections: attempts, deadlines, retries.

Guarantees: every call ends within its deadline in an answer or in one error of `kvstore.errors`; a write is sent again
under one token until its outcome is known, one that the gateway does not know again by a token only if it did nothing.
aiohttp on its own sends PUT and DELETE a second time when a kept connection
turns out to be dead; that is switched off here, so that it is known which attempt may have been carried out. A stream
that ends before its end is an error. Leaves to others: what requests and answers mean, when to retry (`attempts`).
"""

from __future__ import annotations

import asyncio
import io
import random
import secrets
from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp
from yarl import URL

from kvstore.client import answers
from kvstore.client.answers import StreamCut, Unreachable
from kvstore.client.attempts import RESERVE, TOKEN_S_MAX, pause_before_retry, retry_after_s, told
from kvstore.client.freshness import Reading
from kvstore.client.urls import base_url
from kvstore.errors import KeyNotFound, KvError, OutcomeUnknown

if TYPE_CHECKING:
    from kvstore.client.read_cache import ReadCache

# Until a connection is made; while others have all of them, who waits for one is not yet connecting.
CONNECT_TIMEOUT_S = 3.0
PIECE_BYTES_MAX = 256 * 1024
IDEMPOTENCY_KEY = "Idempotency-Key"
# How long a stream, or the answer to one, may be silent.
SILENCE_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    body: bytes | AsyncIterable[bytes] | None = None
    headers: Mapping[str, str] | None = None
    is_write: bool = False
    # Whether the gateway would know the write again by a token.
    has_token: bool = False
    # Of a write the paths of the keys that it changes, None where nobody knows.
    changed: tuple[str, ...] | None = None
    # What a cache may answer instead.
    reading: Reading | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Sending:
    """How far one attempt came: without a connection, no byte of it can have left. `asked_s` is how long the server
    asked to wait before the next one, in seconds."""

    has_connection: bool = False
    asked_s: float = 0.0


class _ConnectionLost(aiohttp.ClientError):
    """The connection ended after the request began to leave."""


class Retries:
    """The attempts of one call: its deadline, and what is known of the attempts so far."""

    def __init__(self, timeout_s: float, *, has_token: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._has_token = has_token
        self._reserve_s = RESERVE * min(timeout_s, TOKEN_S_MAX)
        self._token_end_s = self._loop.time() + TOKEN_S_MAX
        self._unknown: KvError | None = None
        self.begin_again()

    def begin_again(self) -> None:
        """Count attempts and time from now: what was asked for so far has come."""
        self.attempts = 0
        self._deadline = self._loop.time() + self._timeout_s

    @property
    def timeout(self) -> aiohttp.ClientTimeout:
        """Of the next attempt, which may take all that is left."""
        return within(self._deadline - self._loop.time())

    async def pause_after(self, failure: KvError, asked_s: float) -> None:
        """Wait before the next attempt; where there is none, raise what the caller is to be told."""
        self.attempts += 1
        if not failure.definite:
            self._unknown = failure
            self._deadline = min(self._deadline, self._token_end_s)
        left_s, jitter = self._deadline - self._reserve_s - self._loop.time(), random.random()
        pause_s = pause_before_retry(failure, self.attempts, asked_s, left_s, jitter, has_token=self._has_token)
        if pause_s is None:
            raise told(failure, self._unknown)
        await asyncio.sleep(pause_s)


class Transport:
    """Sends to one gateway; what is written is dropped from the cache, whatever comes of it.

    Args:
        gateway: its address, `http://HOST:PORT`.
        timeout_s: the deadline of each call, retries included, in seconds.
        connections_max: how many connections are open at a time; further calls wait for one.
        token: sent as `Authorization: Bearer` with every request.
        cache: what reads that allow it may be answered from.

    Raises:
        ValueError: `gateway` is no such address, or `token` cannot stand in a header.
    """

    def __init__(
        self, gateway: str, *, timeout_s: float, connections_max: int, token: str | None, cache: ReadCache | None
    ) -> None:
        self.gateway = base_url(gateway)
        self.timeout_s = timeout_s
        self._connections_max = connections_max
        self._cache = cache
        self._headers = {"Accept-Encoding": "identity", **_authorization(token)}
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = self._new_session(
            connector=aiohttp.TCPConnector(limit=self._connections_max),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=self._headers,
            middlewares=(_never_resend,),
            trace_configs=[_tracing()],
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _new_session(self, **options: Any) -> aiohttp.ClientSession:
        if self._cache is None:
            return aiohttp.ClientSession(**options)
        from kvstore.client.read_cache import cached_session

        return cached_session(self._cache, **options)

    def _writing(self, request: Request) -> AbstractContextManager[None]:
        return nullcontext() if self._cache is None or not request.is_write else self._cache.writing(request.changed)

    async def send(self, request: Request) -> Answer:
        """Send a request until its outcome is known or its time is over; raises KvError."""
        with self._writing(request):
            return await self._send(request)

    async def send_once(self, request: Request, timeout: aiohttp.ClientTimeout) -> Answer:
        """Send a request once, whatever is answered; raises Unreachable, or OutcomeUnknown for a write."""
        with self._writing(request):
            return await self._attempt(request, timeout)

    async def _send(self, request: Request) -> Answer:
        retries = Retries(self.timeout_s, has_token=request.has_token)
        if request.has_token:
            headers = {**(request.headers or {}), IDEMPOTENCY_KEY: secrets.token_hex(16)}
            request = replace(request, headers=headers)
        while True:
            asked_s = 0.0
            try:
                answer = await self._attempt(request, retries.timeout)
                if answer.status < 300:
                    return answer
                asked_s = retry_after_s(answer.headers.get("Retry-After"))
                failure = answers.refusal(answer.status, answer.body, is_write=request.is_write)
                if isinstance(failure, KeyNotFound):
                    failure.lag_ms = answers.lag_ms_of(answer.headers)
            except KvError as error:
                failure = error
            await retries.pause_after(failure, asked_s)

    async def _attempt(self, request: Request, timeout: aiohttp.ClientTimeout) -> Answer:
        sending = Sending()
        try:
            async with await self._ask(request, timeout, sending) as answer:
                return Answer(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._give_up(request, sending, error)

    async def stream(self, request: Request, sending: Sending) -> AsyncGenerator[bytes, None]:
        """Send a request once and give its answer piece by piece, read only as fast as the pieces are taken.

        Raises:
            StreamCut: it ended before its end.
            OutcomeUnknown: so did that of a write.
            KvError: any other refusal.
        """
        with self._writing(request):
            async with aclosing(self._stream(request, sending)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _stream(self, request: Request, sending: Sending) -> AsyncGenerator[bytes, None]:
        timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S_MAX)
        try:
            answer = await self._ask(request, timeout, sending)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._give_up(request, sending, error)
        async with answer:
            if answer.status >= 300:
                sending.asked_s = retry_after_s(answer.headers.get("Retry-After"))
                raise answers.refusal(answer.status, await self._rest(request, answer), is_write=request.is_write)
            if not {"Transfer-Encoding", "Content-Length"} & set(answer.headers):
                # Such a stream ends with its connection, so nobody could tell its end from a cut.
                detail = f"the answer of {self.gateway} does not say where it ends"
                raise OutcomeUnknown(detail) if request.is_write else StreamCut(detail)
            while piece := await self._piece(request, answer):
                yield piece

    async def _rest(self, request: Request, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._give_up(request, Sending(has_connection=True), error)

    async def _piece(self, request: Request, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await answer.content.read(PIECE_BYTES_MAX)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            detail = f"the answer of {self.gateway} was cut: {_reason(error)}"
            raise (OutcomeUnknown(detail) if request.is_write else StreamCut(detail)) from error

    async def _ask(self, request: Request, timeout: aiohttp.ClientTimeout, sending: Sending) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the client is not open; use it as `async with Client(...)`")
        with self._reading(request) as of_cache:
            return await self._session.request(
                request.method,
                URL(self.gateway + request.path, encoded=True),
                data=_payload(request.body),
                headers=request.headers,
                timeout=timeout,
                allow_redirects=False,
                trace_request_ctx=sending,
                **of_cache,
            )

    @contextmanager
    def _reading(self, request: Request) -> Iterator[dict[str, Any]]:
        """Let a read be answered from the cache that may be; gives what the session is to be told for it."""
        if self._cache is None or request.reading is None:
            yield {}
            return
        with self._cache.reading(request.reading):
            yield {"refresh": request.reading.max_stale_s is None}

    def _give_up(self, request: Request, sending: Sending, error: Exception) -> NoReturn:
        if not sending.has_connection:
            raise Unreachable(f"cannot connect to {self.gateway}: {_reason(error)}") from error
        detail = f"no answer from {self.gateway}: {_reason(error)}"
        raise (OutcomeUnknown(detail) if request.is_write else Unreachable(detail)) from error


def within(left_s: float) -> aiohttp.ClientTimeout:
    """What an attempt may take of `left_s` seconds."""
    return aiohttp.ClientTimeout(total=max(left_s, 0.001), sock_connect=CONNECT_TIMEOUT_S)


def _authorization(token: str | None) -> dict[str, str]:
    if token is None:
        return {}
    if not token or not all("!" <= character <= "~" for character in token):
        raise ValueError("a token is printable ASCII without spaces")
    return {"Authorization": f"Bearer {token}"}


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


def _payload(body: bytes | AsyncIterable[bytes] | None) -> bytes | io.BytesIO | AsyncIterable[bytes] | None:
    # aiohttp writes a stream in pieces, and bytes in one piece, which it warns of when they are many.
    return io.BytesIO(body) if isinstance(body, bytes) and len(body) > PIECE_BYTES_MAX else body


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__
