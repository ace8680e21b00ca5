"""Lists in one value each, to which clients append by read and cas; nothing may be lost, doubled or out of order."""

from __future__ import annotations

import itertools
from collections import Counter

from checkers.append_list import check_lists
from checkers.history import Kind
from probe.workloads.names import key_name
from probe.workloads.recorder import NOTHING, Recorder

from kvstore.client import Client

LIVE_KEYS = 3
ITEMS_EACH = 120


def decode_list(text: str) -> tuple[str, ...]:
    """A value as the tuple of its items."""
    return tuple(text.split(" "))


class AppendLists:
    """A list gives way to a new one when it is long."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._numbers = itertools.count(1)
        self._live = [key_name("list", next(self._numbers)) for _ in range(LIVE_KEYS)]
        self._keys = list(self._live)

    async def step(self, who: int) -> None:
        """Read a list, and append to what was read."""
        place = self.recorder.rng.randrange(LIVE_KEYS)
        key = self._live[place]
        seen = await self.recorder.read(who, key)
        if seen is None:
            return
        items = seen.found if isinstance(seen.found, tuple) else ()
        item = str(next(self._numbers))
        text = " ".join([*items, item])
        await self.recorder.write(who, Kind.APPEND, key, item, text, version=seen.version or NOTHING)
        if len(items) >= ITEMS_EACH and self._live[place] == key:
            self._live[place] = key_name("list", next(self._numbers))
            self._keys.append(self._live[place])

    def tally(self) -> Counter[str]:
        """How many operations were asked, succeeded, and are unknown."""
        return self.recorder.tally()

    async def read_back(self, patient: Client) -> None:
        """Read every list once more."""
        await self.recorder.read_back(patient, self._keys)

    def judge(self) -> str:
        """Raises `Anomaly`; else tells what was judged."""
        return f"{check_lists(self.recorder.ops)} appends in order"
