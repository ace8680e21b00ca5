"""What a transaction must come to, said in the plainest way: all of it at once, on what every key is at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulation.timeline import Version

from cluster.txn.transaction import Transaction
from kvstore.messages import OpKind, TxnIf, TxnOp, TxnResult
from kvstore.versions import etag

Result = tuple[int, int, str, bytes | None]


def keys_of(transaction: Transaction) -> set[bytes]:
    operations = (*transaction.then, *transaction.otherwise)
    return {one.key for one in transaction.conditions} | {one.key for one in operations}


def seen(results: list[TxnResult]) -> list[Result]:
    """Results as the model tells them."""
    return [(one.index, one.status, one.etag, one.value) for one in results]


@dataclass(frozen=True)
class Expected:
    """Which branch is taken, how its operations end, and the keys that change (None: absent); `results` is None where
    it cannot be carried out."""

    then: bool
    results: list[Result] | None
    writes: dict[bytes, bytes | None]


class Model:
    """Args:
    transaction: all that was asked for.
    newest: what a key is.
    versions: of each partition that has a part, the (epoch, seq) of what is written there.
    pid_of: the partition of a key.
    """

    def __init__(
        self,
        transaction: Transaction,
        newest: Callable[[bytes], Version],
        versions: dict[int, tuple[int, int]],
        pid_of: Callable[[bytes], int],
    ) -> None:
        self._transaction = transaction
        self._newest = newest
        self._versions = versions
        self._pid_of = pid_of
        self._writes: dict[bytes, bytes | None] = {}
        self._etags: dict[bytes, str] = {}

    def expected(self) -> Expected:
        then = all(self._holds(condition) for condition in self._transaction.conditions)
        results: list[Result] = []
        branch = self._transaction.then if then else self._transaction.otherwise
        for place, operation in enumerate(branch, 1):
            result = self._carry_out(operation, branch[place:])
            if result is None:
                return Expected(then, None, {})
            results.append(result)
        writes = {
            key: value
            for key, value in self._writes.items()
            if value is not None or self._newest(key).value is not None
        }
        return Expected(then, results, writes)

    def _holds(self, condition: TxnIf) -> bool:
        version = self._newest(condition.key)
        if condition.exists is not None:
            return (version.value is not None) == condition.exists
        if condition.value is not None:
            return version.value == condition.value
        return version.value is not None and condition.etag == self._etag(version)

    @staticmethod
    def _etag(version: Version) -> str:
        return etag(version.pid, version.epoch, version.seq)

    def _write(self, operation: TxnOp, value: bytes, later: Sequence[TxnOp]) -> str:
        """Write the key; what is written over later is told under a version of its own."""
        key, pid = operation.key, self._pid_of(operation.key)
        self._writes[key] = value
        told = etag(pid, *self._versions[pid])
        if any(one.key == key and one.kind != OpKind.GET for one in later):
            told = f"{told}.{operation.index:x}"
        self._etags[key] = told
        return told

    def _carry_out(self, operation: TxnOp, later: Sequence[TxnOp]) -> Result | None:
        index, key = operation.index, operation.key
        is_written = key in self._writes
        value = self._writes[key] if is_written else self._newest(key).value
        if operation.kind == OpKind.PUT:
            return index, 201 if value is None else 204, self._write(operation, operation.value, later), None
        if operation.kind == OpKind.DELETE:
            self._writes[key] = None
            return index, 204, "", None
        if operation.kind == OpKind.INCR:
            text = b"0" if value is None else value
            if not text.lstrip(b"-").isdigit():
                return None
            number = b"%d" % (int(text) + operation.by)
            return index, 200, self._write(operation, number, later), number
        if value is None:
            return index, 404, "", None
        return index, 200, self._etags[key] if is_written else self._etag(self._newest(key)), value
