"""Lists that transactions append to, several at once, and read: few lists, on different partitions, so many conflict.

A list is the text of one value. A client reads some lists, then asks for a transaction on condition that they still are
as they were read: what was read is part of it by that. It writes the longer lists, and reads some in the same branch;
where a condition does not hold, the other branch reads all of them. Reads before it are recorded as transactions of one
read each.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from checkers.history import Anomaly, Outcome
from checkers.transaction_history import Append, Items, Read, Transaction
from checkers.transactions import check_transactions
from probe.workloads.names import key_name
from probe.workloads.recorder import REFUSED_PAUSE_S
from probe.workloads.txn_sender import Document, Told, TxnSender

from kvstore.client import Client, Get, Value
from kvstore.errors import KeyNotFound, KvError

LIVE_KEYS = 8
ITEMS_EACH = 60
READ_ONLY_CHANCE = 0.25
READ_BACK_KEYS = 100
READ_BACK_TRIES, READ_BACK_PAUSE_S = 60, 0.3


class Seen:
    """A list as it was read, and its version; empty where there was nothing."""

    def __init__(self, text: str = "", etag: str = "") -> None:
        self.items: Items = tuple(text.split())
        self.etag = etag

    def condition(self, key: str) -> Document:
        return {"key": key, "etag": self.etag} if self.etag else {"key": key, "exists": False}


class AppendTxns:
    """A list gives way to a new one when it is long. Args: clients: one for each gateway; sender: of its own."""

    def __init__(self, clients: Sequence[Client], sender: TxnSender, rng: random.Random) -> None:
        self.history: list[Transaction] = []
        self.looks = 0
        self.unread = 0
        self._clients = clients
        self._sender = sender
        self._rng = rng
        self._numbers = itertools.count(1)
        self._live = [key_name("txn-list", next(self._numbers)) for _ in range(LIVE_KEYS)]
        self._keys = list(self._live)

    async def step(self, who: int) -> None:
        """Read some lists, or read and append to some."""
        if await self._sender.replay():
            return
        keys = self._rng.sample(self._live, self._rng.randint(2, 4))
        if self._rng.random() < READ_ONLY_CHANCE:
            await self._read_only(who, keys)
            return
        extra = keys.pop() if len(keys) > 2 else None
        seen = await self._look(who, keys)
        if seen is not None:
            await self._append(who, seen, extra)

    async def _read_only(self, who: int, keys: Sequence[str]) -> bool:
        told = await self._sender.transact({"then": _gets(keys)})
        if told.outcome is Outcome.DONE:
            self._note(who, told, _reads(keys, told.results))
        return told.outcome is Outcome.DONE

    async def _look(self, who: int, keys: Sequence[str]) -> dict[str, Seen] | None:
        """What the lists hold, each at a moment of its own; None where that got no answer."""
        begin = time.monotonic()
        try:
            outcomes = await self._rng.choice(self._clients).batch([Get(key) for key in keys])
        except KvError as error:
            outcomes = [error]
        end = time.monotonic()
        seen: dict[str, Seen] = {}
        for key, outcome in zip(keys, outcomes, strict=False):
            if isinstance(outcome, Value):
                seen[key] = Seen(outcome.data.decode(), outcome.etag)
            elif isinstance(outcome, KeyNotFound):
                seen[key] = Seen()
            else:
                self.unread += 1
                await asyncio.sleep(REFUSED_PAUSE_S)
                return None
        self.looks += 1
        for key, one in seen.items():
            self.history.append(Transaction(who, begin, end, Outcome.DONE, (Read(key, one.items),)))
        return seen

    async def _append(self, who: int, seen: Mapping[str, Seen], extra: str | None) -> None:
        """Append to all of them, or to all but one, which has to stay as it was seen."""
        keys = list(seen)
        appended = keys[: self._rng.randint(1, len(keys))]
        appends = [Append(key, str(next(self._numbers))) for key in appended]
        puts = [
            {"op": "put", "key": key, "value": " ".join(map(str, (*seen[key].items, item)))} for key, item in appends
        ]
        read = [keys[0], *([extra] if extra else [])] if self._rng.random() < 0.7 else []
        body = {
            "if": [one.condition(key) for key, one in seen.items()],
            "then": puts + _gets(read),
            "else": _gets(keys),
        }
        told = await self._sender.transact(body)
        steps: tuple[Append | Read, ...] = (*(Read(key, one.items) for key, one in seen.items()), *appends)
        if told.outcome is Outcome.DONE:
            steps += _reads(read, told.results[len(puts) :])
        self._note(who, told, steps)
        if told.outcome is Outcome.FAILED:
            self._judge_else(seen, told)
            self.history.append(Transaction(who, told.begin, told.end, Outcome.DONE, _reads(keys, told.results)))
        self._rotate(keys, seen)

    def _judge_else(self, seen: Mapping[str, Seen], told: Told) -> None:
        """The other branch is taken only where a condition does not hold."""
        if all(one.etag == result.get("etag", "") for one, result in zip(seen.values(), told.results, strict=True)):
            raise Anomaly(f"`else` though all conditions hold: {told.results}")

    def _note(self, who: int, told: Told, steps: tuple[Append | Read, ...]) -> None:
        self.history.append(Transaction(who, told.begin, told.end, told.outcome, steps))

    def _rotate(self, keys: Sequence[str], seen: Mapping[str, Seen]) -> None:
        for key in keys:
            if len(seen[key].items) >= ITEMS_EACH and key in self._live:
                new = key_name("txn-list", next(self._numbers))
                self._live[self._live.index(key)] = new
                self._keys.append(new)

    def tally(self) -> Counter[str]:
        """How many requests were asked, succeeded, and are unknown."""
        return self._sender.tally() + Counter(asked=self.looks + self.unread, succeeded=self.looks)

    async def read_back(self, patient: Client) -> None:
        """Read every list once more, while nothing is harmed."""
        for first in range(0, len(self._keys), READ_BACK_KEYS):
            await self._read_patiently(self._keys[first : first + READ_BACK_KEYS])

    async def _read_patiently(self, keys: Sequence[str]) -> None:
        for _ in range(READ_BACK_TRIES):
            if await self._read_only(-1, keys):
                return
            await asyncio.sleep(READ_BACK_PAUSE_S)
        raise Anomaly("lists cannot be read although all is well")

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        count = check_transactions(self.history)
        return f"{count} transactions and reads of {len(self._keys)} lists strictly serializable; {self._sender}"


def _gets(keys: Sequence[str]) -> list[Document]:
    return [{"op": "get", "key": key} for key in keys]


def _reads(keys: Sequence[str], results: Sequence[Document]) -> tuple[Read, ...]:
    return tuple(
        Read(key, tuple(result["value"].split()) if result["status"] == 200 else ())
        for key, result in zip(keys, results, strict=True)
    )
