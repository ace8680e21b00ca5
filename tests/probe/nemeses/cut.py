"""Networks that part: one member alone, one direction of a link, leader from follower, leader from control, halves."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from probe.network import Network
from probe.rig import Rig

LOSSES = (0.05, 0.1, 0.3)


@asynccontextmanager
async def isolate_leader(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Nobody reaches the node that leads most, and it reaches nobody."""
    victim = rig.seize(await rig.leader())
    with _harmed(rig) as network:
        network.isolate(victim)
        yield f"isolate {victim}"
    rig.release([victim])


@asynccontextmanager
async def cut_one_way(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """What one node sends another is lost; the way back is open."""
    source, target = rng.sample(rig.names, 2)
    with _harmed(rig) as network:
        network.cut(source, target)
        yield f"cut {source} to {target}"


@asynccontextmanager
async def cut_leader_from_followers(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """The node that leads most and the other nodes lose each other; gateways reach them all."""
    leader = await rig.leader()
    with _harmed(rig) as network:
        for other in rig.names:
            if other != leader:
                network.cut(leader, other)
                network.cut(other, leader)
        yield f"cut {leader} from the nodes"


@asynccontextmanager
async def cut_leader_from_gateway(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """The node that leads most and one gateway, with its control, lose each other; the nodes stay together."""
    leader, gateway = await rig.leader(), rng.choice(rig.gateway_names)
    with _harmed(rig) as network:
        network.cut(leader, gateway)
        network.cut(gateway, leader)
        yield f"cut {leader} from {gateway}"


@asynccontextmanager
async def cut_halves(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """The node that leads most stays with one gateway; the other nodes, the other gateways and etcd are the other half.

    Clients reach both halves: whoever is served by the smaller one after the other took over reads what is stale."""
    assert rig.etcd is not None
    leader, gateway = await rig.leader(), rng.choice(rig.gateway_names)
    here = (leader, gateway)
    there = [name for name in (*rig.names, *rig.gateway_names) if name not in here]
    with _harmed(rig) as network:
        for one in here:
            for other in there:
                network.cut(one, other)
                network.cut(other, one)
        network.cut_from_ports([int(one.rpartition(":")[2]) for one in rig.etcd.endpoints], gateway)
        yield f"cut {leader} and {gateway} from the rest"


@asynccontextmanager
async def lose_packets(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Each member loses a share of what it is sent."""
    share = rng.choice(LOSSES)
    with _harmed(rig) as network:
        for name in (*rig.names, *rig.gateway_names):
            network.lose(name, share)
        yield f"lose {share:.0%}"


@contextmanager
def _harmed(rig: Rig) -> Iterator[Network]:
    assert rig.network is not None, "this nemesis needs networks"
    try:
        yield rig.network
    finally:
        rig.network.heal()
