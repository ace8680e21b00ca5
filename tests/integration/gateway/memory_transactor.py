"""Who carries transactions out, in memory, for tests of the gateway's requests.

Guarantees: answers with what a test lays down, and keeps what it was asked. Leaves to others: what a transaction does.
"""

from __future__ import annotations

from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding, TxnState, parse_txn_id
from kvstore.errors import KvError, NotFound
from kvstore.messages import TxnResult

KNOWN = f"1-{'ab' * 16}-1"


class MemoryTransactor:
    def __init__(self) -> None:
        self.asked: list[Transaction] = []
        self.outcome = TxnOutcome(KNOWN, True, [TxnResult(0, 201, "1.1.1")])
        self.standings = {KNOWN: TxnStanding(TxnState.COMMITTED, True)}
        self.failure: KvError | None = None

    async def transact(self, transaction: Transaction) -> TxnOutcome:
        self.asked.append(transaction)
        if self.failure is not None:
            raise self.failure
        return self.outcome

    async def transaction(self, id_text: str) -> TxnStanding:
        parse_txn_id(id_text)
        if id_text not in self.standings:
            raise NotFound("there is no transaction of this id")
        return self.standings[id_text]
