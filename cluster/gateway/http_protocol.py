"""One HTTP/1.1 connection, on aiohttp's C parser and stream reader.

Guarantees: requests of a connection are answered in order, each with one write; one task per connection and none per
request; whatever the parser refuses is answered as a problem and ends the connection; no exception of a handler gets
out. Leaves to others: counting connections and keeping deadlines (`http_server`, which asks `overdue`).

aiohttp's own request loop makes a task, a stream writer and a mutable mapping per request, which costs more than
everything else a small request does here; hence this loop in its place, on the same parser, streams and flow control.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import hdrs
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from cluster.gateway.answer import CONTINUE, Answer, Renderer, StreamedAnswer
from cluster.gateway.http_heads import split_behind_heads
from cluster.gateway.http_phase import Phase
from cluster.gateway.http_pieces import prepare_reset, send_pieces
from cluster.gateway.http_refusals import refusal_of
from cluster.gateway.http_request import Budget, Pace, Request
from cluster.gateway.problem import failure, problem
from cluster.gateway.settings import GatewaySettings
from kvstore.errors import (
    BadBody,
    BadRequest,
    KvError,
    NotBuiltYet,
    Overloaded,
    RequestTimeout,
    ShuttingDown,
)

READ_BUFFER_BYTES = 64 * 1024
PIPELINED_MAX = 32
ANSWERING = (Phase.BODY, Phase.HANDLER, Phase.READER)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stands in the queue of requests for one that was refused before it was complete."""

    error: KvError


class Host(Protocol):
    """What a connection needs of the listener that accepted it."""

    settings: GatewaySettings
    budget: Budget
    renderer: Renderer
    is_stopping: bool
    handler: Callable[[Request], Awaitable[Answer]]
    observe: Callable[[str, str, float], None]

    def admit(self, connection: HttpProtocol) -> bool:
        """Count a new connection; False when there are too many."""

    def forget(self, connection: HttpProtocol) -> None:
        """A connection is gone."""

    def report(self, asked: tuple[str, str] | None, error: Exception) -> None:
        """Log a request (method and target), or (None) a connection, that failed on this side."""


