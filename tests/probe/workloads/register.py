"""Reads, writes and cas on a few registers at a time; judged by linearizability."""

from __future__ import annotations

import itertools
from collections import Counter

from checkers.history import Kind, Op, check_versions
from checkers.register import check_registers
from probe.workloads.names import key_name
from probe.workloads.recorder import NOTHING, Recorder

from kvstore.client import Client

LIVE_KEYS = 5
OPS_EACH = 300


class Registers:
    """Every value is written once. A key gives way to a new one after some 300 operations."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._numbers = itertools.count(1)
        self._live = [self._new_key() for _ in range(LIVE_KEYS)]
        self._asked = dict.fromkeys(self._live, 0)
        self._latest: dict[str, Op] = {}

    def _new_key(self) -> str:
        return key_name("register", next(self._numbers))

    async def step(self, who: int) -> None:
        """One operation."""
        rng = self.recorder.rng
        place = rng.randrange(LIVE_KEYS)
        key = self._live[place]
        self._asked[key] += 1
        if self._asked[key] == OPS_EACH:
            self._live[place] = fresh = self._new_key()
            self._asked[fresh] = 0
        chance = rng.random()
        if chance < 0.45:
            seen = await self.recorder.read(who, key)
        elif chance < 0.65:
            value = str(next(self._numbers))
            seen = await self.recorder.write(who, Kind.WRITE, key, value, value)
        else:
            seen = await self._cas(who, key)
        if seen is not None and seen.version:
            self._latest[key] = seen

    async def _cas(self, who: int, key: str) -> Op:
        """Replace what somebody saw last, or create the key."""
        latest = self._latest.get(key)
        expected = None if latest is None else (latest.found if latest.kind is Kind.READ else latest.asked)
        value = str(next(self._numbers))
        version = NOTHING if latest is None else latest.version
        return await self.recorder.write(who, Kind.CAS, key, value, value, expected, version)

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded, and are unknown."""
        return self.recorder.tally()

    async def read_back(self, patient: Client) -> None:
        """Read every key once more."""
        await self.recorder.read_back(patient, list(self._asked))

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        check_versions(self.recorder.ops)
        return f"{check_registers(self.recorder.ops)} registers linearizable"
