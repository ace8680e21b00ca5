"""kill -9: of who leads most, of another node, of a gateway, of everything at once; started again at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from probe.rig import Rig


@asynccontextmanager
async def kill_leader(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """The node that leads most."""
    victim = rig.seize(await rig.leader())
    async with _dead(rig, [victim]):
        yield f"kill {victim}"


@asynccontextmanager
async def kill_follower(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """A node that does not lead most."""
    victim = rig.seize(await rig.follower())
    async with _dead(rig, [victim]):
        yield f"kill {victim}"


@asynccontextmanager
async def kill_gateway(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """One gateway; where it is the only one, control dies with it."""
    victim = rng.choice(rig.gateway_names)
    async with _dead(rig, [victim]):
        yield f"kill {victim}"


@asynccontextmanager
async def kill_all(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """All nodes and gateways at once."""
    async with _dead(rig, [*rig.gateway_names, *rig.names]):
        yield "kill everything"


@asynccontextmanager
async def _dead(rig: Rig, names: Iterable[str]) -> AsyncIterator[None]:
    await asyncio.gather(*(rig.kill(name) for name in names))
    try:
        yield
    finally:
        for name in names:
            await rig.start(name)
        rig.release(names)
