"""Clients that write and read for as long as they are let, and what they were told.

Guarantees: each key belongs to one client, which asks one thing at a time, so what may be read back is known
(`ledger`). Leaves to others: the cluster, and what happens to it meanwhile.
"""

from __future__ import annotations

import asyncio
import random

from probe.ledger import Ledger, Stored
from probe.reading import read_all

from kvstore.client import Client
from kvstore.errors import KvError

DELETE_CHANCE = 0.15
SIZES = (20,) * 50 + (100,) * 100 + (2_000,) * 20 + (20_000,) * 4 + (300_000,)


class Load:
    """Args: clients: how many there are; keys_each: how many keys each has; rng: of keys, sizes and order."""

    def __init__(self, clients: int, keys_each: int, rng: random.Random) -> None:
        self.clients = clients
        self._keys_each = keys_each
        self._rng = rng
        self._ledgers = [Ledger() for _ in range(clients)]
        self._values = 0
        self._is_stopping = False

    def counts(self) -> tuple[int, int, int]:
        """Writes that were acknowledged, refused, and whose outcome is unknown."""
        ledgers = self._ledgers
        return sum(x.acknowledged for x in ledgers), sum(x.refused for x in ledgers), sum(x.unknown for x in ledgers)

    def start(self, client: Client, pause_s: float = 0.0) -> list[asyncio.Task[None]]:
        """Begin to write; `stop` ends it. `pause_s` is how long each client rests after each answer."""
        self._is_stopping = False
        return [asyncio.create_task(self._write(client, number, pause_s)) for number in range(self.clients)]

    async def stop(self, writers: list[asyncio.Task[None]]) -> None:
        """End what `start` began, each client after its answer: a request that is given up half-way could still happen
        while the keys are read back."""
        self._is_stopping = True
        await asyncio.gather(*writers)

    async def check(self, client: Client) -> int:
        """Read every key that was ever written back, while nobody writes; returns how many there are.

        Raises:
            Lost: one is neither as acknowledged nor as an unknown outcome would leave it.
        """
        keys = [key for ledger in self._ledgers for key in ledger]
        values = await read_all(client, keys)
        found: dict[str, Stored] = {key: None if one is None else one.data for key, one in values.items()}
        for ledger in self._ledgers:
            ledger.check(found)
        return len(keys)

    def live(self) -> dict[str, bytes]:
        """The keys that hold a value, after `check`."""
        return {key: value for ledger in self._ledgers for key, value in ledger.live().items()}

    async def step(self, client: Client, number: int) -> None:
        """One write of one client, whose outcome is noted."""
        ledger, rng = self._ledgers[number], self._rng
        key = f"c{number}/{rng.randrange(self._keys_each)}"
        value = None if rng.random() < DELETE_CHANCE else self._next_value(rng)
        asked = ledger.ask(key, value)
        try:
            if value is None:
                await client.delete(key)
            else:
                await client.put(key, value)
        except KvError as error:
            if error.definite:
                ledger.refuse(key, asked)
        else:
            ledger.done(key, asked)

    async def _write(self, client: Client, number: int, pause_s: float) -> None:
        while not self._is_stopping:
            await self.step(client, number)
            await asyncio.sleep(pause_s)

    def _next_value(self, rng: random.Random) -> bytes:
        self._values += 1
        return f"{self._values:>12}".encode().ljust(rng.choice(SIZES), b".")
