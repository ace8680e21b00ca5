"""Answers: what a handler decided to say, and the bytes that say it.

Guarantees: one block of bytes per answer, with `Date`, an `X-Request-Id` of its own, the right length (none for 204 and
304) and the right connection header for the client's version; HEAD has the headers of GET and no body. Leaves to
others: when to close, and the writing itself (`http_protocol`). Header text given to an `Answer` must be clean: no CR,
LF or NUL.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import AsyncGenerator
from email.utils import formatdate
from http import HTTPStatus

_BODILESS = frozenset((204, 304))
_STATUS_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\nDate: " for status in HTTPStatus}
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Answer:
    """One answer.

    Args:
        headers: complete header lines, each ended by CRLF, beyond those that `render` adds itself.
        body: bytes for the client; for HEAD they only give `Content-Length`.
        outcome: the word under which metrics count it: `ok`, or an error's code.
        closes: whether the connection ends with this answer.
    """

    __slots__ = ("body", "closes", "headers", "outcome", "status")

    def __init__(
        self, status: int, headers: str = "", body: bytes = b"", outcome: str = "ok", closes: bool = False
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.outcome = outcome
        self.closes = closes


class StreamedAnswer(Answer):
    """An answer of unknown length.

    Args:
        body: the first piece.
        pieces: the others; whoever has the answer closes it. What it raises cuts the answer off before its end, so that
            nobody takes it for whole.
    """

    __slots__ = ("pieces",)

    def __init__(self, status: int, headers: str, body: bytes, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(status, headers, body)
        self.pieces = pieces


def json_answer(status: int, body: bytes) -> Answer:
    """An answer in JSON that no cache keeps."""
    return Answer(status, "Content-Type: application/json\r\nCache-Control: no-store\r\n", body)


class Renderer:
    """Turns answers into bytes; keeps what they begin with for the second in which its `Date` is valid.

    Attributes:
        numbers: what comes after `opening`, in hexadecimal, one for each answer.
    """

    __slots__ = ("_date_and_id", "_date_s", "_openings", "_prefix", "numbers")

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self._prefix = secrets.token_hex(4)
        self._date_s = 0
        self._date_and_id = ""
        self._openings: dict[int, bytes] = {}

    def _keep_time(self) -> None:
        now_s = int(time.time())
        if now_s != self._date_s:
            self._date_s = now_s
            self._date_and_id = f"{formatdate(now_s, usegmt=True)}\r\nX-Request-Id: {self._prefix}-"
            self._openings = {one: f"{_STATUS_LINES[one]}{self._date_and_id}".encode() for one in (200, 201, 204)}

    def opening(self, status: int = 200) -> bytes:
        """How an answer of status 200, 201 or 204 begins now, up to the number of its request."""
        self._keep_time()
        return self._openings[status]

    def render(self, answer: Answer, *, is_head: bool, is_http10: bool, closes: bool) -> bytes:
        """The whole answer, ready for one write."""
        self._keep_time()
        status, body = answer.status, answer.body
        if isinstance(answer, StreamedAnswer):
            length = "" if is_http10 else "Transfer-Encoding: chunked\r\n"
            body = body if is_http10 else as_chunk(body)
        else:
            length = "" if status in _BODILESS else f"Content-Length: {len(body)}\r\n"
        connection = "Connection: close\r\n" if closes else "Connection: keep-alive\r\n" if is_http10 else ""
        head = (
            f"{_STATUS_LINES[status]}{self._date_and_id}{next(self.numbers):x}\r\n"
            f"{answer.headers}{length}{connection}\r\n"
        ).encode("latin-1")
        return head if is_head or not body else head + body


def as_chunk(data: bytes) -> bytes:
    """`data` as a chunk of the chunked transfer coding (RFC 9112, section 7.1); nothing for nothing, which would be
    the end."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
