"""Problems: how an error is told to a client (RFC 9457).

Guarantees: status, code, detail and numbers of `kvstore.errors`, `Retry-After` on what may be tried again, `Allow` on
405, and no cache keeps it. Leaves to others: the request id (`answer`).
"""

from __future__ import annotations

import msgspec

from cluster.gateway.answer import Answer
from kvstore.errors import KeyNotFound, KvError, MethodNotAllowed

_ENCODER = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error; `imported` and `line` are there when an import ended early."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    imported: int | None = None
    line: int | None = None


def problem(error: KvError, *, closes: bool = False) -> Answer:
    """The answer that tells `error`; with `closes` the connection ends after it."""
    headers = "Content-Type: application/problem+json\r\nCache-Control: no-store\r\n"
    if error.retry_after_s is not None:
        headers += f"Retry-After: {error.retry_after_s}\r\n"
    if isinstance(error, KeyNotFound) and error.lag_ms is not None:
        headers += f"X-KV-Lag-Ms: {error.lag_ms}\r\n"
    if isinstance(error, MethodNotAllowed):
        headers += f"Allow: {', '.join(error.allowed)}\r\n"
    detail = error.detail.encode("utf-8", "backslashreplace").decode()
    body = _ENCODER.encode(Problem("about:blank", error.title, error.status, detail, error.code, **error.numbers))
    return Answer(error.status, headers, body, error.code, closes)


def failure() -> Answer:
    """The answer where an error that nobody foresaw, and that was logged, kept a request from being answered."""
    return problem(KvError("an error of the gateway; its log says more"), closes=True)
