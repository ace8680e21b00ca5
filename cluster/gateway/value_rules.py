"""What a keyspace asks of the values that are put into it: how large they may be, and how long they live.

Guarantees: a value that passed here is within the gateway's limit and the keyspace's, and lives as long as the keyspace
says where its writer said nothing. Leaves to others: which writes there are (`service`, `import_routes`). Sans-IO.
"""

from __future__ import annotations

import msgspec

from cluster.gateway.operations import Change
from kvstore.errors import ValueTooLarge
from kvstore.map_values import KeyspaceInfo
from kvstore.messages import OpKind, TxnOp


class ValueRules(msgspec.Struct, frozen=True):
    """`keyspace` is whose limit `max_value_bytes` is, empty for the gateway's; `default_ttl_ms` is None where values do
    not end by themselves."""

    max_value_bytes: int
    keyspace: str = ""
    default_ttl_ms: int | None = None

    def check(self, value: bytes) -> None:
        """Raises ValueTooLarge."""
        if len(value) > self.max_value_bytes:
            of = f"a value of keyspace {self.keyspace!r}" if self.keyspace else "a value"
            raise ValueTooLarge(f"{of} has at most {self.max_value_bytes} bytes, this one has {len(value)}")

    def applied(self, change: Change) -> Change:
        """The change as it is to be carried out; raises ValueTooLarge."""
        if change.value is None:
            return change
        self.check(change.value)
        if self.default_ttl_ms is None or change.ttl_ms is not None:
            return change
        return msgspec.structs.replace(change, ttl_ms=self.default_ttl_ms)

    def applied_to_op(self, op: TxnOp) -> TxnOp:
        """The operation of a transaction as it is to be carried out; raises ValueTooLarge."""
        if op.kind is OpKind.PUT:
            self.check(op.value)
        elif op.kind is not OpKind.INCR:
            return op
        if self.default_ttl_ms is None or op.ttl_ms is not None:
            return op
        return msgspec.structs.replace(op, ttl_ms=self.default_ttl_ms)


def rules_of(keyspace: KeyspaceInfo | None, max_value_bytes: int) -> ValueRules:
    """The rules of a keyspace; of one that is not known, the gateway's.

    Args:
        max_value_bytes: the gateway's limit.
    """
    if keyspace is None:
        return ValueRules(max_value_bytes)
    default_ttl_ms = keyspace.default_ttl_ms or None
    if not 0 < keyspace.max_value_bytes < max_value_bytes:
        return ValueRules(max_value_bytes, "", default_ttl_ms)
    return ValueRules(keyspace.max_value_bytes, keyspace.name, default_ttl_ms)
