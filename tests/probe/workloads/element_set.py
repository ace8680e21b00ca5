"""Elements that are added once, and some of them deleted; none may be missing, none may come back."""

from __future__ import annotations

import itertools
from collections import Counter

from checkers.element_set import check_set
from checkers.history import Kind
from probe.workloads.names import key_name
from probe.workloads.recorder import NOTHING, Recorder

from kvstore.client import Client

NEVER_ADDED = 20


class ElementSet:
    """Each element is a key of its own, put only where there is nothing, and deleted only as it was put: whatever was
    carried out twice is told that it failed, and is there or gone nevertheless."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._numbers = itertools.count(1)
        self._added: list[str] = []
        self._undeleted: list[tuple[str, str | None]] = []

    async def step(self, who: int) -> None:
        """Add a new element, delete one whose add has ended, or look for one."""
        rng = self.recorder.rng
        chance = rng.random()
        if chance < 0.5 or not self._undeleted:
            key = key_name("element", next(self._numbers))
            self._added.append(key)
            added = await self.recorder.write(who, Kind.WRITE, key, key, key, version=NOTHING)
            self._undeleted.append((key, added.version or None))
        elif chance < 0.65:
            await self.recorder.delete(who, *self._undeleted.pop(rng.randrange(len(self._undeleted))))
        else:
            await self.recorder.read(who, rng.choice(self._added[-1000:]))

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded, and are unknown."""
        return self.recorder.tally()

    async def read_back(self, patient: Client) -> None:
        """Look for every element, and for some that nobody added."""
        await self.recorder.read_back(
            patient, [*self._added, *(key_name("never", number) for number in range(NEVER_ADDED))]
        )

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        return f"{check_set(self.recorder.ops)} elements where they are to be"
