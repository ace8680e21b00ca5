"""Names for transactions: what a gateway draws itself, and what stands for a client's token.

Guarantees: no two transactions of gateways get the same token; a client's is the same, at every gateway, exactly if
keyspace, smallest key and token are equal and so is all that the transaction asks for, up to hashing. Leaves to
others: incarnations that were never used before (control), what is remembered under a name (the primary). Sans-IO.
PROTOCOL "Transactions", "Idempotency".
"""

from __future__ import annotations

from cluster.gateway.tokens import marked
from cluster.txn.transaction import Transaction
from kvstore.messages import TxnName


class Names:
    """Args: incarnation: of this gateway, never used before."""

    def __init__(self, incarnation: int) -> None:
        self._incarnation = incarnation.to_bytes(8, "big")
        self._drawn = 0

    def first(self, transaction: Transaction, primary: int, smallest_key: bytes) -> TxnName:
        """The name of the first attempt of a transaction."""
        if transaction.token:
            scope = ("TXN", transaction.keyspace, smallest_key, transaction.token)
            return TxnName(primary, marked(scope, transaction), 1)
        self._drawn += 1
        return TxnName(primary, self._incarnation + self._drawn.to_bytes(8, "big"), 1)
