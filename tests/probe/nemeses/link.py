"""Links between nodes that are slow, or hold what they carry; and links of control that are cut while nodes are not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from probe.proxy import Proxy
from probe.rig import Rig

DELAYS_S = (0.02, 0.2, 2.0)


@asynccontextmanager
async def delay(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """What reaches a node from the others, and their answers, come late."""
    victim, delay_s = rng.choice(rig.names), rng.choice(DELAYS_S)
    with _harmed(rig.proxies[victim]) as proxy:
        proxy.delay_s = delay_s
        yield f"delay {victim} by {delay_s} s"


@asynccontextmanager
async def hold(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """What the nodes say to each other is kept, and let go at the end."""
    victims = rng.sample(rig.names, rng.choice((1, len(rig.names))))
    for victim in victims:
        rig.proxies[victim].hold()
    try:
        yield f"hold {', '.join(victims)}"
    finally:
        for victim in victims:
            rig.proxies[victim].heal()


@asynccontextmanager
async def cut_leader_from_control(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Control loses the node that leads most; gateways and nodes do not."""
    victim = await rig.leader()
    with _harmed(rig.proxies[victim]) as proxy:
        proxy.cut("control")
        yield f"cut control from {victim}"


@asynccontextmanager
async def hold_leader(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Nodes do not hear each other, and control loses the one that leads most; gateways reach them all.

    The others take over, for they reach control. Whom clients still ask must know by itself that its lease is over."""
    victim = await rig.leader()
    for proxy in rig.proxies.values():
        proxy.hold()
    rig.proxies[victim].cut("control")
    try:
        yield f"hold all nodes, cut control from {victim}"
    finally:
        for proxy in rig.proxies.values():
            proxy.heal()


@contextmanager
def _harmed(proxy: Proxy) -> Iterator[Proxy]:
    try:
        yield proxy
    finally:
        proxy.heal()
