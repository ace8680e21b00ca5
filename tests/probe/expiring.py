"""Clients that store keys with a time to live: long ones must stay, short ones must be gone in the end.

Guarantees: each key is written once; what is judged is what was acknowledged. Leaves to others: the cluster, and what
happens to it meanwhile.
"""

from __future__ import annotations

import asyncio
import random

from probe.reading import read_all

from kvstore.client import Client
from kvstore.errors import KvError

SHORT_S = 3.0
LONG_S = 86_400.0


class TimeWrong(AssertionError):
    """A key is gone before its time, or there after it."""


class Expiring:
    """Args: clients: how many there are; rng: draws which keys live long."""

    def __init__(self, clients: int, rng: random.Random) -> None:
        self.failed = 0
        self._clients = clients
        self._rng = rng
        self._long: list[str] = []
        self._short: list[str] = []
        self._is_stopping = False

    def start(self, client: Client, pause_s: float) -> list[asyncio.Task[None]]:
        """Begin to write; `stop` ends it. `pause_s` is how long each client rests after each answer."""
        return [asyncio.create_task(self._write(client, number, pause_s)) for number in range(self._clients)]

    async def stop(self, writers: list[asyncio.Task[None]]) -> None:
        """End what `start` began, and wait until the last short time is over."""
        self._is_stopping = True
        await asyncio.gather(*writers)
        await asyncio.sleep(SHORT_S)

    async def check(self, client: Client) -> tuple[int, int]:
        """Read all back; returns how many are there and how many are gone, as they should be."""
        values = await read_all(client, [*self._long, *self._short])
        missing = [key for key in self._long if values[key] is None]
        there = [key for key in self._short if values[key] is not None]
        if missing or there:
            raise TimeWrong(f"gone before their time: {missing[:5]}; there after it: {there[:5]}")
        return len(self._long), len(self._short)

    async def _write(self, client: Client, number: int, pause_s: float) -> None:
        written = 0
        while not self._is_stopping:
            written += 1
            is_long = self._rng.random() < 0.5
            key = f"expiring-{number}-{written}"
            try:
                await client.put(key, b"x" * 100, ttl_s=LONG_S if is_long else SHORT_S)
            except KvError:
                self.failed += 1
            else:
                (self._long if is_long else self._short).append(key)
            await asyncio.sleep(pause_s)
