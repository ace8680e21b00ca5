"""All nodes, then all gateways, are stopped in order and started again, one after the other, without a pause."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probe.rig import Rig


@asynccontextmanager
async def rolling_restart(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """SIGTERM, each with exit code 0."""
    for name in (*rig.names, *rig.gateway_names):
        await rig.stop(name)
        await rig.start(name)
        await rig.wait_started(name)
    yield "rolling restart"
