"""Clients of all workloads at once, at a steady pace, through all gateways, on one keyspace or on several.

Guarantees: each client asks one thing at a time, with a second to be answered in; what the checkers judge is recorded.
Leaves to others: harm, and when to end.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

from probe.keyspace import DEFAULT, DEFAULT_KEYSPACE, KEYSPACES, Keyspace
from probe.load import Load
from probe.workloads.append_list import AppendLists, decode_list
from probe.workloads.append_txn import AppendTxns
from probe.workloads.bank import Bank
from probe.workloads.counter import Counters, decode_counter
from probe.workloads.element_set import ElementSet
from probe.workloads.recorder import Recorder
from probe.workloads.register import Registers
from probe.workloads.scan import Ranges, Scans
from probe.workloads.tide import Tide, decode_padded
from probe.workloads.tokens import Sender
from probe.workloads.txn_sender import TxnSender
from probe.workloads.values import Values

from kvstore.client import Client

REQUEST_S = 1.0
READ_BACK_S = 15.0
CLIENTS = {"values": 2, "register": 5, "set": 3, "append": 2, "counter": 2, "scan": 2, "bank": 3, "append_txn": 3}
# On each of several keyspaces.
FEWER = {"values": 1, "register": 3, "set": 1, "append": 1, "counter": 1, "scan": 2, "bank": 2, "append_txn": 2}
TIDE = {"tide": 3}
KEYS_EACH = 200
PAUSE_S = 0.03


class Workload(Protocol):
    """Steps of one client at a time, and what they came to."""

    async def step(self, who: int) -> None: ...
    def tally(self) -> Counter[str]: ...
    async def read_back(self, patient: Client) -> None: ...
    def judge(self) -> str: ...


class Crowd:
    """Use it as `async with Crowd(urls, rng) as crowd`. `counts` says how many clients each workload has; one that it
    does not name is left out."""

    def __init__(
        self,
        urls: Sequence[str],
        rng: random.Random,
        counts: Mapping[str, int] = CLIENTS,
        keyspace: Keyspace = DEFAULT_KEYSPACE,
    ) -> None:
        self._urls = urls
        self._rng = rng
        self._counts = counts
        self._keyspace = keyspace
        self._is_over = False
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.workloads: dict[str, Workload] = {}

    async def __aenter__(self) -> Crowd:
        clients = [await self._stack.enter_async_context(self._keyspace.client(url, REQUEST_S)) for url in self._urls]
        gathered = await self._gather(clients)
        self.workloads = {name: gathered[name] for name in self._counts}
        return self

    async def _gather(self, clients: Sequence[Client]) -> dict[str, Workload]:
        root = self._keyspace.root
        sender = await self._stack.enter_async_context(Sender(self._urls, self._rng, root))
        ranges = await self._stack.enter_async_context(Ranges(self._urls, root))
        return {
            "values": Values(clients, Load(self._counts.get("values", 0), KEYS_EACH, self._rng), first=0),
            "register": Registers(Recorder(clients, self._rng)),
            "set": ElementSet(Recorder(clients, self._rng)),
            "append": AppendLists(Recorder(clients, self._rng, decode_list)),
            "counter": Counters(Recorder(clients, self._rng, decode_counter), sender),
            "scan": Scans(Recorder(clients, self._rng), ranges),
            "bank": Bank(await self._txn_sender(), self._rng),
            "append_txn": AppendTxns(clients, await self._txn_sender(), self._rng),
            "tide": Tide(Recorder(clients, self._rng, decode_padded)),
        }

    async def _txn_sender(self) -> TxnSender:
        return await self._stack.enter_async_context(TxnSender(self._urls, self._rng, self._keyspace.root))

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def start(self) -> None:
        """Let all clients begin."""
        who = 0  # Clients are numbered through, those of `values` first.
        for name, count in self._counts.items():
            for _ in range(count):
                self._tasks.append(asyncio.create_task(self._repeat(self.workloads[name], who)))
                who += 1

    async def _repeat(self, workload: Workload, who: int) -> None:
        while not self._is_over:
            await workload.step(who)
            await asyncio.sleep(PAUSE_S)

    def check(self) -> None:
        """Raises what a client raised."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """Let every client end what it has under way and has to be recorded; raises what one of them raised."""
        self._is_over = True
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    def tally(self) -> Counter[str]:
        """Operations in all: asked, succeeded, unknown."""
        return sum((workload.tally() for workload in self.workloads.values()), Counter())

    async def judge(self) -> list[str]:
        """Read everything back, while nothing is harmed and nobody writes, and judge it."""
        async with self._keyspace.client(self._urls[0], READ_BACK_S) as patient:
            for workload in self.workloads.values():
                await workload.read_back(patient)
        return [await asyncio.to_thread(workload.judge) for workload in self.workloads.values()]


class Crowds:
    """A crowd on each keyspace: the default one, and those that are named. Use it as
    `async with Crowds(urls, rng, names) as crowds`.

    Args:
        counts: how many clients each workload has on each keyspace, by the keyspace's name.
    """

    def __init__(self, urls: Sequence[str], rng: random.Random, counts: Mapping[str, Mapping[str, int]]) -> None:
        self._crowds = {
            name: Crowd(urls, rng, clients, KEYSPACES.get(name, DEFAULT_KEYSPACE)) for name, clients in counts.items()
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Crowds:
        for crowd in self._crowds.values():
            await self._stack.enter_async_context(crowd)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def start(self) -> None:
        """Let all clients begin."""
        for crowd in self._crowds.values():
            crowd.start()

    def check(self) -> None:
        """Raises what a client raised."""
        for crowd in self._crowds.values():
            crowd.check()

    async def stop(self) -> None:
        """As `Crowd.stop`, on all keyspaces at once."""
        await asyncio.gather(*(crowd.stop() for crowd in self._crowds.values()))

    def tally(self) -> Counter[str]:
        """Operations in all: asked, succeeded, unknown."""
        return sum((crowd.tally() for crowd in self._crowds.values()), Counter())

    async def judge(self) -> list[str]:
        """As `Crowd.judge`; of another keyspace than the default one each line begins with its name."""
        verdicts = []
        for name, crowd in self._crowds.items():
            told = await crowd.judge()
            verdicts += told if name == DEFAULT else [f"{name}: {verdict}" for verdict in told]
        return verdicts


def clients_on(keyspaces: Sequence[str]) -> dict[str, Mapping[str, int]]:
    """How many clients of each workload are on the default keyspace and on each of these; rising keys only on one that
    is split."""
    if not keyspaces:
        return {DEFAULT: CLIENTS}
    return {DEFAULT: FEWER, **{name: FEWER | TIDE if name == "range" else FEWER for name in keyspaces}}
