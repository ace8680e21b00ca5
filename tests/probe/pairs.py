"""Clients that write the same text under two keys of different partitions, by transactions, and what they were told.

Guarantees: a pair belongs to one client, which asks one thing at a time; one whose outcome is unknown is not written
again, so how that ended can be told. Leaves to others: the cluster, and what happens to it meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from probe.reading import read_all

from kvstore.client import Client

# Longer than a transaction may take.
ANSWER_S = 8.0
WRITES_EACH = 10
REFUSED_PAUSE_S = 0.1
REFUSALS = (409, 429, 503)


class Torn(AssertionError):
    """A transaction is there in part, lost, or there though it was refused."""


@dataclass
class Pair:
    """`settled` is the text of the last transaction that was acknowledged, `asked` one of which nobody knows."""

    keys: tuple[str, str]
    settled: str | None = None
    asked: str | None = None
    writes: int = 0

    def fate(self, found: Mapping[str, str | None]) -> str:
        """What became of the one that nobody knew of: `committed` or `aborted`, empty where there is none.

        Raises:
            Torn: the keys hold what no whole transaction left.
        """
        one, other = (found[key] for key in self.keys)
        is_there = self.asked is not None and one == self.asked
        if one != other or not (is_there or one == self.settled):
            raise Torn(f"{self} reads {one!r} and {other!r}")
        if self.asked is None:
            return ""
        return "committed" if is_there else "aborted"


class PairWriters:
    """Args: tags: hash tags, each of another partition; clients: how many write at a time."""

    def __init__(self, tags: Sequence[str], clients: int, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._tags = tags
        self._clients = clients
        self._rng = rng
        self._numbers = itertools.count(1)
        self._pairs: list[Pair] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    def start(self, url: str, pause_s: float, *, is_over_with_the_first_unknown: bool = False) -> None:
        """Begin to write, through this gateway."""
        self._is_stopping = False
        self._tasks = [
            asyncio.create_task(self._write(url, pause_s, is_over_with_the_first_unknown)) for _ in range(self._clients)
        ]

    async def stop(self) -> None:
        """Let each client end what it has under way."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    async def check(self, client: Client) -> Counter[str]:
        """Read all pairs back, while nobody writes and nothing is in doubt; how many of unknown fate were `committed`
        and how many `aborted`. They are not looked at again.

        Raises:
            Torn: one is none that whole transactions leave.
        """
        values = await read_all(client, [key for pair in self._pairs for key in pair.keys])
        found = {key: None if value is None else value.data.decode() for key, value in values.items()}
        fates = Counter(filter(None, (pair.fate(found) for pair in self._pairs)))
        self._pairs.clear()
        return fates

    async def _write(self, url: str, pause_s: float, is_over_with_the_first_unknown: bool) -> None:
        pair = self._new()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S)) as session:
            while not self._is_stopping:
                await self._transact(session, url, pair)
                if pair.asked is not None and is_over_with_the_first_unknown:
                    return
                if pair.asked is not None or pair.writes >= WRITES_EACH:
                    pair = self._new()
                await asyncio.sleep(pause_s)

    def _new(self) -> Pair:
        number = next(self._numbers)
        one, other = self._rng.sample(self._tags, 2)
        self._pairs.append(Pair((f"{{{one}}}/pair-{number}/a", f"{{{other}}}/pair-{number}/b")))
        return self._pairs[-1]

    async def _transact(self, session: aiohttp.ClientSession, url: str, pair: Pair) -> None:
        text = f"v{next(self._numbers)}"
        pair.asked, pair.writes = text, pair.writes + 1
        body = {"then": [{"op": "put", "key": key, "value": text} for key in pair.keys]}
        try:
            async with session.post(f"{url}/v1/txn", json=body) as answer:
                status = answer.status
        except aiohttp.ClientConnectorError:
            # Nobody listens: nothing was sent.
            status = 503
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = 0
        self.counts["acknowledged" if status == 200 else "refused" if status in REFUSALS else "unknown"] += 1
        if status == 200:
            pair.settled, pair.asked = text, None
        elif status in REFUSALS:
            pair.asked = None
            await asyncio.sleep(0.0 if status == 409 else REFUSED_PAUSE_S)
        elif status not in (0, 504):
            raise Torn(f"{pair} was answered with {status}")


async def tags_apart(client: Client, count: int) -> list[str]:
    """So many hash tags, each of another partition."""
    tags: dict[int, str] = {}
    for number in itertools.count():
        tag = f"t{number}"
        tags.setdefault((await client.locate(f"{{{tag}}}"))["partition"], tag)
        if len(tags) == count:
            return list(tags.values())
    raise AssertionError("there is no last number")
