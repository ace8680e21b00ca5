"""Reading many keys as they were at one moment.

Guarantees: where two rounds of linearizable reads, one after the other, find the same version of every key, and the
same absence of every key that is not there, all of them were so at every moment between the rounds; where keys keep
changing, a transaction that reads them ends it. Leaves to others: what tells absences from each other (the leader's
`overlay`), reads that wait for transactions (the node). PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.operations import Found, Get, Result
from cluster.txn.transaction import Transaction, TxnOutcome
from kvstore.errors import KeyNotFound, KvError, Locked, NoLeader, OutcomeUnknown, TxnConflict
from kvstore.messages import Absence, OpKind, TxnOp, TxnResult

TRIES = 3

Transact = Callable[[Transaction], Awaitable[TxnOutcome]]


class Snapshots:
    """Args: answer_bytes_max: the values of one snapshot take so many bytes at most."""

    def __init__(self, dispatcher: Dispatcher, transact: Transact, answer_bytes_max: int) -> None:
        self._dispatcher = dispatcher
        self._transact = transact
        self._answer_bytes_max = answer_bytes_max

    async def read(self, gets: Sequence[Get]) -> list[Result]:
        """What is stored under these keys of one keyspace, each found or `KeyNotFound`, at one moment of the call.

        Raises:
            Locked: they kept changing, or a transaction that is not decided holds one.
            KvError: as for a read of one key.
        """
        if not gets:
            return []
        end_s = self._dispatcher.patience_end_s()
        before: list[str | Absence | None] = []
        for _ in range(1 + TRIES):
            results, absences = await self._dispatcher.collect(gets, self._answer_bytes_max, end_s)
            versions = [_version(result, absences.get(position)) for position, result in enumerate(results)]
            if versions == before and None not in versions:
                return results
            before = versions
        return await self._read_by_transaction(gets, end_s)

    async def _read_by_transaction(self, gets: Sequence[Get], end_s: float) -> list[Result]:
        reads = tuple(TxnOp(index, OpKind.GET, get.key) for index, get in enumerate(gets))
        transaction = Transaction(gets[0].keyspace, (), reads, ())
        pauses = self._dispatcher.pauses(end_s)
        while True:
            try:
                outcome = await self._transact(transaction)
            except TxnConflict as error:
                if not await pauses.next():
                    raise Locked(f"the keys keep changing; {error.detail}") from error
            except OutcomeUnknown as error:
                # Nothing was to be changed.
                raise NoLeader(error.detail) from error
            else:
                return [_result(one) for one in outcome.results]


def _version(result: Result, absence: Absence | None) -> str | Absence | None:
    """What is equal where nothing changed, None where that is not known; raises what is neither there nor absent."""
    if isinstance(result, Found):
        return result.etag
    if isinstance(result, KvError) and not isinstance(result, KeyNotFound):
        raise result
    return absence


def _result(one: TxnResult) -> Result:
    if one.status == KeyNotFound.status:
        return KeyNotFound("nothing is stored under this key")
    ttl_s = None if one.ttl_ms is None else one.ttl_ms / 1000
    return Found(one.value or b"", one.content_type, one.etag, ttl_s)
