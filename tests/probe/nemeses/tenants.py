"""Tenants of a directory keyspace that are moved from partition to partition, one after the other, all the while."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probe.rig import Rig
from probe.workloads.names import TENANTS, tenant_name

REFUSED_PAUSE_S = 0.5
# What does not come about in so long was called off, or control does not run.
MOVED_S_MAX = 15.0
POLL_S = 0.1


@asynccontextmanager
async def move_tenant(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Any tenant to any other partition; what is refused is asked for another tenant, what is on its way goes on."""
    moving = asyncio.create_task(_move_on(rig, rng))
    try:
        yield "move tenants"
    finally:
        if not moving.done():
            moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)
    if not moving.cancelled():
        moving.result()


async def _move_on(rig: Rig, rng: random.Random) -> None:
    while True:
        tenant = tenant_name(rng.randrange(TENANTS))
        target = await rig.begin_tenant_move("directory", tenant)
        if target is None:
            await asyncio.sleep(REFUSED_PAUSE_S)
        else:
            await _wait_moved(rig, tenant, target)


async def _wait_moved(rig: Rig, tenant: str, target: int) -> None:
    deadline = asyncio.get_running_loop().time() + MOVED_S_MAX
    while asyncio.get_running_loop().time() < deadline:
        if await rig.partition_of_tenant("directory", tenant) == target:
            rig.tenant_moves += 1
            return
        await asyncio.sleep(POLL_S)
