"""Problems: how an error is told to a client (RFC 9457).

Guarantees: status, code and detail of `kvstore.errors`, `Retry-After` on what may be tried again, `Allow` on 405.
Leaves to others: the request id (`answer`).
"""

from __future__ import annotations

import msgspec

from cluster.gateway.answer import Answer
from kvstore.errors import KvError, MethodNotAllowed

_ENCODER = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True):
    """The body of every error."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def problem(error: KvError, *, closes: bool = False) -> Answer:
    """The answer that tells `error`; with `closes` the connection ends after it."""
    headers = "Content-Type: application/problem+json\r\n"
    if error.retry_after_s is not None:
        headers += f"Retry-After: {error.retry_after_s}\r\n"
    if isinstance(error, MethodNotAllowed):
        headers += f"Allow: {', '.join(error.allowed)}\r\n"
    detail = error.detail.encode("utf-8", "backslashreplace").decode()
    body = _ENCODER.encode(Problem("about:blank", error.title, error.status, detail, error.code))
    return Answer(error.status, headers, body, error.code, closes)
