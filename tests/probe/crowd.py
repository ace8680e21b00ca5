"""Clients of all workloads at once, at a steady pace, through all gateways.

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

from probe.load import Load
from probe.workloads.append_list import AppendLists, decode_list
from probe.workloads.append_txn import AppendTxns
from probe.workloads.bank import Bank
from probe.workloads.counter import Counters, decode_counter
from probe.workloads.element_set import ElementSet
from probe.workloads.recorder import Recorder
from probe.workloads.register import Registers
from probe.workloads.scan import Ranges, Scans
from probe.workloads.tokens import Sender
from probe.workloads.txn_sender import TxnSender
from probe.workloads.values import Values

from kvstore.client import Client

REQUEST_S = 1.0
READ_BACK_S = 15.0
CLIENTS = {"values": 2, "register": 5, "set": 3, "append": 2, "counter": 2, "scan": 2, "bank": 3, "append_txn": 3}
KEYS_EACH = 200
PAUSE_S = 0.03


class Workload(Protocol):
    """Steps of one client at a time, and what they came to."""

    async def step(self, who: int) -> None: ...
    def tally(self) -> Counter[str]: ...
    async def read_back(self, patient: Client) -> None: ...
    def judge(self) -> str: ...


class Crowd:
    """Use it as `async with Crowd(urls, rng) as crowd`. `counts` says how many clients each workload has."""

    def __init__(self, urls: Sequence[str], rng: random.Random, counts: Mapping[str, int] = CLIENTS) -> None:
        self._urls = urls
        self._rng = rng
        self._counts = counts
        self._is_over = False
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.workloads: dict[str, Workload] = {}

    async def __aenter__(self) -> Crowd:
        clients = [await self._stack.enter_async_context(Client(url, timeout_s=REQUEST_S)) for url in self._urls]
        self.workloads = await self._gather(clients)
        return self

    async def _gather(self, clients: Sequence[Client]) -> dict[str, Workload]:
        sender = await self._stack.enter_async_context(Sender(self._urls, self._rng))
        return {
            "values": Values(clients, Load(CLIENTS["values"], KEYS_EACH, self._rng), first=0),
            "register": Registers(Recorder(clients, self._rng)),
            "set": ElementSet(Recorder(clients, self._rng)),
            "append": AppendLists(Recorder(clients, self._rng, decode_list)),
            "counter": Counters(Recorder(clients, self._rng, decode_counter), sender),
            "scan": Scans(Recorder(clients, self._rng), await self._stack.enter_async_context(Ranges(self._urls))),
            "bank": Bank(await self._txn_sender(), self._rng),
            "append_txn": AppendTxns(clients, await self._txn_sender(), self._rng),
        }

    async def _txn_sender(self) -> TxnSender:
        return await self._stack.enter_async_context(TxnSender(self._urls, self._rng))

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
        async with Client(self._urls[0], timeout_s=READ_BACK_S) as patient:
            for workload in self.workloads.values():
                await workload.read_back(patient)
        return [await asyncio.to_thread(workload.judge) for workload in self.workloads.values()]
