"""A node that loses its disk and joins again, while another copy of all that it held is in sync."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probe.rig import Rig


@asynccontextmanager
async def wipe(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Kill a node, destroy its data, start it. To be the first of several nemeses, while the cluster is whole."""
    victim = rig.seize(rng.choice(rig.names))
    await rig.kill(victim)
    rig.wipe(victim)
    await rig.start(victim)
    yield f"wipe {victim}"
    rig.release([victim])
