"""What a transaction comes to in one partition, under its locks.

Guarantees: conditions are judged by the rows as they stand; the operations of a branch happen in order, later ones see
what earlier ones did; each key that changes gets one row, with the version of the record that is to be made; what a
branch itself writes over is told under a version that no key ever has. Leaves to
others: which rows stand, and that nothing else changes them meanwhile (`participant`, `primary`). Sans-IO. PROTOCOL
"Transactions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kvstore.messages import Fault, OpKind, TxnBranch, TxnIf, TxnOp, TxnPart, TxnResult
from kvstore.replication.log import replaced
from kvstore.storage.records import StoredValue, decode_value, encode_value
from kvstore.txn.records import Effect
from kvstore.versions import etag

VALUES_BYTES_MAX = 4 * 1024 * 1024
# A record that holds no more of what was read is as small as that of a delete.
ROOMLESS_BYTES_MAX = 4 * 1024
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
INCR_CONTENT_TYPE = "text/plain"

TOO_MUCH = Fault("body_too_large", f"what a transaction reads has at most {VALUES_BYTES_MAX} bytes")

_DECIMAL = re.compile(rb"[+-]?[0-9]{1,20}")

Look = Callable[[bytes], bytes | None]


class _Course:
    """What a branch has done so far: the rows that it leaves, None for none, and the ETag that each was told with.
    `last_write` has the place of the last operation that changes a key; `name` is the branch's in a request."""

    def __init__(self, name: str, ops: Sequence[TxnOp]) -> None:
        self.name = name
        self.rows: dict[bytes, bytes | None] = {}
        self.etags: dict[bytes, str] = {}
        self.last_write = {op.key: op.index for op in ops if op.kind != OpKind.GET}


class Evaluation:
    """Args:
    part: what is asked of this partition.
    look: the row of a key at the log's end, None where it is absent or its time is over.
    version: the partition's uid, and the epoch and seq of the record that is to be made.
    time_ms: the partition's time.
    """

    def __init__(self, part: TxnPart, look: Look, version: tuple[int, int, int], time_ms: int) -> None:
        self._part = part
        self._look = look
        self._pid, self._epoch, self._seq = version
        self._etag = etag(*version)
        self._time_ms = time_ms

    @property
    def holds(self) -> bool:
        """Whether all conditions do."""
        return all(self._holds(condition) for condition in self._part.conditions)

    def branch(self, then: bool) -> tuple[list[Effect], TxnBranch]:
        """What a branch does, and what it answers; nothing is done where it has a fault."""
        ops = self._part.then if then else self._part.otherwise
        course = _Course("then" if then else "else", ops)
        results: list[TxnResult] = []
        size = 0
        for op in ops:
            result = self._carry_out(op, course)
            if isinstance(result, Fault):
                return [], TxnBranch([], result)
            size += len(result.value or b"")
            if size > VALUES_BYTES_MAX:
                return [], TxnBranch([], TOO_MUCH)
            results.append(result)
        return self._effects(course.rows), TxnBranch(results)

    def _holds(self, condition: TxnIf) -> bool:
        stored = self._stored(self._look(condition.key))
        if condition.exists is not None:
            return condition.exists == (stored is not None)
        if stored is None:
            return False
        if condition.value is not None:
            return condition.value == stored.value
        return condition.etag == self._etag_of(stored)

    def _carry_out(self, op: TxnOp, course: _Course) -> TxnResult | Fault:
        row = course.rows[op.key] if op.key in course.rows else self._look(op.key)
        if op.kind == OpKind.PUT:
            expiry_ms = 0 if op.ttl_ms is None else self._time_ms + op.ttl_ms
            return TxnResult(
                op.index, 201 if row is None else 204, self._write(op, course, expiry_ms, op.content_type, op.value)
            )
        if op.kind == OpKind.DELETE:
            if row is not None:
                course.rows[op.key] = None
            return TxnResult(op.index, 204)
        stored = self._stored(row)
        if op.kind == OpKind.INCR:
            return self._increase(op, stored, course)
        if stored is None:
            return TxnResult(op.index, 404)
        version = course.etags.get(op.key) or self._etag_of(stored)
        ttl_ms = max(0, stored.expiry_ms - self._time_ms) if stored.expiry_ms else None
        return TxnResult(op.index, 200, version, stored.value, stored.content_type, ttl_ms)

    def _increase(self, op: TxnOp, stored: StoredValue | None, course: _Course) -> TxnResult | Fault:
        """An absent key counts from 0, and ends as asked; one that is there keeps its content type and its end."""
        text = b"0" if stored is None else stored.value
        number = int(text) + op.by if _DECIMAL.fullmatch(text) else None
        if number is None or not INT64_MIN <= int(text) <= INT64_MAX:
            return _refused(op, course, "needs a value that is a 64-bit integer in decimal text")
        if not INT64_MIN <= number <= INT64_MAX:
            return _refused(op, course, "leaves the range of 64-bit integers")
        fresh_expiry_ms = 0 if op.ttl_ms is None else self._time_ms + op.ttl_ms
        kind, expiry_ms = (
            (INCR_CONTENT_TYPE, fresh_expiry_ms) if stored is None else (stored.content_type, stored.expiry_ms)
        )
        value = b"%d" % number
        version = self._write(op, course, expiry_ms, kind, value)
        ttl_ms = max(0, expiry_ms - self._time_ms) if expiry_ms else None
        return TxnResult(op.index, 200, version, value, kind, ttl_ms)

    def _write(self, op: TxnOp, course: _Course, expiry_ms: int, content_type: str, value: bytes) -> str:
        """The key's row from now on; returns the ETag to tell, which is the key's afterwards if this write is its
        last."""
        course.rows[op.key] = encode_value(self._epoch, self._seq, expiry_ms, content_type, value)
        is_last = course.last_write[op.key] == op.index
        told = course.etags[op.key] = self._etag if is_last else f"{self._etag}.{op.index:x}"
        return told

    def _effects(self, rows: dict[bytes, bytes | None]) -> list[Effect]:
        effects = []
        for key, row in rows.items():
            before = self._look(key)
            if row is not None or before is not None:
                effects.append(Effect(key, row, *replaced(key, before)))
        return effects

    def _etag_of(self, stored: StoredValue) -> str:
        return etag(stored.origin or self._pid, stored.epoch, stored.seq)

    def _stored(self, row: bytes | None) -> StoredValue | None:
        return None if row is None else decode_value(row)


def _refused(op: TxnOp, course: _Course, why: str) -> Fault:
    return Fault("bad_request", f"{course.name}[{op.index}]: incr {why}")


def keys_of(part: TxnPart) -> list[bytes]:
    """All keys that a transaction names in this partition, in order."""
    asked: Sequence[TxnIf | TxnOp] = (*part.conditions, *part.then, *part.otherwise)
    return sorted({one.key for one in asked})


def writes_of(part: TxnPart) -> bool:
    """Whether a branch may need room."""
    return any(op.kind in (OpKind.PUT, OpKind.INCR) for op in (*part.then, *part.otherwise))


def reads_much(*branches: TxnBranch) -> bool:
    """Whether a record that holds these results needs room, though it may change nothing."""
    return sum(len(one.value or b"") for branch in branches for one in branch.results) > ROOMLESS_BYTES_MAX
