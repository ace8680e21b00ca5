"""One workload's clients: they ask through all gateways, and everything they are told is written down.

Guarantees: an operation is recorded once, with the times before it left and after its answer came; what the server
promised not to have applied is told from what is unknown. Leaves to others: what to ask (one workload each), and what
the answers mean (`checkers`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from checkers.history import FOR_EVER, Kind, Op, Outcome
from probe.reading import read_all

from kvstore.client import Client, Value, Written
from kvstore.errors import KeyNotFound, KvError, PreconditionFailed

NOTHING = ""
REFUSED_PAUSE_S = 0.3


class Recorder:
    """Args: clients: one for each gateway; decode: what a value's text stands for."""

    def __init__(self, clients: Sequence[Client], rng: random.Random, decode: Callable[[str], object] = str) -> None:
        self.ops: list[Op] = []
        self.counts: Counter[Outcome] = Counter()
        self.unread = 0
        self.rng = rng
        self._clients = clients
        self._decode = decode

    async def read(self, who: int, key: str) -> Op | None:
        """Read one key; None where that got no answer."""
        begin = time.monotonic()
        try:
            value = await self.rng.choice(self._clients).get(key)
        except KeyNotFound:
            return self._note_read(who, key, begin, None)
        except KvError:
            self.unread += 1
            await asyncio.sleep(REFUSED_PAUSE_S)
            return None
        return self._note_read(who, key, begin, value)

    async def write(
        self,
        who: int,
        kind: Kind,
        key: str,
        asked: object,
        text: str,
        expected: object = None,
        version: str | None = None,
    ) -> Op:
        """Put `text`, which means `asked`.

        Args:
            version: only over that one; empty: only where there is nothing; None: over anything.
        """
        begin = time.monotonic()
        outcome, etag = await self._put(key, text.encode(), version)
        op = self.note(Op(who, kind, key, begin, _end(outcome), outcome, asked, expected, None, etag))
        await rest(outcome)
        return op

    async def delete(self, who: int, key: str, version: str | None = None) -> Op:
        """Delete one key; where there is a version, only that one."""
        begin = time.monotonic()
        outcome = await self._delete(key, version)
        op = self.note(Op(who, Kind.DELETE, key, begin, _end(outcome), outcome))
        await rest(outcome)
        return op

    async def _put(self, key: str, body: bytes, version: str | None) -> tuple[Outcome, str]:
        """How it ended, and the version that it left."""
        try:
            written: Written = await self.rng.choice(self._clients).put(
                key, body, if_match=version or None, if_none_match="*" if version == NOTHING else None
            )
        except KvError as error:
            return _outcome(error), NOTHING
        return Outcome.DONE, written.etag

    async def _delete(self, key: str, version: str | None) -> Outcome:
        try:
            await self.rng.choice(self._clients).delete(key, if_match=version or None)
        except KvError as error:
            return _outcome(error)
        return Outcome.DONE

    async def read_back(self, patient: Client, keys: Sequence[str]) -> None:
        """Read all of these keys, while nothing is harmed; raises what stands in the way."""
        begin = time.monotonic()
        for key, value in (await read_all(patient, keys)).items():
            self._note_read(-1, key, begin, value)

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded (a cas that failed in a clear way did), and are unknown."""
        counts = self.counts
        succeeded = counts[Outcome.DONE] + counts[Outcome.FAILED]
        return Counter(asked=counts.total() + self.unread, succeeded=succeeded, unknown=counts[Outcome.UNKNOWN])

    def note(self, op: Op) -> Op:
        """Write an operation down."""
        self.ops.append(op)
        self.counts[op.outcome] += 1
        return op

    def _note_read(self, who: int, key: str, begin: float, value: Value | None) -> Op:
        found = None if value is None else self._decode(value.data.decode())
        version = NOTHING if value is None else value.etag
        return self.note(Op(who, Kind.READ, key, begin, time.monotonic(), Outcome.DONE, found=found, version=version))


async def rest(outcome: Outcome) -> None:
    """Let a client that was refused wait before it asks again, as it was told to."""
    if outcome is Outcome.NOT_EXECUTED:
        await asyncio.sleep(REFUSED_PAUSE_S)


def _outcome(error: KvError) -> Outcome:
    if isinstance(error, PreconditionFailed):
        return Outcome.FAILED
    return Outcome.NOT_EXECUTED if error.definite else Outcome.UNKNOWN


def _end(outcome: Outcome) -> float:
    return FOR_EVER if outcome is Outcome.UNKNOWN else time.monotonic()
