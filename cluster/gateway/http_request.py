"""One HTTP request as handlers see it: method, raw target, headers, and a body that is read under limits.

Guarantees: a body is refused before it is read where its declared length is too large, and as soon as it is too large
where it is chunked; a streamed body is read only as fast as its handler takes it; the bytes that all requests hold
together stay within one budget. Leaves to others: deadlines (`http_server` watches them), and the meaning of anything
(`routes`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Protocol

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from kvstore.errors import KvError, Overloaded

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


# What a handler does with one piece holds up every other request.
PIECE_BYTES = 64 * 1024


class Budget:
    """Bytes that bodies and unsent answers may hold at one time in this process."""

    __slots__ = ("_bytes_max", "used")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used = 0

    def has_room(self, count: int) -> bool:
        """Whether so many bytes fit beside what is reserved."""
        return self.used + count <= self._bytes_max

    def take(self, count: int) -> None:
        """Reserve `count` bytes.

        Raises:
            Overloaded: they would not fit; nothing is reserved.
        """
        if not self.has_room(count):
            raise Overloaded("the gateway holds as many bytes of bodies as it may; try again")
        self.used += count


class Pace:
    """How long a client that streams may keep the handler waiting: bytes earn patience, and waiting uses it up.

    Args:
        start_s: the patience before the first byte, in seconds.
        pause_s_max: the longest pause that can be earned, in seconds.
        bytes_per_s_min: the rate at which a client just keeps its patience; 0: any byte earns all of it.
    """

    __slots__ = ("_bytes_per_s_min", "_pause_s_max", "left_s")

    def __init__(self, start_s: float, pause_s_max: float, bytes_per_s_min: int) -> None:
        self.left_s = start_s
        self._pause_s_max = pause_s_max
        self._bytes_per_s_min = bytes_per_s_min

    def waited(self, seconds: float, received: int) -> None:
        """After so many seconds so many bytes arrived."""
        earned_s = received / self._bytes_per_s_min if self._bytes_per_s_min else self._pause_s_max
        self.left_s = min(self._pause_s_max, self.left_s - seconds + earned_s)


class BodyWatch(Protocol):
    """The connection that a body arrives on."""

    budget: Budget

    def new_pace(self) -> Pace:
        """The patience that this listener has with a streamed body."""

    def begin_body(self, request: Request, patience_s: float | None = None) -> None:
        """A handler waits from now on: for the whole body, or at most `patience_s` for more of a streamed one."""

    def end_body(self) -> float:
        """What was waited for is there. Returns the seconds waited."""


class Request:
    """What arrived. `operation` is the word under which metrics count it; a handler sets it."""

    __slots__ = (
        "_payload",
        "_watch",
        "headers",
        "held_bytes",
        "is_http1",
        "is_http10",
        "method",
        "operation",
        "target",
    )

    def __init__(self, watch: BodyWatch, message: RawRequestMessage, payload: StreamReader) -> None:
        self.method: str = message.method
        self.target: str = message.path
        self.headers: CIMultiDictProxy[str] = message.headers
        self.is_http10: bool = message.version is HttpVersion10
        self.is_http1: bool = self.is_http10 or message.version is HttpVersion11
        self.operation = "other"
        self.held_bytes = 0
        self._watch = watch
        self._payload = payload

    @property
    def has_body(self) -> bool:
        """Whether any byte of a body arrived or is announced."""
        return not self._payload.at_eof()

    async def read_body(self, bytes_max: int, too_large: Callable[[str], KvError]) -> bytes:
        """The whole body, at most `bytes_max` bytes.

        Raises:
            KvError: `too_large`; Overloaded; RequestTimeout and BadBody from the protocol for one that does not end.
            ConnectionError: the client is gone.
        """
        payload = self._payload
        declared = self.headers.get(hdrs.CONTENT_LENGTH)
        is_whole = payload.is_eof()
        length = payload.total_bytes if is_whole else int(declared or 0)
        if length > bytes_max:
            raise too_large(f"at most {bytes_max} bytes are allowed, this body has {length}")
        self.hold(length)
        if is_whole:
            return payload.read_nowait(-1)
        self._watch.begin_body(self)
        chunks: list[bytes] = []
        received = 0
        while chunk := await payload.readany():
            received += len(chunk)
            if received > bytes_max:
                raise too_large(f"at most {bytes_max} bytes are allowed")
            if received > self.held_bytes:
                self.hold(received)
            chunks.append(chunk)
        self._watch.end_body()
        return b"".join(chunks)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives, of any length, at most `PIECE_BYTES` at a time; while the caller is busy, nothing is
        read from the client.

        Raises:
            KvError: RequestTimeout for a client that is too slow; BadBody for a body that does not end; ShuttingDown.
            ConnectionError: the client is gone.
        """
        pace = self._watch.new_pace()
        while True:
            self._watch.begin_body(self, pace.left_s)
            piece = await self._payload.read(PIECE_BYTES)
            pace.waited(self._watch.end_body(), len(piece))
            if not piece:
                return
            yield piece

    def hold(self, count: int) -> None:
        """Count `count` bytes as held by this request until it is answered.

        Raises:
            Overloaded: all requests together hold as many as they may.
        """
        budget = self._watch.budget
        if count > self.held_bytes:
            budget.take(count - self.held_bytes)
        else:
            budget.used -= self.held_bytes - count
        self.held_bytes = count
