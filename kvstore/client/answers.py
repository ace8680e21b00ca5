"""Answers: what a gateway's bytes mean to a program.

Guarantees: a refusal becomes the error of its code; a write's answer that this module cannot read as a definite
refusal becomes `OutcomeUnknown`, never a guess. Leaves to others: when to try again (`attempts`). Sans-IO.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgpack

from kvstore.client.ops import Delete, Incr, Op, Put, TxnOp
from kvstore.errors import BY_CODE, KvError, OutcomeUnknown, from_code

OCTET_STREAM = "application/octet-stream"
JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
Consistency = Literal["strong", "quorum", "stale"]
Branch = Literal["then", "else"]
State = Literal["committed", "aborted", "pending"]


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it was put. `etag` has no quotes; `ttl_s` is the seconds left, None without a time to live; `lag_ms`
    is how many milliseconds a stale read may be behind, None for any other."""

    data: bytes
    etag: str
    content_type: str
    ttl_s: float | None = None
    lag_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """A put that is durable. `copies` is how many copies had it on disk at the answer, 0 where it was not told."""

    created: bool
    etag: str
    copies: int = 0


@dataclass(frozen=True, slots=True)
class Deleted:
    """A delete that is durable, whether or not the key was there."""


@dataclass(frozen=True, slots=True)
class Number:
    """What an increment came to."""

    value: int
    etag: str


@dataclass(frozen=True, slots=True)
class TxnOutcome:
    """A committed transaction: the branch that was taken, and the outcome of each of its operations; that of a `Get` of
    an absent key is a `KeyNotFound` in its place, which failed nothing."""

    id: str
    branch: Branch
    outcomes: list[Value | Written | Deleted | Number | KvError]


@dataclass(frozen=True, slots=True)
class TxnState:
    """Where a transaction stands; `branch` only of one that is committed."""

    state: State
    branch: Branch | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether every partition has a reachable leader; `reason` says what is missing."""

    ready: bool
    reason: str = ""


class Unreachable(KvError):
    """Definite: no gateway answered, and no write can have arrived."""

    code, status, title = "unreachable", 503, "Gateway unreachable"


class StreamCut(KvError):
    """Definite: a stream of items ended before its end. `numbers["exported"]` is how many of an export had come."""

    code, status, title = "stream_cut", 503, "Stream cut"


Outcome = Value | Written | Deleted | KvError


def refusal(status: int, body: bytes, *, is_write: bool) -> KvError:
    """The error that an answer with a `status` of 300 or more stands for.

    A write counts as refused only where the body is a problem document with a code that promises so; the bare 5xx of a
    proxy on the way promises nothing.
    """
    code, detail, numbers = _problem(body)
    if code in BY_CODE and not (is_write and code == KvError.code):
        error = from_code(code, detail)
        error.numbers = numbers
        return error
    if status < 500:
        return KvError(f"answer {status}: {detail}")
    if is_write:
        return OutcomeUnknown(f"the gateway answered {status} to a write: {detail}")
    return Unreachable(f"answer {status}: {detail}")


def _problem(body: bytes) -> tuple[str, str, dict[str, int]]:
    """Code, detail and further numbers of a problem document; of anything else, its text as the detail."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return "", body[:200].decode("utf-8", "replace").strip() or "an answer without a reason", {}
    numbers = {name: value for name, value in document.items() if type(value) is int and name != "status"}
    return str(document.get("code", "")), str(document.get("detail") or document.get("title") or ""), numbers


def imported_of(body: bytes) -> int:
    """How many items an import stored.

    Raises:
        OutcomeUnknown: the answer cannot be read.
    """
    try:
        return int(json.loads(body)["imported"])
    except (ValueError, TypeError, KeyError) as error:
        raise OutcomeUnknown(f"the gateway's answer to an import cannot be read: {error}") from error


def bare_etag(text: str) -> str:
    """An etag without the quotes it has in a header."""
    return text.strip().removeprefix('"').removesuffix('"')


def quoted_etag(text: str) -> str:
    """An etag (or `*`) as a conditional header takes it."""
    return text if text == "*" else f'"{text}"'


