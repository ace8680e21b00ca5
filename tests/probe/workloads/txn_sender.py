"""Transactions over HTTP, each under one `Idempotency-Key`, sent again while its outcome is unknown.

Guarantees: all answers to one token that tell an outcome have to tell the same one: id, branch and results; what was
refused by every attempt (409, 429, 503) is told as not executed, and nothing else is. Leaves to others: what is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from checkers.history import FOR_EVER, Anomaly, Outcome
from probe.keyspace import VERSION_ROOT
from probe.workloads.recorder import REFUSED_PAUSE_S

ATTEMPT_S = 1.0
ATTEMPTS_MAX = 12
PAUSE_S = 0.3
OK, CONFLICT = 200, 409
REFUSALS = (CONFLICT, 429, 503)
NO_OUTCOMES = (0, 504, *REFUSALS)
TWICE_CHANCE, REPLAY_CHANCE, GIVE_UP_CHANCE = 0.1, 0.05, 0.2
# Tokens are remembered for five minutes.
REMEMBERED_S = 200.0

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """How a transaction ended. `DONE`: `then` was taken, `FAILED`: `else`; `results` are those of the branch."""

    outcome: Outcome
    begin: float
    end: float
    results: tuple[Document, ...] = ()


class TxnSender:
    """Use it as `async with TxnSender(urls, rng, root) as sender`. `counts` says how often what was told."""

    def __init__(self, urls: Sequence[str], rng: random.Random, root: str = VERSION_ROOT) -> None:
        self.counts: Counter[str] = Counter()
        self._urls = urls
        self._rng = rng
        self._root = root
        self._numbers = itertools.count(1)
        self._prefix = f"txn-{rng.getrandbits(48):x}"
        self._settled: deque[tuple[float, str, Document, Document]] = deque(maxlen=200)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    def __str__(self) -> str:
        counts = self.counts
        return (
            f"{counts['committed'] + counts['else']} transactions, {counts['conflicts']} conflicts, "
            f"{counts['refused']} refused, {counts['unknown']} unknown, {counts['resent']} sent again, "
            f"{counts['stored results']} stored results"
        )

    def tally(self) -> Counter[str]:
        """How many transactions were asked, succeeded, and are unknown; who lost to another one asks anew."""
        counts = self.counts
        succeeded = counts["committed"] + counts["else"]
        asked = succeeded + counts["refused"] + counts["unknown"]
        return Counter(asked=asked, succeeded=succeeded, unknown=counts["unknown"])

    async def transact(self, body: Document) -> Told:
        """Have it carried out; sometimes send it twice at once, or not again though nobody knows how it ended."""
        rng, token = self._rng, f"{self._prefix}-{next(self._numbers)}"
        begin = time.monotonic()
        times = 2 if rng.random() < TWICE_CHANCE else 1
        answers = list(await asyncio.gather(*(self._attempt(token, body) for _ in range(times))))
        gives_up = rng.random() < GIVE_UP_CHANCE
        while not gives_up and _is_open(answers) and len(answers) < ATTEMPTS_MAX:
            await asyncio.sleep(PAUSE_S)
            answers.append(await self._attempt(token, body))
        self.counts["resent"] += len(answers) > times
        told = self._merge(token, body, answers, begin)
        if told.outcome is Outcome.NOT_EXECUTED and answers[-1][0] != CONFLICT:
            await asyncio.sleep(REFUSED_PAUSE_S)
        return told

    def _merge(self, token: str, body: Document, answers: Sequence[tuple[int, Document]], begin: float) -> Told:
        outcomes = [document for status, document in answers if status == OK]
        for other in outcomes[1:]:
            self._compare(token, body, outcomes[0], other)
        if outcomes:
            document = outcomes[0]
            self._settled.append((time.monotonic(), token, body, document))
            outcome = Outcome.DONE if document["branch"] == "then" else Outcome.FAILED
            self.counts["committed" if outcome is Outcome.DONE else "else"] += 1
            return Told(outcome, begin, time.monotonic(), tuple(document["results"]))
        if all(status in REFUSALS for status, _ in answers):
            self.counts["conflicts" if answers[-1][0] == CONFLICT else "refused"] += 1
            return Told(Outcome.NOT_EXECUTED, begin, time.monotonic())
        self.counts["unknown"] += 1
        return Told(Outcome.UNKNOWN, begin, FOR_EVER)

    async def replay(self) -> bool:
        """Perhaps send one that ended some time ago once more; whether it was."""
        if not self._settled or self._rng.random() >= REPLAY_CHANCE:
            return False
        settled_at, token, body, document = self._rng.choice(self._settled)
        if time.monotonic() - settled_at > REMEMBERED_S:
            return False
        status, again = await self._attempt(token, body)
        if status == OK:
            self._compare(token, body, document, again)
        return True

    async def snapshot(self, keys: Sequence[str]) -> tuple[int, tuple[Document, ...]]:
        """The status and the results of a batch that reads one state."""
        body = {"ops": [{"op": "get", "key": key} for key in keys]}
        status, document = await self._post("batch?consistent=true", body, {})
        return status, tuple(document.get("results", ()))

    def _compare(self, token: str, body: Document, first: Document, again: Document) -> None:
        self.counts["stored results"] += 1
        if first != again:
            raise Anomaly(f"{token} ({body}) was answered with {first}, and also with {again}")

    async def _attempt(self, token: str, body: Document) -> tuple[int, Document]:
        """The status, 0 where there was none, and what was told."""
        status, document = await self._post("txn", body, {"Idempotency-Key": token})
        if status not in (OK, *NO_OUTCOMES):
            raise Anomaly(f"{token} ({body}) was answered with {status}: {document}")
        return status, document

    async def _post(self, path: str, body: Document, headers: dict[str, str]) -> tuple[int, Document]:
        assert self._session is not None
        url = f"{self._rng.choice(self._urls)}{self._root}/{path}"
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_S)
        try:
            async with self._session.post(url, json=body, headers=headers, timeout=timeout) as answer:
                return answer.status, json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, {}


def _is_open(answers: Sequence[tuple[int, Document]]) -> bool:
    """Whether it may have happened, and nobody was told."""
    statuses = [status for status, _ in answers]
    return OK not in statuses and not all(status in REFUSALS for status in statuses)
