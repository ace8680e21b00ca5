"""Overwrites and deletes of values of all sizes by clients that own their keys; read back exactly as they were told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from probe.load import Load

from kvstore.client import Client


class Values:
    """Args: clients: one for each gateway; load: its clients are numbered from 0; first: the `who` of the first."""

    def __init__(self, clients: Sequence[Client], load: Load, first: int) -> None:
        self._clients = clients
        self._load = load
        self._first = first
        self._keys = 0

    async def step(self, who: int) -> None:
        """One write."""
        await self._load.step(self._clients[who % len(self._clients)], who - self._first)

    def tally(self) -> Counter[str]:
        """How many writes were asked, succeeded, and are unknown."""
        done, refused, unknown = self._load.counts()
        return Counter(asked=done + refused + unknown, succeeded=done, unknown=unknown)

    async def read_back(self, patient: Client) -> None:
        """Read every key once more; raises `Lost`."""
        self._keys = await self._load.check(patient)

    def judge(self) -> str:
        """What was judged when it was read back."""
        return f"{self._keys} keys of all sizes as told"
