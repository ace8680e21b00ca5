"""One HTTP request as handlers see it: method, raw target, headers, and a body that is read under limits.

Guarantees: a body is refused before it is read where its declared length is too large, and as soon as it is too large
where it is chunked; the bytes that all requests hold together stay within one budget. Leaves to others: deadlines
(`http_server` watches them), and the meaning of anything (`routes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from aiohttp import hdrs
from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from kvstore.errors import KvError, Overloaded

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy


class Budget:
    """Bytes that bodies and unsent answers may hold at one time in this process."""

    __slots__ = ("_bytes_max", "used")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used = 0

    def take(self, count: int) -> None:
        """Reserve `count` bytes.

        Raises:
            Overloaded: they would not fit; nothing is reserved.
        """
        if self.used + count > self._bytes_max:
            raise Overloaded("the gateway holds as many bytes of bodies as it may; try again")
        self.used += count


class BodyWatch(Protocol):
    """The connection that a body arrives on."""

    budget: Budget

    def begin_body(self, request: Request) -> None:
        """A handler waits for the body from now on."""

    def end_body(self) -> None:
        """It is complete."""


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
        payload, budget = self._payload, self._watch.budget
        declared = self.headers.get(hdrs.CONTENT_LENGTH)
        is_whole = payload.is_eof()
        length = payload.total_bytes if is_whole else int(declared or 0)
        if length > bytes_max:
            raise too_large(f"at most {bytes_max} bytes are allowed, this body has {length}")
        budget.take(length)
        self.held_bytes = length
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
                budget.take(received - self.held_bytes)
                self.held_bytes = received
            chunks.append(chunk)
        self._watch.end_body()
        return b"".join(chunks)
