"""kill -9: of who leads most, of another node, of a gateway or a worker of it, of everything at once; started again at
the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
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
async def kill_worker(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """One worker of a gateway, which starts it again by itself."""
    victim = rng.choice(rig.gateway_names)
    # Another nemesis may have killed the gateway before, or meanwhile. One that starts and loses a worker ends, as one
    # that is killed when it starts.
    gateway = rig.gateways[victim]
    workers = gateway.children() if gateway.address else []
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(workers), signal.SIGKILL)
    yield f"kill a worker of {victim}"


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