class HttpProtocol(BaseProtocol):
    """Serves one connection of `server`."""

    __slots__ = (
        "_body",
        "_is_closing",
        "_patience_s",
        "_queue",
        "_server",
        "_task",
        "_waiter",
        "address",
        "budget",
        "phase",
        "since_s",
    )

    def __init__(self, server: Host, loop: asyncio.AbstractEventLoop) -> None:
        limits = server.settings
        parser = HttpRequestParser(
            self,
            loop,
            READ_BUFFER_BYTES,
            max_line_size=limits.line_bytes_max,
            max_field_size=limits.line_bytes_max + 1,
            max_headers=limits.headers_max,
            auto_decompress=False,
            max_msg_queue_size=PIPELINED_MAX,
        )
        super().__init__(loop, parser)
        self.address = ""
        self.budget: Budget = server.budget
        self.phase = Phase.IDLE
        self.since_s = loop.time()
        self._server = server
        self._queue: deque[tuple[RawRequestMessage | Refusal, StreamReader]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._patience_s: float | None = None
        self._is_closing = False

    # ---- life -------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if peer else ""
        if self._server.admit(self):
            self._task = self._loop.create_task(self._run())
            return
        self._write(problem(Overloaded("too many connections")), closes=True)
        self._end(lingers=True)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.forget(self)
        self._is_closing = True
        super().connection_lost(exc)
        self._parser = None
        if not self._body.is_eof():
            self._body.set_exception(ConnectionResetError("the client is gone"))
        if self._waiter is not None:
            self._waiter.cancel()

    def eof_received(self) -> bool:
        """Answer what was asked completely before the client shut its side; then close."""
        if not self._body.is_eof():
            self._body.set_exception(BadBody("the body ended before its announced length"))
        self._is_closing = True
        self._wake()
        return self.phase in ANSWERING or bool(self._queue)

    def abort(self) -> None:
        """Cut the connection at once; an answer under way ends in a reset."""
        if self.transport is not None:
            if self.phase is not Phase.CLOSING:
                prepare_reset(self.transport)
            self.transport.abort()

    def close_when_idle(self) -> None:
        """Close now, or after the request that is being served."""
        if self.phase is Phase.IDLE or self.phase is Phase.HEAD:
            self._is_closing = True
            self._wake()

    def stop_stream(self) -> None:
        """End a body that is being streamed, which could go on for ever."""
        if self._patience_s is not None and not self._body.is_eof():
            self._body.set_exception(ShuttingDown("the gateway is stopping"))

    @property
    def serving_task(self) -> asyncio.Future[None] | None:
        """The connection's task while a request is being served, and until its answer has left."""
        is_serving = self.phase is not Phase.IDLE and self.phase is not Phase.HEAD
        return self._task if is_serving else None

    # ---- receiving --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._is_closing or self._parser is None:
            return
        messages: list[tuple[RawRequestMessage, StreamReader]] = []
        refused: HttpProcessingError | None = None
        try:
            # When the parser refuses bytes, it drops the requests that it has found before them in the same ones.
            for piece in split_behind_heads(data, PIPELINED_MAX - len(self._queue)):
                found, is_upgraded, _ = self._parser.feed_data(piece)
                messages.extend(found)
                if is_upgraded:
                    self._is_closing = True
                    break
        except HttpProcessingError as error:
            refused = error
        if messages:
            self._queue.extend(messages)
            self._body = messages[-1][1]
            self._wake()
            if len(self._queue) >= PIPELINED_MAX and not self._buffer_paused:
                self._pause_reading_for_buffer()
        elif data and self._body.is_eof() and self.phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        if refused is not None:
            self._refuse(refusal_of(refused, self._server.settings.line_bytes_max))

    def _refuse(self, error: KvError) -> None:
        """The bytes that follow mean nothing any more: answer what is complete, then `error`, then close."""
        if not self._body.is_eof():
            self._body.set_exception(BadBody(error.detail))
        self._is_closing = True
        self._queue.append((Refusal(error), EMPTY_PAYLOAD))
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def new_pace(self) -> Pace:
        limits = self._server.settings
        return Pace(limits.body_grace_s, limits.body_timeout_s, limits.body_bytes_per_s_min)

    def begin_body(self, request: Request, patience_s: float | None = None) -> None:
        """A handler starts to wait for the body: its deadline runs, and a client that asked may send it."""
        self._enter(Phase.BODY)
        self._patience_s = patience_s
        wants_word = not request.is_http10 and request.headers.get(hdrs.EXPECT) is not None
        if wants_word and not self._body.total_bytes and self.transport is not None:
            self.transport.write(CONTINUE)

    def end_body(self) -> float:
        began_s = self.since_s
        self._enter(Phase.HANDLER)
        return self.since_s - began_s

    # ---- serving ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._serve_all()
        except Exception as error:
            self._server.report(None, error)
            self.abort()

    async def _serve_all(self) -> None:
        lingers = False
        while not lingers:
            if not self._queue:
                if self._is_closing:
                    break
                self._waiter = self._loop.create_future()
                try:
                    await self._waiter
                except asyncio.CancelledError:
                    return
                finally:
                    self._waiter = None
                continue
            message, payload = self._queue.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._buffer_paused and len(self._queue) <= PIPELINED_MAX // 2:
                self._resume()
            self._enter(Phase.HANDLER)
            if isinstance(message, Refusal):
                self._write(problem(message.error), closes=True)
                self._server.observe("refused", message.error.code, 0.0)
                lingers = True
            elif await self._serve(message, payload):
                break
            else:
                lingers = not payload.is_eof()
        self._end(lingers=lingers)

    async def _serve(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Answer one request; True when the connection ends with it and nothing of it is left to read."""
        request = Request(self, message, payload)
        started_s = self.since_s
        try:
            answer = await self._answer(request)
            has_rest = not payload.is_eof()
            closes = answer.closes or message.should_close or message.upgrade or has_rest or self._server.is_stopping
            if self._is_closing and not self._queue:
                closes = True
            if isinstance(answer, StreamedAnswer):
                # Without chunks, only its end tells the client where the answer ends.
                closes = closes or request.is_http10
                size, is_whole = 0, await self._stream(answer, request, closes=closes)
                closes = closes or not is_whole
            else:
                size = self._write(answer, request.method == "HEAD", request.is_http10, closes=closes)
        finally:
            self.budget.used -= request.held_bytes
        now_s = self._loop.time()
        self._server.observe(request.operation, answer.outcome, now_s - started_s)
        if self._paused:
            await self._wait_for_reader(size)
        self.phase, self.since_s, self._patience_s = Phase.IDLE, now_s, None
        return closes and not has_rest

    async def _answer(self, request: Request) -> Answer:
        try:
            if self._server.is_stopping:
                raise ShuttingDown("the gateway is stopping")
            if not request.is_http1:
                raise BadRequest("only HTTP/1.1 and HTTP/1.0 are spoken here")
            return await self._server.handler(request)
        except KvError as error:
            if error.status >= 500 and not isinstance(error, NotBuiltYet) and request.operation != "health":
                self._server.report((request.method, request.target), error)
            return problem(error)
        except ConnectionError:
            return problem(BadBody("the client is gone"), closes=True)
        except Exception as error:
            self._server.report((request.method, request.target), error)
            return failure()

    def _write(self, answer: Answer, is_head: bool = False, is_http10: bool = False, *, closes: bool) -> int:
        transport = self.transport
        if transport is None:
            return 0
        data = self._server.renderer.render(answer, is_head=is_head, is_http10=is_http10, closes=closes)
        transport.write(data)
        return len(data)

    async def _stream(self, answer: StreamedAnswer, request: Request, *, closes: bool) -> bool:
        """Write an answer piece by piece, as fast as the client takes it; False where it was cut off before its end."""
        size = self._write(answer, request.method == "HEAD", request.is_http10, closes=closes)
        try:
            is_whole = await send_pieces(answer, request, self._send_piece, size)
        except KvError as error:
            answer.outcome, is_whole = error.code, False
            self._server.report((request.method, request.target), error)
        if not is_whole and request.is_http10:
            # Without chunks, only a reset tells a body that was cut off from a whole one.
            self.abort()
        return is_whole

    async def _send_piece(self, data: bytes, size: int) -> bool:
        """Write more of an answer, of `size` bytes with what was written before; False where nobody takes it."""
        if self.transport is not None and data:
            self.transport.write(data)
        if self._paused:
            await self._wait_for_reader(size)
        self._enter(Phase.HANDLER)
        return self.transport is not None and not self._server.is_stopping

    async def _wait_for_reader(self, size: int) -> None:
        self._enter(Phase.READER)
        self.budget.used += size
        try:
            await self._drain_helper()
        except ConnectionError:
            self._is_closing = True
        finally:
            self.budget.used -= size

    def _resume(self) -> None:
        self.data_received(b"")
        if len(self._queue) < PIPELINED_MAX:
            self._resume_reading_for_buffer()

    def _end(self, *, lingers: bool) -> None:
        """Close. Where the client may still be sending, its bytes are dropped for a while: closing at once would make
        the kernel reset the connection, and the answer would be lost."""
        self._is_closing = True
        self._enter(Phase.CLOSING)
        transport = self.transport
        if transport is None:
            return
        if not lingers or not transport.can_write_eof():
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:
            transport.abort()
            return
        self._resume_transport_reading()
        self._loop.call_later(self._server.settings.linger_s, transport.abort)

    # ---- deadlines --------------------------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since_s = self._loop.time()

    def check_deadline(self, now_s: float) -> None:
        """End the phase that has lasted too long, if it has."""
        elapsed_s, limits = now_s - self.since_s, self._server.settings
        if self.phase is Phase.IDLE:
            if elapsed_s > limits.idle_timeout_s:
                self._is_closing = True
                self._wake()
        elif self.phase is Phase.HEAD:
            if elapsed_s > limits.header_timeout_s:
                self._refuse(RequestTimeout(f"the request's head took more than {limits.header_timeout_s:g} s"))
        elif self.phase is Phase.BODY:
            if self._patience_s is not None:
                is_slow = elapsed_s > self._patience_s
            else:
                is_slow = elapsed_s > limits.body_timeout_s or (
                    elapsed_s > limits.body_grace_s and self._body.total_bytes < elapsed_s * limits.body_bytes_per_s_min
                )
            if is_slow:
                self._body.set_exception(RequestTimeout("the body came too slowly"))
        elif self.phase is not Phase.HANDLER and elapsed_s > limits.body_timeout_s:
            self.abort()
