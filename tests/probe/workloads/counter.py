"""Counters whose every increment is sent two or three times, through different gateways, with one token.

Where the server knows no tokens yet, each is sent once. Some counters are shared, and counted up by cas; each client
has one of its own, which it counts up without a condition: a second application would be a second version.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque

from checkers.counter import check_counters, number
from checkers.history import FOR_EVER, Anomaly, Kind, Op, Outcome
from probe.workloads.names import key_name
from probe.workloads.recorder import NOTHING, Recorder, rest
from probe.workloads.tokens import Sender, Sent

from kvstore.client import Client

SHARED = (key_name("shared", 1), key_name("shared", 2))
REMEMBERED_S = 200.0
REPLAY_CHANCE = 0.1


def decode_counter(text: str) -> tuple[int, str]:
    """A value as the count and the token of the last increment."""
    count, _, token = text.partition(" ")
    return int(count), token


class Counters:
    """Args: sender: sends one request through several gateways."""

    def __init__(self, recorder: Recorder, sender: Sender) -> None:
        self.recorder = recorder
        self._sender = sender
        self._numbers = itertools.count(1)
        self._own: dict[int, str] = {}
        self._keys = set(SHARED)
        self._settled: deque[tuple[float, Sent, str]] = deque(maxlen=200)
        self.replayed = 0

    async def step(self, who: int) -> None:
        """One increment, or once more an old one."""
        rng = self.recorder.rng
        if self._sender.has_tokens and self._settled and rng.random() < REPLAY_CHANCE:
            await self._replay()
            return
        is_shared = rng.random() < 0.5
        key = (
            rng.choice(SHARED) if is_shared else self._own.setdefault(who, key_name(f"own-{who}", next(self._numbers)))
        )
        self._keys.add(key)
        seen = await self.recorder.read(who, key)
        if seen is None:
            return
        token = f"t{next(self._numbers)}"
        count = number(seen) + 1
        request = Sent(key, f"{count} {token}".encode(), token, (seen.version or NOTHING) if is_shared else None)
        begin = time.monotonic()
        outcome, version = await self._sender.send(request, 2 + (rng.random() < 0.5))
        end = FOR_EVER if outcome is Outcome.UNKNOWN else time.monotonic()
        kind = Kind.CAS if is_shared else Kind.WRITE
        self.recorder.note(Op(who, kind, key, begin, end, outcome, (count, token), version=version))
        await rest(outcome)
        if outcome is Outcome.DONE:
            self._settled.append((end, request, version))
        elif outcome is Outcome.UNKNOWN:
            # It may still be under way, and would then overwrite what is counted next without any fault of the store's.
            self._own.pop(who, None)

    async def _replay(self) -> None:
        settled_at, request, version = self.recorder.rng.choice(self._settled)
        if time.monotonic() - settled_at > REMEMBERED_S:
            return
        outcome, told = await self._sender.send(request, 1)
        if outcome in (Outcome.DONE, Outcome.FAILED):
            self.replayed += 1
            if (outcome, told) != (Outcome.DONE, version):
                raise Anomaly(f"{request} was answered with version {version}, and later with {outcome.value} {told}")

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded, and are unknown."""
        return self.recorder.tally()

    async def read_back(self, patient: Client) -> None:
        """Read every counter once more."""
        await self.recorder.read_back(patient, sorted(self._keys))

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        counted = check_counters(self.recorder.ops)
        if not self._sender.has_tokens:
            return f"{counted} increments counted once (sent once each: the server takes no tokens)"
        return f"{counted} increments counted once, {self._sender.repeated} sent again, {self.replayed} much later"
