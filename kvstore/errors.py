"""The one tree of errors that a caller may see.

Guarantees: every failure has a stable `code` (the contract's word for it), an HTTP `status`, and says whether it is
`definite`: a definite error promises that nothing was applied; an indefinite one leaves the outcome open, and only
`OutcomeUnknown` is indefinite. Leaves to others: how an error is written on a wire. Sans-IO.
"""

from __future__ import annotations

from typing import ClassVar


class KvError(Exception):
    """Base of all errors that reach a caller; `detail` is one sentence for a person.

    `numbers` are further members of the problem document, such as the `line` of an import; most errors have none.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal Server Error"
    definite: ClassVar[bool] = True
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.numbers: dict[str, int] = {}


class BadRequest(KvError):
    code, status, title = "bad_request", 400, "Bad Request"


class BadKey(BadRequest):
    code, title = "bad_key", "Bad key"


class BadParameter(BadRequest):
    code, title = "bad_parameter", "Bad parameter"


class BadBody(BadRequest):
    code, title = "bad_body", "Bad body"


class BadCursor(BadRequest):
    code, title = "bad_cursor", "Bad cursor"


class KeyNotFound(KvError):
    """`lag_ms`: of a stale read, at most so long ago it was not there."""

    code, status, title = "key_not_found", 404, "Key not found"
    lag_ms: int | None = None


class NotFound(KvError):
    code, status, title = "not_found", 404, "Not found"


class MethodNotAllowed(KvError):
    """Carries the methods that are allowed, for the `Allow` header."""

    code, status, title = "method_not_allowed", 405, "Method not allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"allowed here: {', '.join(allowed)}")
        self.allowed = allowed


class RequestTimeout(KvError):
    code, status, title = "request_timeout", 408, "Request timeout"


class Conflict(KvError):
    code, status, title = "conflict", 409, "Conflict"


class TxnConflict(Conflict):
    """A transaction lost to another one, and changed nothing."""

    code, title = "txn_conflict", "Transaction conflict"


class PreconditionFailed(KvError):
    code, status, title = "precondition_failed", 412, "Precondition failed"


class ValueTooLarge(KvError):
    code, status, title = "value_too_large", 413, "Value too large"


class BodyTooLarge(KvError):
    code, status, title = "body_too_large", 413, "Body too large"


class KeyTooLong(KvError):
    code, status, title = "key_too_long", 414, "Key too long"


class UriTooLong(KvError):
    code, status, title = "uri_too_long", 414, "URI too long"


class UnsupportedMediaType(KvError):
    code, status, title = "unsupported_media_type", 415, "Unsupported media type"


class UnsupportedEncoding(KvError):
    code, status, title = "unsupported_encoding", 415, "Unsupported content encoding"


class TokenReused(KvError):
    code, status, title = "token_reused", 422, "Token reused"


class HeadersTooLarge(KvError):
    code, status, title = "headers_too_large", 431, "Headers too large"


class Overloaded(KvError):
    code, status, title, retry_after_s = "overloaded", 429, "Overloaded", 1


class NoLeader(KvError):
    code, status, title, retry_after_s = "no_leader", 503, "No leader", 1


class NotEnoughCopies(KvError):
    code, status, title, retry_after_s = "not_enough_copies", 503, "Not enough copies", 1


class Locked(KvError):
    code, status, title, retry_after_s = "locked", 503, "Locked", 1


class ShuttingDown(KvError):
    code, status, title, retry_after_s = "shutting_down", 503, "Shutting down", 1


class NotBuiltYet(KvError):
    """A part of the contract that this version does not have; `detail` names the part."""

    code, status, title = "not_implemented", 501, "Not implemented"


class StorageFull(KvError):
    code, status, title = "storage_full", 507, "Storage full"


class OutcomeUnknown(KvError):
    """The write may or may not have been applied: the only answer for an unknown outcome."""

    code, status, title, definite = "outcome_unknown", 504, "Outcome unknown", False


class WrongLeader(KvError):
    """Between processes only: the node asked does not lead the partition under that map version."""

    code, status, title, retry_after_s = "wrong_leader", 503, "Wrong leader", 1


class StaleToken(KvError):
    """Between processes only: the write's number is below what the partition remembers of its gateway."""

    code, status, title, retry_after_s = "stale_token", 503, "Stale token", 1


class OperatorError(Exception):
    """A mistake of the operator's: printed as one line on standard error, then a non-zero exit."""


def _tree(base: type[KvError]) -> list[type[KvError]]:
    return [base, *(found for child in base.__subclasses__() for found in _tree(child))]


BY_CODE: dict[str, type[KvError]] = {kind.code: kind for kind in _tree(KvError)}


def from_code(code: str, detail: str) -> KvError:
    """Rebuild an error that another process sent by its code; an unknown code becomes the base class."""
    kind = BY_CODE.get(code, KvError)
    if kind is MethodNotAllowed:
        return KvError(detail)
    return kind(detail)
