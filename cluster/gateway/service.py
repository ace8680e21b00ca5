"""What the gateway does for a caller, free of HTTP: one key, batches, imports, transactions, and where a key lives.

Guarantees: takes keys as bytes and small frozen requests, returns small frozen answers or raises `KvError`; a value
within the size limit only, and with the end that its keyspace gives it where nothing else is said; the operations of a
batch on one key happen in order, the others at the same time. Leaves to others: reaching the nodes (`dispatch`,
`txn.driver`), text forms of anything (`routes`, `bodies`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cluster.gateway.copy_reads import CopyReads
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.import_window import ImportWindow
from cluster.gateway.operations import Change, Deleted, Found, Get, Operation, Result, Stored
from cluster.gateway.router import Router, TenantNotKnown, waves
from cluster.gateway.snapshots import Snapshots
from cluster.gateway.value_rules import ValueRules, rules_of
from cluster.txn.driver import Transactions
from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding, parse_txn_id
from kvstore.errors import KeyNotFound, KvError, NotFound, ValueTooLarge


class Location(msgspec.Struct, frozen=True):
    """Where a key lives; `hash` as 16 hex digits, `why` one sentence per step of the choice."""

    partition: int
    leader: str | None
    followers: list[str]
    hash: str
    why: list[str]


class KvService:
    """The operations of the API on keys.

    Args:
        max_value_bytes: the largest value that may be put.
        batch_answer_bytes_max: the bytes of values that one batch may return.
        zone: of this gateway, empty where it is in none; stale reads go to copies there first.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        router: Router,
        transactions: Transactions,
        *,
        max_value_bytes: int,
        batch_answer_bytes_max: int,
        zone: str = "",
    ) -> None:
        self._dispatcher = dispatcher
        self._transactions = transactions
        self._copies = CopyReads(dispatcher, router, max_value_bytes, zone)
        self._snapshots = Snapshots(dispatcher, transactions.transact, batch_answer_bytes_max)
        self._router = router
        self._max_value_bytes = max_value_bytes
        self._batch_answer_bytes_max = batch_answer_bytes_max

    async def get(self, keyspace: str, key: bytes) -> Found:
        """A linearizable read.

        Raises:
            KeyNotFound: nothing is stored under the key.
            KvError: as the contract says, all of them definite.
        """
        result = (await self._dispatcher.carry((Get(keyspace, key),), self._max_value_bytes))[0]
        if isinstance(result, Found):
            return result
        raise _as_error(result)

    async def get_quorum(self, keyspace: str, key: bytes) -> Found:
        """A read that is linearizable whatever clocks do; errors as for `get`."""
        result = (await self._dispatcher.carry((Get(keyspace, key),), self._max_value_bytes, is_quorum=True))[0]
        if isinstance(result, Found):
            return result
        raise _as_error(result)

    async def get_stale(self, keyspace: str, key: bytes, max_stale_ms: int | None) -> tuple[Found, int]:
        """A read of any copy in sync that is at most `max_stale_ms` behind, however far for None.

        Returns:
            What was found, and how many milliseconds it may be behind.

        Raises:
            KeyNotFound: nothing was stored under the key, `lag_ms` ago at most.
            KvError: as the contract says, all of them definite.
        """
        result, lag_ms = await self._copies.read(Get(keyspace, key), max_stale_ms)
        if isinstance(result, Found):
            return result, lag_ms
        error = _as_error(result)
        if isinstance(error, KeyNotFound):
            error.lag_ms = lag_ms
        raise error

    async def put(self, change: Change) -> Stored:
        """Store a value.

        Raises:
            PreconditionFailed: a condition does not hold.
            OutcomeUnknown: it may or may not have been stored.
            KvError: as the contract says; nothing was stored.
        """
        result = await self._change(change)
        if isinstance(result, Stored):
            return result
        raise _as_error(result)

    async def delete(self, change: Change) -> None:
        """Delete a key, whether or not it is there; conditions and errors as for `put`."""
        result = await self._change(change)
        if not isinstance(result, Deleted):
            raise _as_error(result)

    async def batch(self, operations: Sequence[Operation | KvError]) -> list[Result]:
        """Carry out independent operations; the results stand in the same order.

        An error in the place of an operation is its result: it was refused before it came here.
        """
        results: list[Result] = [_UNTRIED] * len(operations)
        positions: list[int] = []
        asked: list[Operation] = []
        for position, operation in enumerate(operations):
            if isinstance(operation, KvError):
                results[position] = operation
                continue
            try:
                asked.append(self._as_ruled(operation) if isinstance(operation, Change) else operation)
            except ValueTooLarge as error:
                results[position] = error
            else:
                positions.append(position)
        bytes_left = self._batch_answer_bytes_max
        patience_end_s = self._dispatcher.patience_end_s()
        for wave in waves(asked):
            carried = await self._dispatcher.carry([asked[index] for index in wave], bytes_left, patience_end_s)
            for index, result in zip(wave, carried, strict=True):
                results[positions[index]] = result
                if isinstance(result, Found):
                    bytes_left -= len(result.value)
        return results

    async def snapshot(self, operations: Sequence[Operation | KvError]) -> list[Result]:
        """Read keys as they were at one moment; operations and results as for `batch`, reads only.

        Raises:
            Locked: they kept changing.
            KvError: as for `get`; nothing is told of any key.
        """
        results: list[Result] = [one if isinstance(one, KvError) else _UNTRIED for one in operations]
        asked = [(position, one) for position, one in enumerate(operations) if isinstance(one, Get)]
        found = await self._snapshots.read([get for _, get in asked])
        for (position, _), result in zip(asked, found, strict=True):
            results[position] = result
        return results

    def open_import(self, patience_s: float) -> ImportWindow:
        """Begin to store a stream of items; `patience_s` as for `ImportWindow`."""
        return ImportWindow(self._dispatcher.carry, patience_s)

    async def transact(self, transaction: Transaction) -> TxnOutcome:
        """Carry out a transaction, all of it or nothing.

        Raises:
            TxnConflict: it lost to another one; nothing was changed.
            TokenReused: its token is that of another transaction, which was carried out.
            OutcomeUnknown: it may or may not have been carried out.
            KvError: as the contract says; nothing was changed.
        """
        rules = self.rules(transaction.keyspace)
        then = tuple(map(rules.applied_to_op, transaction.then))
        otherwise = tuple(map(rules.applied_to_op, transaction.otherwise))
        return await self._transactions.transact(msgspec.structs.replace(transaction, then=then, otherwise=otherwise))

    async def transaction(self, id_text: str) -> TxnStanding:
        """Where the transaction of this id stands; asking changes nothing.

        Raises:
            NotFound: there is none, or it is forgotten.
            NoLeader: who would know does not answer.
        """
        return await self._transactions.standing(parse_txn_id(id_text))

    async def locate(self, keyspace: str, key: bytes) -> Location:
        """Where the key lives, by the map this gateway has.

        Raises:
            NotFound: there is no such keyspace, or the key's tenant has no keys and so no partition.
            NoLeader: that is not known for now.
        """
        try:
            entry, digest, why = self._router.explain(keyspace, key)
        except TenantNotKnown as unknown:
            if not await self._dispatcher.tenants.settle(unknown, assign=False):
                raise NotFound("the key's tenant has no keys, and no partition until it has") from unknown
            entry, digest, why = self._router.explain(keyspace, key)
        leader = entry.leader.node if entry.leader else None
        followers = [rid.node for rid in entry.replicas if rid.node != leader]
        return Location(entry.pid, leader, followers, digest, why)

    def rules(self, keyspace: str) -> ValueRules:
        """What a keyspace asks of its values."""
        return rules_of(self._router.map.keyspaces.get(keyspace), self._max_value_bytes)

    async def _change(self, change: Change) -> Result:
        return (await self._dispatcher.carry((self._as_ruled(change),), 0))[0]

    def _as_ruled(self, change: Change) -> Change:
        """The change as it is to be carried out; raises ValueTooLarge."""
        return self.rules(change.keyspace).applied(change)


_UNTRIED = KvError("not tried")


def _as_error(result: Result) -> KvError:
    return result if isinstance(result, KvError) else KvError("the node's answer does not fit the request")
