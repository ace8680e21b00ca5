"""The nemesis that moves tenants counts what has arrived."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any, cast

import pytest
from probe.nemeses import tenants
from probe.rig import Rig


class FakeRig:
    """Takes so many moves, each to partition 2; tenants are then seen in `seen`, one after the other, and the last of
    these for ever."""

    def __init__(self, moves: int, seen: Iterable[int | None]) -> None:
        self.tenant_moves = 0
        self.asked = 0
        self.is_idle = asyncio.Event()
        self._moves = moves
        self._seen = list(seen)

    async def begin_tenant_move(self, keyspace: str, tenant: str) -> int | None:
        self.asked += 1
        if self.asked > self._moves:
            self.is_idle.set()
            return None
        return 2

    async def partition_of_tenant(self, keyspace: str, tenant: str) -> int | None:
        return self._seen.pop(0) if len(self._seen) > 1 else self._seen[0]


async def moved(rig: FakeRig) -> int:
    async with tenants.move_tenant(cast(Rig, cast(Any, rig)), random.Random(1)):
        async with asyncio.timeout(30):
            await rig.is_idle.wait()
    return rig.tenant_moves


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REFUSED_PAUSE_S", "POLL_S"):
        monkeypatch.setattr(tenants, name, 0.0)


async def test_a_move_counts_when_the_tenant_is_seen_where_it_was_to_go() -> None:
    assert await moved(FakeRig(2, [1, None, 1, 2])) == 2


async def test_a_move_that_was_not_taken_does_not_count() -> None:
    assert await moved(FakeRig(0, [2])) == 0


async def test_a_tenant_that_stays_where_it_is_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "MOVED_S_MAX", 0.05)
    assert await moved(FakeRig(1, [1])) == 0


async def test_what_goes_wrong_meanwhile_is_raised_at_the_end() -> None:
    class Broken(FakeRig):
        async def partition_of_tenant(self, keyspace: str, tenant: str) -> int | None:
            self.is_idle.set()
            raise AssertionError("a gateway ended")

    with pytest.raises(AssertionError, match="a gateway ended"):
        await moved(Broken(1, [1]))
