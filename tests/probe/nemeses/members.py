"""Nodes that come and go: copies move between nodes, under whatever else is done to the cluster."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from probe.rig import Rig


@asynccontextmanager
async def join_or_leave(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """One more node joins, with an empty disk; where there is one more already, one is removed, whichever it is."""
    if len(rig.names) > rig.layout.nodes:
        victim = rng.choice(rig.names)
        await rig.remove(victim)
        yield f"remove {victim}"
    else:
        name = await rig.add_node()
        yield f"add {name}"
