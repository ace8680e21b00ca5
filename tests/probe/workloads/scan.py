"""Scans of keys of which some stand still and others come, change and go: pages, streams, counts, both directions.

The pages of one scan are asked for at one gateway after the other. A page that gets no answer is asked for again; a
stream that is cut off is given up. Keys are ASCII, so their order as text is that of their bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp
from checkers.history import Anomaly, Kind, Op, Outcome
from checkers.scan import Count, Page, Scan, check_scans
from probe.keyspace import VERSION_ROOT
from probe.workloads.recorder import REFUSED_PAUSE_S, Recorder

from kvstore.client import Client

PREFIX = "scan"
# Keys of so many places are one tenant's.
PLACES_EACH = 30
NDJSON = "application/x-ndjson"
STEADY, CHANGING = 60, 60
LIMITS = (7, 25, 60)
PAGE_S, STREAM_S = 1.0, 3.0
TRIES_MAX = 6
READ_BACK_TRIES = 60

Items = tuple[tuple[str, object], ...]


class NoAnswer(Exception):
    """A request was refused, or its answer did not come whole."""


class Ranges:
    """Requests on ranges; use it as `async with Ranges(urls, root) as ranges`. Gateways have their turns."""

    def __init__(self, urls: Sequence[str], root: str = VERSION_ROOT) -> None:
        self._urls = itertools.cycle(urls)
        self._root = root
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def ask(self, query: dict[str, str], *, as_lines: bool = False) -> bytes:
        """One whole answer; raises `NoAnswer`."""
        assert self._session is not None
        headers = {"Accept": NDJSON} if as_lines else {}
        timeout = aiohttp.ClientTimeout(total=STREAM_S if as_lines else PAGE_S)
        url = f"{next(self._urls)}{self._root}/kv"
        try:
            async with self._session.get(url, params=query, headers=headers, timeout=timeout) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(str(error)) from error
        if answer.status != 200:
            raise NoAnswer(f"{answer.status}: {body!r}")
        return body


class Scans:
    """Keys of two sorts, which are written by the clients that scan them."""

    def __init__(self, recorder: Recorder, ranges: Ranges) -> None:
        self.recorder = recorder
        self.scans: list[Scan] = []
        self.counted: list[Count] = []
        self.failed = 0
        self._ranges = ranges
        self._numbers = itertools.count(1)
        # Each key has a name of its own, and its place in the order stays when it gives way to another.
        self._keys = [self._name(place) for place in range(STEADY + CHANGING)]
        self._unwritten = list(self._keys)

    def _name(self, place: int) -> str:
        return f"{PREFIX}{place // PLACES_EACH}/{place:03}-{next(self._numbers)}"

    async def step(self, who: int) -> None:
        """One write, delete, scan or count; first of all each key is written once."""
        chance = self.recorder.rng.random()
        if self._unwritten:
            await self._write(who, self._unwritten.pop())
        elif chance < 0.5:
            await self._change(who)
        elif chance < 0.75:
            await self._note(self._by_pages(who, TRIES_MAX))
        elif chance < 0.9:
            await self._note(self._by_lines(who))
        else:
            await self._note(self._count(who))

    # ---- writes -------------------------------------------------------------------------------------------------

    async def _change(self, who: int) -> None:
        """Write or delete one of those that change, seldom write one of those that stand still."""
        rng = self.recorder.rng
        is_steady = rng.random() < 0.03
        place = 2 * rng.randrange(STEADY) + (not is_steady)
        if not is_steady and rng.random() < 0.4:
            op = await self.recorder.delete(who, self._keys[place])
            self._replace_unknown(place, op)
        else:
            op = await self._write(who, self._keys[place])
            self._replace_unknown(place, op)

    async def _write(self, who: int, key: str) -> Op:
        value = str(next(self._numbers))
        return await self.recorder.write(who, Kind.WRITE, key, value, value)

    def _replace_unknown(self, place: int, op: Op) -> None:
        """What may happen at any time says nothing of whether a key stands still: another takes its place."""
        if op.outcome is Outcome.UNKNOWN and self._keys[place] == op.key:
            self._keys[place] = self._name(place)
            self._unwritten.append(self._keys[place])

    # ---- scans --------------------------------------------------------------------------------------------------

    async def _note(self, asking: Awaitable[None]) -> None:
        """Have it asked, or note that it got no answer."""
        try:
            await asking
        except NoAnswer:
            self.failed += 1
            await asyncio.sleep(REFUSED_PAUSE_S)

    async def _by_pages(self, who: int, tries_max: int) -> None:
        rng = self.recorder.rng
        is_reverse = rng.random() < 0.4
        query = {"prefix": PREFIX, "limit": str(rng.choice(LIMITS)), "reverse": "true" if is_reverse else "false"}
        pages = []
        while True:
            begin, body = await self._page(query, tries_max)
            document = json.loads(body)
            if not document.keys() <= {"items", "cursor"}:
                raise Anomaly(f"no page of a whole scan: {document.keys()}")
            pages.append(Page(begin, time.monotonic(), _items(document["items"])))
            if "cursor" not in document:
                self.scans.append(Scan(who, tuple(pages), PREFIX, is_reverse))
                return
            query = {"cursor": document["cursor"], "limit": query["limit"]}

    async def _page(self, query: dict[str, str], tries_max: int) -> tuple[float, bytes]:
        """When the page that came was asked for, and the page; raises `NoAnswer` after so many tries."""
        for left in reversed(range(tries_max)):
            begin = time.monotonic()
            try:
                return begin, await self._ranges.ask(query)
            except NoAnswer:
                if not left:
                    raise
                await asyncio.sleep(REFUSED_PAUSE_S)
        raise NoAnswer("no tries")

    async def _by_lines(self, who: int) -> None:
        rng = self.recorder.rng
        is_reverse, limit = rng.random() < 0.4, rng.choice((None, None, *LIMITS))
        query = {"prefix": PREFIX, "reverse": "true" if is_reverse else "false"}
        if limit is not None:
            query["limit"] = str(limit)
        begin = time.monotonic()
        body = await self._ranges.ask(query, as_lines=True)
        page = Page(begin, time.monotonic(), _items([json.loads(line) for line in body.splitlines()]))
        self.scans.append(Scan(who, (page,), PREFIX, is_reverse, limit=limit))

    async def _count(self, who: int) -> None:
        begin = time.monotonic()
        document = json.loads(await self._ranges.ask({"prefix": PREFIX, "count": "true"}))
        self.counted.append(Count(who, begin, time.monotonic(), document["count"], PREFIX))

    # ---- the end ------------------------------------------------------------------------------------------------

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded, and are unknown."""
        answered = len(self.scans) + len(self.counted)
        return self.recorder.tally() + Counter(asked=answered + self.failed, succeeded=answered)

    async def read_back(self, patient: Client) -> None:
        """Scan once more in each direction, while nothing is harmed."""
        for _ in range(4):
            await self._by_pages(-1, READ_BACK_TRIES)

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        judged = check_scans(self.recorder.ops, self.scans, self.counted)
        items = sum(len(scan.keys) for scan in self.scans)
        return f"{judged} scans and counts, {items} items in them, each once and none missing"


def _items(documents: Sequence[dict[str, Any]]) -> Items:
    for document in documents:
        if not {"key", "value"} <= document.keys():
            raise Anomaly(f"no item of a whole scan: {document}")
    return tuple((document["key"], document["value"]) for document in documents)
