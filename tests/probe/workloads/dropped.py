"""Writes whose first answers are dropped: sent, the connection closed, and sent again through the next gateway.

Guarantees: each is sent again under its token until an answer is read that tells its outcome, or `PATIENCE_S` is over;
an answer that can be none to such a write is an anomaly. Leaves to others: what is asked, and whether it was applied
once (`checkers`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from checkers.history import Anomaly, Outcome
from probe.workloads.recorder import NOTHING, Recorder
from probe.workloads.tokens import ATTEMPT_S, PAUSE_S, Sender, Sent, is_outcome, merge

from kvstore.client import Client

PATIENCE_S = 60.0
SOON_S = 0.02
# No answer, and what says that the same request may be sent again.
NO_OUTCOMES = (0, 429, 503, 504)


class Dropping(Sender):
    """`retried` counts writes that took effect and whose first answer was dropped, `failed` those that were told that
    their condition did not hold."""

    def __init__(self, urls: Sequence[str], rng: random.Random) -> None:
        super().__init__(urls, rng)
        self.retried = 0
        self.failed = 0

    async def send(self, sent: Sent, times: int) -> tuple[Outcome, str]:
        """Send it so many times, through one gateway after the other, dropping every answer but the last, which is
        asked for until it tells the outcome."""
        gateways = self._in_turn()
        for _ in range(times - 1):
            await self._drop(sent, next(gateways))
        end = asyncio.get_running_loop().time() + PATIENCE_S
        answers = [await self._attempt(sent, next(gateways))]
        while not is_outcome(answers[-1][0]) and asyncio.get_running_loop().time() < end:
            if answers[-1][0] not in NO_OUTCOMES:
                raise Anomaly(f"{sent} was answered with {answers[-1][0]}")
            await asyncio.sleep(PAUSE_S)
            answers.append(await self._attempt(sent, next(gateways)))
        # Once it was sent without an answer, no refusal of a later attempt tells that it did not happen.
        outcome, version = merge(answers[-1:]) if is_outcome(answers[-1][0]) else (Outcome.UNKNOWN, NOTHING)
        if times > 1:
            self.repeated += 1
            self.retried += outcome is Outcome.DONE
            self.failed += outcome is Outcome.FAILED
        return outcome, version

    async def _drop(self, sent: Sent, url: str) -> None:
        """Send it whole and close the connection: within a moment, or when its answer begins to come."""
        gateway = urlsplit(url)
        reader, writer = await asyncio.open_connection(gateway.hostname, gateway.port)
        try:
            writer.write(self._raw(sent, gateway.netloc))
            await writer.drain()
            if self._rng.random() < 0.5:
                await asyncio.sleep(SOON_S * self._rng.random())
            else:
                with contextlib.suppress(TimeoutError, OSError):
                    async with asyncio.timeout(ATTEMPT_S):
                        await reader.read(1)
        finally:
            writer.transport.abort()

    def _raw(self, sent: Sent, host: str) -> bytes:
        body = sent.body or b""
        headers = {"Host": host, "Content-Length": str(len(body)), **self._headers(sent)}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"{sent.method} {sent.path(self._root)} HTTP/1.1\r\n{lines}\r\n".encode() + body


class RetriedRecorder(Recorder):
    """A recorder whose writes have their first answers dropped; reads go through the clients."""

    def __init__(
        self,
        clients: Sequence[Client],
        sender: Dropping,
        rng: random.Random,
        decode: Callable[[str], object] = str,
    ) -> None:
        super().__init__(clients, rng, decode)
        self._sender = sender
        self._tokens = itertools.count(1)

    async def _put(self, key: str, body: bytes, version: str | None) -> tuple[Outcome, str]:
        return await self._send(key, body, version)

    async def _delete(self, key: str, version: str | None) -> Outcome:
        return (await self._send(key, None, version))[0]

    async def _send(self, key: str, body: bytes | None, version: str | None) -> tuple[Outcome, str]:
        sent = Sent(key, body, f"w{next(self._tokens)}", version)
        return await self._sender.send(sent, 2 + (self.rng.random() < 0.3))
