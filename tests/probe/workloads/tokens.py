"""One request, sent several times through different gateways under one `Idempotency-Key`.

Guarantees: all answers to one token have to be the same outcome with the same version; an outcome that one attempt
was told is the outcome, whatever became of the others. Leaves to others: what is asked.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

import aiohttp
from checkers.history import Anomaly, Outcome
from probe.keyspace import VERSION_ROOT

ATTEMPT_S = 1.0
ATTEMPTS_MAX = 10
PAUSE_S = 0.3
NOT_BUILT = 501


@dataclass(frozen=True, slots=True)
class Sent:
    """A put, or a delete (no body). `version`: only over that one; empty: only where there is nothing; None: over
    anything."""

    key: str
    body: bytes | None
    token: str
    version: str | None

    @property
    def method(self) -> str:
        return "DELETE" if self.body is None else "PUT"

    def path(self, root: str) -> str:
        """In the keyspace whose paths begin with `root`."""
        return f"{root}/kv/{quote(self.key)}"

    def headers(self, has_tokens: bool) -> dict[str, str]:
        """Its conditions and its token."""
        headers = {"Idempotency-Key": self.token} if has_tokens else {}
        if self.version is not None:
            headers.update({"If-Match": f'"{self.version}"'} if self.version else {"If-None-Match": "*"})
        return headers


class Sender:
    """Use it as `async with Sender(urls, rng, root) as sender`. `repeated` counts answers beyond the first of each
    token."""

    def __init__(self, urls: Sequence[str], rng: random.Random, root: str = VERSION_ROOT) -> None:
        self.has_tokens = False
        self.repeated = 0
        self._urls = urls
        self._rng = rng
        self._root = root
        self._prefix = f"{rng.getrandbits(48):x}-"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Sender:
        self._session = aiohttp.ClientSession(
            # On a connection that was used before, aiohttp would send a put a second time by itself.
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_S),
        )
        status, _ = await self._attempt(Sent("tokens-tried", b"1", "try", None), self._urls[0], has_tokens=True)
        self.has_tokens = status != NOT_BUILT
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def send(self, sent: Sent, times: int) -> tuple[Outcome, str]:
        """Send it so many times, at once or one after the other, and with tokens again until the outcome is known."""
        gateways = self._in_turn()
        if not self.has_tokens:
            return merge([await self._attempt(sent, next(gateways), has_tokens=False)])
        if self._rng.random() < 0.5:
            answers = list(await asyncio.gather(*(self._attempt(sent, next(gateways)) for _ in range(times))))
        else:
            answers = [await self._attempt(sent, next(gateways)) for _ in range(times)]
        for _ in range(ATTEMPTS_MAX):
            if any(is_outcome(status) for status, _ in answers):
                break
            await asyncio.sleep(PAUSE_S)
            answers.append(await self._attempt(sent, next(gateways)))
        outcomes = {answer for answer in answers if is_outcome(answer[0])}
        self.repeated += max(0, sum(is_outcome(status) for status, _ in answers) - 1)
        if len(outcomes) > 1:
            raise Anomaly(f"{sent} was answered with {sorted(outcomes)}")
        return merge(answers)

    def _in_turn(self) -> Iterator[str]:
        """The gateways, one after the other, for ever; which is the first is left to chance."""
        first = self._rng.randrange(len(self._urls))
        return itertools.cycle([*self._urls[first:], *self._urls[:first]])

    def _headers(self, sent: Sent, has_tokens: bool = True) -> dict[str, str]:
        return replace(sent, token=self._prefix + sent.token).headers(has_tokens)

    async def _attempt(self, sent: Sent, url: str, has_tokens: bool = True) -> tuple[int, str]:
        """The status, 0 where there was none, and the version."""
        assert self._session is not None
        headers, target = self._headers(sent, has_tokens), url + sent.path(self._root)
        try:
            async with self._session.request(sent.method, target, data=sent.body, headers=headers) as answer:
                return answer.status, answer.headers.get("ETag", "").strip('"')
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, ""


def is_outcome(status: int) -> bool:
    """Whether it tells how the write ended."""
    return 200 <= status < 300 or status == 412


def merge(answers: Sequence[tuple[int, str]]) -> tuple[Outcome, str]:
    """What the answers to one write tell together."""
    for status, version in answers:
        if is_outcome(status):
            return (Outcome.DONE, version) if status < 300 else (Outcome.FAILED, "")
    # 503 promises of its own attempt only that nothing was applied.
    is_refused = all(status in (409, 429, 503) for status, _ in answers)
    return (Outcome.NOT_EXECUTED if is_refused else Outcome.UNKNOWN), ""
