"""Cutting a transaction into what it asks of each partition.

Guarantees: every condition and operation is in the part of its key's partition, in the order in which it was given;
the primary is the partition of the smallest key. Leaves to others: where keys are (`gateway.router`). Sans-IO.
PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cluster.txn.transaction import Transaction
from kvstore.errors import BadRequest
from kvstore.map_values import Entry
from kvstore.messages import TxnPart


def smallest_key(transaction: Transaction) -> bytes:
    """The key whose partition is the primary.

    Raises:
        BadRequest: the transaction names no key.
    """
    smallest = min(keys_of(transaction), default=None)
    if smallest is None:
        raise BadRequest("a transaction names at least one key")
    return smallest


def parts_of(transaction: Transaction, route: Callable[[str, bytes], Entry]) -> dict[int, TxnPart]:
    """What is asked of each partition; raises as `route`."""
    parts: dict[int, TxnPart] = {}
    keyspace = transaction.keyspace

    def part(key: bytes) -> TxnPart:
        pid = route(keyspace, key).pid
        found = parts.get(pid)
        if found is None:
            found = parts[pid] = TxnPart([], [], [])
        return found

    for condition in transaction.conditions:
        part(condition.key).conditions.append(condition)
    for operation in transaction.then:
        part(operation.key).then.append(operation)
    for operation in transaction.otherwise:
        part(operation.key).otherwise.append(operation)
    return parts


def keys_of(transaction: Transaction) -> Iterator[bytes]:
    """The keys that a transaction names, as often as it does."""
    for condition in transaction.conditions:
        yield condition.key
    for operation in transaction.then:
        yield operation.key
    for operation in transaction.otherwise:
        yield operation.key