def readiness_of(status: int, body: bytes) -> Readiness:
    return Readiness(True) if status == 200 else Readiness(False, _problem(body)[1])


def value_of(headers: Mapping[str, str], body: bytes) -> Value:
    ttl = headers.get("X-KV-TTL")
    return Value(
        data=body,
        etag=bare_etag(headers.get("ETag", "")),
        content_type=headers.get("Content-Type", OCTET_STREAM),
        ttl_s=float(ttl) if ttl is not None else None,
        lag_ms=lag_ms_of(headers),
    )


def lag_ms_of(headers: Mapping[str, str]) -> int | None:
    """How far behind the answer may be, None where it does not say so."""
    lag = headers.get("X-KV-Lag-Ms")
    return int(lag) if lag is not None else None


def written_of(status: int, headers: Mapping[str, str]) -> Written:
    return Written(status == 201, bare_etag(headers.get("ETag", "")), int(headers.get("X-KV-Copies", "0")))


def outcomes_of(ops: Sequence[Op], body: bytes) -> list[Outcome]:
    """The outcome of each operation of a batch, in order.

    Raises:
        OutcomeUnknown: the answer cannot be read, or does not answer these operations.
    """
    try:
        results = msgpack.unpackb(body, raw=False)["results"]
        if len(results) != len(ops):
            raise ValueError(f"{len(results)} results for {len(ops)} operations")
        return [_outcome(op, result) for op, result in zip(ops, results, strict=True)]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise OutcomeUnknown(f"the gateway's answer to a batch cannot be read: {error}") from error


def txn_outcome_of(then: Sequence[TxnOp], otherwise: Sequence[TxnOp], body: bytes) -> TxnOutcome:
    """What a transaction came to.

    Raises:
        OutcomeUnknown: the answer cannot be read, or does not answer these operations.
    """
    try:
        answer = msgpack.unpackb(body, raw=False)
        branch = _branch(answer["branch"])
        ops, results = then if branch == "then" else otherwise, answer["results"]
        if len(results) != len(ops):
            raise ValueError(f"{len(results)} results for {len(ops)} operations")
        outcomes = [_txn_outcome(op, result) for op, result in zip(ops, results, strict=True)]
        return TxnOutcome(str(answer["txn"]), branch, outcomes)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise OutcomeUnknown(f"the gateway's answer to a transaction cannot be read: {error}") from error


def txn_state_of(body: bytes) -> TxnState:
    """Where a transaction stands; raises Unreachable for what is no such answer."""
    try:
        answer = json.loads(body)
        state: State | None = next((one for one in get_args(State) if one == answer["state"]), None)
        if state is None:
            raise ValueError(f"state {answer['state']!r}")
        return TxnState(state, _branch(answer["branch"]) if "branch" in answer else None)
    except (ValueError, TypeError, KeyError) as error:
        raise Unreachable(f"the gateway's answer on a transaction cannot be read: {error}") from error


def _branch(text: object) -> Branch:
    if text == "then":
        return "then"
    if text == "else":
        return "else"
    raise ValueError(f"branch {text!r}")


def _txn_outcome(op: TxnOp, result: dict[str, Any]) -> Value | Written | Deleted | Number | KvError:
    if isinstance(op, Incr):
        return Number(int(result["value"]), bare_etag(str(result["etag"])))
    return _outcome(op, result)


def _outcome(op: Op, result: dict[str, Any]) -> Outcome:
    status = int(result["status"])
    if status >= 400:
        return from_code(str(result["code"]), str(result.get("detail") or result["code"]))
    if isinstance(op, Put):
        return Written(status == 201, bare_etag(str(result["etag"])), int(result.get("copies", 0)))
    if isinstance(op, Delete):
        return Deleted()
    ttl = result.get("ttl")
    return Value(
        data=bytes(result["value"]),
        etag=bare_etag(str(result["etag"])),
        content_type=str(result.get("content_type", OCTET_STREAM)),
        ttl_s=float(ttl) if ttl is not None else None,
    )
