"""Money moved between accounts on different partitions by transactions, and all accounts read at one moment.

A transfer writes a receipt too. It is asked only where the money is there, as seen before: on condition that the source
still holds what was read, and by puts of both accounts or by counting both up and down. Accounts are read in turn by a
transaction of gets and by a batch that asks for one snapshot.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence

from checkers.bank import Snapshot, Transfer, check_bank
from checkers.history import Anomaly, Outcome
from probe.reading import read_all
from probe.workloads.names import key_name
from probe.workloads.txn_sender import CONFLICT, NO_OUTCOMES, OK, Document, TxnSender

from kvstore.client import Client

ACCOUNTS = 12
START = 100
AMOUNT_MAX = 20
READ_CHANCE = 0.3
READ_BACK_TRIES, READ_BACK_PAUSE_S = 60, 0.3
BY_TXN, BY_BATCH = "transaction", "batch"


class Bank:
    """The accounts are made by the first steps. Args: sender: of its own; rng: of accounts and amounts."""

    def __init__(self, sender: TxnSender, rng: random.Random) -> None:
        self.transfers: list[Transfer] = []
        self.snapshots: list[Snapshot] = []
        self.unread = 0
        self._sender = sender
        self._rng = rng
        self._accounts = [key_name("account", number) for number in range(1, ACCOUNTS + 1)]
        self._receipts = (key_name("receipt", number) for number in itertools.count(1))
        self._is_open = False
        self._opening = asyncio.Lock()
        self._turns = itertools.cycle((BY_TXN, BY_BATCH))
        self._found: set[str] = set()

    async def step(self, who: int) -> None:
        """One transfer, or one look at all accounts; first of all the accounts are made."""
        if not self._is_open:
            await self._open()
        elif await self._sender.replay():
            pass
        elif self._rng.random() < READ_CHANCE:
            await self._read(who, next(self._turns))
        else:
            await self._transfer(who)

    async def _open(self) -> None:
        """The accounts come into being in one transaction, once: whoever finds them has them."""
        async with self._opening:
            puts = [{"op": "put", "key": account, "value": str(START)} for account in self._accounts]
            body = {"if": [{"key": self._accounts[0], "exists": False}], "then": puts}
            if not self._is_open:
                told = await self._sender.transact(body)
                self._is_open = told.outcome in (Outcome.DONE, Outcome.FAILED)

    # ---- transfers ----------------------------------------------------------------------------------------------

    async def _transfer(self, who: int) -> None:
        source, target = self._rng.sample(self._accounts, 2)
        found = await self._sender.transact({"then": [{"op": "get", "key": key} for key in (source, target)]})
        if found.outcome is not Outcome.DONE:
            return
        if any(result["status"] != OK for result in found.results):
            raise Anomaly(f"an account is gone: {source}, {target}: {found.results}")
        balances = [int(result["value"]) for result in found.results]
        amount = self._rng.randint(1, AMOUNT_MAX)
        if amount > balances[0]:
            return
        receipt = next(self._receipts)
        etags = [str(result["etag"]) for result in found.results]
        told = await self._sender.transact(self._body(source, target, amount, receipt, balances, etags))
        outcome = told.outcome
        self.transfers.append(Transfer(who, told.begin, told.end, outcome, receipt, source, target, amount))

    def _body(
        self, source: str, target: str, amount: int, receipt: str, balances: Sequence[int], etags: Sequence[str]
    ) -> Document:
        note = {"op": "put", "key": receipt, "value": str(amount)}
        if self._rng.random() < 0.5:
            moves = [
                {"op": "incr", "key": source, "by": -amount},
                {"op": "incr", "key": target, "by": amount},
            ]
            # What the target holds does not matter.
            return {"if": [{"key": source, "etag": etags[0]}], "then": [*moves, note]}
        moves = [
            {"op": "put", "key": source, "value": str(balances[0] - amount)},
            {"op": "put", "key": target, "value": str(balances[1] + amount)},
        ]
        conditions: list[Document] = [{"key": source, "value": str(balances[0])}, {"key": target, "etag": etags[1]}]
        return {"if": conditions, "then": [*moves, note]}

    # ---- snapshots ----------------------------------------------------------------------------------------------

    async def _read(self, who: int, how: str) -> bool:
        """One snapshot; whether it came."""
        begin = time.monotonic()
        results = await (self._by_txn() if how == BY_TXN else self._by_batch())
        if not results:
            return False
        balances = {
            account: int(result["value"])
            for account, result in zip(self._accounts, results, strict=True)
            if result["status"] == OK
        }
        self.snapshots.append(Snapshot(who, begin, time.monotonic(), balances, how))
        return True

    async def _by_txn(self) -> Sequence[Document]:
        told = await self._sender.transact({"then": [{"op": "get", "key": key} for key in self._accounts]})
        return told.results if told.outcome is Outcome.DONE else ()

    async def _by_batch(self) -> Sequence[Document]:
        status, results = await self._sender.snapshot(self._accounts)
        if status not in (OK, *NO_OUTCOMES):
            raise Anomaly(f"a batch of gets was answered with {status}")
        self.unread += status not in (OK, CONFLICT)
        return results if status == OK else ()

    # ---- the end ------------------------------------------------------------------------------------------------

    def tally(self) -> Counter[str]:
        """How many requests were asked, succeeded, and are unknown."""
        by_batch = sum(snapshot.how == BY_BATCH for snapshot in self.snapshots)
        return self._sender.tally() + Counter(asked=by_batch + self.unread, succeeded=by_batch)

    async def read_back(self, patient: Client) -> None:
        """All receipts, and then all accounts, while nothing is harmed."""
        asked = [transfer.receipt for transfer in self.transfers]
        self._found = {key for key, value in (await read_all(patient, asked)).items() if value is not None}
        for _ in range(READ_BACK_TRIES):
            if await self._read(-1, BY_TXN):
                return
            await asyncio.sleep(READ_BACK_PAUSE_S)
        raise Anomaly("the accounts cannot be read although all is well")

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        start = dict.fromkeys(self._accounts, START)
        happened = check_bank(start, self.transfers, self.snapshots, self._found)
        ways = Counter(snapshot.how for snapshot in self.snapshots)
        return (
            f"{happened} transfers, {ways[BY_TXN]} snapshots by transaction and {ways[BY_BATCH]} by batch "
            f"with the same total; {self._sender}"
        )
