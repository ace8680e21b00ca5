"""One RPC connection: calls, answers and one-way messages, both ways, on one byte stream.

Guarantees: all messages handed over in one loop turn leave in one write; every call ends in exactly one of an answer,
`NotSent` (definite), `Lost` or `TimedOut` (both indefinite); queues in both directions are bounded; a peer that breaks
framing, codec or cluster id is cut off, and so is one that is a stranger for too long. Leaves to others: dialling
(`client`), listening (`server`), what a message means, and who is no stranger any more (the handler). Works on any
asyncio transport, TLS ones included.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import cast

import structlog

from kvstore.codec import FORMAT, CodecError, decode_frame, encode_frame
from kvstore.messages import Body, Envelope, Frame
from kvstore.rpc.framing import FRAME_BYTES_MAX, PREAMBLE, FrameDecoder, FramingError, frame_bytes

PRIORITY_DATA = 0
PRIORITY_CONTROL = 1

OUTBOX_MESSAGES_MAX = 8192
WRITE_BUFFER_BYTES_HIGH = 8 * 1024 * 1024
UNANSWERED_MAX = 8192
# Of who said no hello yet: many could each have the beginning of a large frame held for them.
STRANGER_FRAME_BYTES_MAX = 4096
SWEEP_S = 0.1
# What was sent over TCP and is not received for so long is lost: a connection that waits on, ever longer, would be
# silent for as long again after a network is whole.
UNRECEIVED_MS_MAX = 5000
# Who is silent for so long is asked by TCP whether it is there, again and again: a machine that vanished would hold a
# place for good. Below the bound above, which on Linux counts for these questions too.
SILENT_S_MAX = 3
PROBE_S = 1
PROBES_MAX = 5
TCP_OPTIONS = (
    ("TCP_USER_TIMEOUT", UNRECEIVED_MS_MAX),
    ("TCP_KEEPIDLE", SILENT_S_MAX),
    ("TCP_KEEPINTVL", PROBE_S),
    ("TCP_KEEPCNT", PROBES_MAX),
)


class RpcError(Exception):
    """A call that got no answer."""


class NotSent(RpcError):
    """Definite: no byte of the call left this process."""


class Lost(RpcError):
    """Indefinite: the connection ended before the answer."""


class TimedOut(RpcError):
    """Indefinite: the deadline passed before the answer."""


Handler = Callable[["Connection", Envelope], None]
Closed = Callable[["Connection", Exception | None], None]
Fallback = Callable[[], asyncio.Protocol]


class Connection(asyncio.Protocol):
    """Either end of a connection; the same class dials and accepts.

    Args:
        handler: gets every call (answer it with `answer`) and every one-way message, in order of arrival.
        cluster_id: None on the accepting side until the first frame told it.
        dialled: whether this end opened the connection (it then sends the preamble).
        on_closed: called once when the connection is gone.
        fallback: on the accepting side, takes over a connection that does not open with the preamble.
        hello_timeout_s: on the accepting side, for how long the other end may be a stranger, which it is until the
            handler sets `role`; None where nobody is one.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        cluster_id: bytes | None,
        dialled: bool,
        on_closed: Closed | None = None,
        fallback: Fallback | None = None,
        hello_timeout_s: float | None = None,
    ) -> None:
        self.cluster_id = cluster_id
        self.peer = ""
        self.role = ""
        self.boot = 0
        self.process = b""
        self.is_new = False
        self.is_open = False
        self.close_reason = ""
        self._handler = handler
        self._dialled = dialled
        self._on_closed = on_closed
        self._fallback = fallback
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._hello_timeout_s = hello_timeout_s
        self._hello_timer: asyncio.TimerHandle | None = None
        self._decoder = FrameDecoder(FRAME_BYTES_MAX if hello_timeout_s is None else STRANGER_FRAME_BYTES_MAX)
        self._opening: bytearray | None = None if dialled else bytearray()
        self._outbox: tuple[list[Envelope], list[Envelope]] = ([], [])
        self._flush_scheduled = False
        self._write_paused = False
        self._read_paused = False
        self._next_call = 1
        self._pending: dict[int, tuple[asyncio.Future[Body], float]] = {}
        self._unanswered = 0
        self._sweeper: asyncio.TimerHandle | None = None

    # ---- sending ------------------------------------------------------------------------------------------------

    def call(self, body: Body, timeout_s: float, priority: int = PRIORITY_DATA) -> asyncio.Future[Body]:
        """Send a call; the future gets the answer, or one of `RpcError`.

        Raises:
            NotSent: the connection is closed, or its outgoing queue is full.
        """
        if not self.is_open:
            raise NotSent("the connection is closed")
        if self._write_paused and len(self._outbox[priority]) >= OUTBOX_MESSAGES_MAX:
            raise NotSent("the outgoing queue is full")
        number = self._next_call
        self._next_call = number + 1
        future: asyncio.Future[Body] = self._loop.create_future()
        self._pending[number] = (future, self._loop.time() + timeout_s)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)
        self._enqueue(Envelope(number, max(1, int(timeout_s * 1000)), body), priority)
        return future

    def cast(self, body: Body, priority: int = PRIORITY_CONTROL) -> bool:
        """Send a one-way message; False when it cannot leave (the protocol above sends it again)."""
        if not self.is_open or (self._write_paused and len(self._outbox[priority]) >= OUTBOX_MESSAGES_MAX):
            return False
        self._enqueue(Envelope(0, 0, body), priority)
        return True

    def answer(self, call: int, body: Body, priority: int = PRIORITY_DATA) -> None:
        """Answer the call with that number; dropped when the caller is gone, and where none was waited for (0)."""
        if call == 0:
            return
        self._unanswered -= 1
        self._regulate()
        if self.is_open:
            self._enqueue(Envelope(-call, 0, body), priority)

    def _enqueue(self, envelope: Envelope, priority: int) -> None:
        self._outbox[priority].append(envelope)
        if not self._flush_scheduled and not self._write_paused:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self._transport is None or not self.is_open or self._write_paused:
            return
        chunks: list[bytes] = []
        for priority in (PRIORITY_CONTROL, PRIORITY_DATA):
            queued = self._outbox[priority]
            if queued:
                messages = queued.copy()
                queued.clear()
                self._encode(priority, messages, chunks)
        if chunks:
            self._transport.write(b"".join(chunks) if len(chunks) > 1 else chunks[0])

    def _encode(self, priority: int, messages: list[Envelope], chunks: list[bytes]) -> None:
        body = encode_frame(Frame(FORMAT, self.cluster_id or b"", priority, messages))
        if len(body) <= FRAME_BYTES_MAX:
            chunks.append(frame_bytes(body))
            return
        if len(messages) == 1:
            self._drop(messages[0])
            return
        middle = len(messages) // 2
        self._encode(priority, messages[:middle], chunks)
        self._encode(priority, messages[middle:], chunks)

    def _drop(self, envelope: Envelope) -> None:
        """No frame holds this message: who called is told; who waits for an answer waits for its deadline."""
        structlog.get_logger().error("message_too_large", peer=self.peer, kind=type(envelope.body).__name__)
        pending = self._pending.pop(envelope.call, None)
        if pending is not None and not pending[0].done():
            pending[0].set_exception(NotSent("the message is too large for a frame"))

    # ---- receiving ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._opening is not None:
            rest = self._open(self._opening, data)
            if rest is None:
                return
            data = rest
        try:
            for body in self._decoder.feed(data):
                self._receive(decode_frame(body))
                if not self.is_open:
                    return
                if self.role:
                    self._decoder.frame_bytes_max = FRAME_BYTES_MAX
        except (FramingError, CodecError) as error:
            self.close(f"bad frame: {error}")

    def _open(self, opening: bytearray, data: bytes) -> bytes | None:
        opening += data
        if PREAMBLE.startswith(bytes(opening[: len(PREAMBLE)])) and len(opening) < len(PREAMBLE):
            return None
        if opening.startswith(PREAMBLE):
            self._opening = None
            return bytes(opening[len(PREAMBLE) :])
        self._hand_over(bytes(opening))
        return None

    def _hand_over(self, data: bytes) -> None:
        transport = self._transport
        if self._fallback is None or transport is None:
            self.close("not a connection of this protocol")
            return
        protocol = self._fallback()
        self.is_open = False
        self._transport = None
        if self._hello_timer is not None:
            self._hello_timer.cancel()
        if self._on_closed is not None:
            self._on_closed(self, None)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    def _receive(self, frame: Frame) -> None:
        if self.cluster_id is None:
            self.cluster_id = frame.cluster_id
        elif frame.cluster_id != self.cluster_id:
            self.close("the peer belongs to another cluster")
            return
        for envelope in frame.messages:
            if envelope.call < 0:
                self._settle(-envelope.call, envelope.body)
                continue
            if envelope.call > 0:
                self._unanswered += 1
            self._handler(self, envelope)
        self._regulate()

    def _regulate(self) -> None:
        """Stop reading while too many answers are owed, or while a peer that dialled does not read what it asked for.

        The side that dialled reads on, so that two sides never wait for each other.
        """
        owed_max = UNANSWERED_MAX // 2 if self._read_paused else UNANSWERED_MAX
        pause = self._unanswered > owed_max or (self._write_paused and not self._dialled)
        if pause == self._read_paused or self._transport is None:
            return
        self._read_paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _settle(self, number: int, body: Body) -> None:
        pending = self._pending.pop(number, None)
        if pending is not None and not pending[0].done():
            pending[0].set_result(body)

    def _sweep(self) -> None:
        now = self._loop.time()
        late = [number for number, (future, deadline) in self._pending.items() if deadline <= now or future.done()]
        for number in late:
            future, _ = self._pending.pop(number)
            if not future.done():
                future.set_exception(TimedOut("no answer before the deadline"))
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep) if self._pending else None

    # ---- life ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.close_reason:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_HIGH)
        _give_up_early(self._transport)
        self.is_open = True
        if self._hello_timeout_s is not None:
            self._hello_timer = self._loop.call_later(self._hello_timeout_s, self._end_stranger)
        if self._dialled:
            self._transport.write(PREAMBLE)

    def _end_stranger(self) -> None:
        if self.is_stranger:
            self.close("no hello in time")

    @property
    def is_stranger(self) -> bool:
        """Whether the other end dialled, and the handler has not taken it in yet."""
        return self._hello_timeout_s is not None and not self.role

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        self.is_open = False
        for timer in (self._sweeper, self._hello_timer):
            if timer is not None:
                timer.cancel()
        unsent = {envelope.call for queue in self._outbox for envelope in queue}
        pending, self._pending = self._pending, {}
        for number, (future, _) in pending.items():
            if not future.done():
                kind = NotSent if number in unsent else Lost
                future.set_exception(kind(self.close_reason or "the connection was lost"))
        if self._on_closed is not None:
            self._on_closed(self, exc)

    def close(self, reason: str = "") -> None:
        """Cut the connection, or do so as soon as it is made; `reason` is kept in `close_reason`."""
        self.is_open = False
        self.close_reason = self.close_reason or reason or "closed"
        if self._transport is not None:
            self._transport.abort()

    async def drain_and_close(self) -> None:
        """Send what is queued, unless the peer has stopped reading, then close."""
        if self._transport is not None:
            self._flush()
            self._transport.close()
            self.is_open = False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._regulate()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._regulate()
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)


def _give_up_early(transport: asyncio.Transport) -> None:
    """TCP_USER_TIMEOUT (RFC 5482) and keepalive, where the system and the transport have them."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError):
        for name, value in TCP_OPTIONS:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
