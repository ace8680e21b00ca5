"""Keys that rise with time, put at the upper end of a range and deleted at the lower one: a flood, then an ebb, again.

A range keyspace has to split where the keys come up, and to merge what they leave behind. Each is put once, only where
there is nothing, and deleted as it was put; none may be missing, none may come back.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque

from checkers.element_set import check_set
from checkers.history import Kind, Outcome
from probe.workloads.recorder import NOTHING, Recorder

from kvstore.client import Client

HIGH, LOW = 400, 20
VALUE_BYTES = 2000
READ_CHANCE = 0.2


def decode_padded(text: str) -> str:
    """A value without what makes it long."""
    return text.rstrip(".")


class Tide:
    """Args: recorder: of its own, which decodes by `decode_padded`."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._numbers = itertools.count(1)
        self._asked: list[str] = []
        self._there: deque[tuple[str, str]] = deque()
        self._is_flood = True

    async def step(self, who: int) -> None:
        """Put the next key or delete the lowest one, and sometimes look for one."""
        if self._asked and self.recorder.rng.random() < READ_CHANCE:
            await self.recorder.read(who, self.recorder.rng.choice(self._asked[-2 * HIGH :]))
        elif self._is_flood or not self._there:
            await self._put(who)
        else:
            await self.recorder.delete(who, *self._there.popleft())
        if len(self._there) >= HIGH or len(self._there) <= LOW:
            self._is_flood = len(self._there) <= LOW

    async def _put(self, who: int) -> None:
        key = f"tide-{next(self._numbers):012}"
        self._asked.append(key)
        put = await self.recorder.write(who, Kind.WRITE, key, key, key.ljust(VALUE_BYTES, "."), version=NOTHING)
        if put.outcome is Outcome.DONE:
            self._there.append((key, put.version))

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded, and are unknown."""
        return self.recorder.tally()

    async def read_back(self, patient: Client) -> None:
        """Look for every key."""
        await self.recorder.read_back(patient, self._asked)

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        return f"{check_set(self.recorder.ops)} rising keys where they are to be"
