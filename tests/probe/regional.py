"""Clients that put and read keys of some regions all the time, each request once, and what they were told.

Guarantees: each key belongs to one client, which asks one thing at a time, so what it has to read is known (`ledger`);
what is not answered with success counts as failed. Leaves to others: where the keys are, and what happens meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

import aiohttp
from probe.keyspace import Keyspace
from probe.ledger import Ledger, Lost
from probe.reading import read_all

REQUEST_S = 5.0
REFUSED = (409, 429, 503)
REFUSED_PAUSE_S = 0.2
PAUSE_S = 0.02
KEYS_EACH = 40
READ_CHANCE = 0.5
READ_BACK_S = 15.0


class Regional:
    """Use it as `async with Regional(url, keyspace, regions, rng) as regional`, within which the clients, one for each
    region named, ask. `failed` counts what did not succeed, by what was told."""

    def __init__(self, url: str, keyspace: Keyspace, regions: Sequence[str], rng: random.Random) -> None:
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._url = url
        self._keyspace = keyspace
        self._ledgers = {region: Ledger() for region in regions}
        self._rng = rng
        self._numbers = 0
        self._known: dict[str, bytes] = {}
        self._is_over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Regional:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_S))
        self._tasks = [asyncio.create_task(self._repeat(region)) for region in self._ledgers]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def check(self) -> None:
        """Raises what a client raised."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def read_back(self) -> int:
        """Read every key once more, after the end and while all is well; returns how many there are.

        Raises:
            Lost: one is neither as acknowledged nor as an unknown outcome would leave it.
        """
        keys = [key for ledger in self._ledgers.values() for key in ledger]
        async with self._keyspace.client(self._url, READ_BACK_S) as client:
            values = await read_all(client, keys)
        found = {key: None if one is None else one.data for key, one in values.items()}
        for ledger in self._ledgers.values():
            ledger.check(found)
        return len(keys)

    async def _repeat(self, region: str) -> None:
        while not self._is_over:
            await self._step(region)
            await asyncio.sleep(PAUSE_S)

    async def _step(self, region: str) -> None:
        key = f"{region}/{self._rng.randrange(KEYS_EACH)}"
        if key in self._known and self._rng.random() < READ_CHANCE:
            status, body = await self._ask("GET", key, None)
            if status == 200 and body != self._known[key]:
                raise Lost(f"{key}: {body!r} is read, {self._known[key]!r} was acknowledged")
            return
        self._numbers += 1
        value = f"{region} {self._numbers}".encode()
        ledger = self._ledgers[region]
        asked = ledger.ask(key, value)
        status, _ = await self._ask("PUT", key, value)
        # What is unknown, or may come after what is written next, is judged when it is read back.
        self._known.pop(key, None)
        if status in (201, 204):
            ledger.done(key, asked)
            if not ledger.has_unknown(key):
                self._known[key] = value
        elif status in REFUSED:
            ledger.refuse(key, asked)
            await asyncio.sleep(REFUSED_PAUSE_S)

    async def _ask(self, method: str, key: str, body: bytes | None) -> tuple[int, bytes]:
        url = f"{self._url}{self._keyspace.root}/kv/{key}"
        begun_s = time.monotonic()
        try:
            async with self._session.request(method, url, data=body) as answer:
                status, content = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            status, content = 0, type(error).__name__.encode()
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
        if 200 <= status < 300:
            self.done += 1
        else:
            self.failed[f"{method} {status or content.decode()}"] += 1
        return status, content
