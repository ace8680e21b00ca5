"""SIGSTOP: a process that stands still and goes on later as if no time had passed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from probe.rig import Rig


@asynccontextmanager
async def stop_leader(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """The node that leads most: it comes back with a lease that is over."""
    with _stopped_node(rig, await rig.leader()) as told:
        yield told


@asynccontextmanager
async def stop_follower(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """A node that does not lead most: writes wait until it is out of the in-sync set."""
    with _stopped_node(rig, await rig.follower()) as told:
        yield told


@asynccontextmanager
async def stop_gateway(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """One gateway; where it is the only one, control stands still with it."""
    victim = rng.choice(rig.gateway_names)
    with _stopped(rig.gateways[victim].pid):
        yield f"stop {victim}"


@asynccontextmanager
async def stop_etcd(rig: Rig, rng: random.Random) -> AsyncIterator[str]:
    """Every member of etcd: nodes and gateways have to go on without."""
    assert rig.etcd is not None
    rig.etcd.pause()
    try:
        yield "stop etcd"
    finally:
        rig.etcd.resume()


@contextlib.contextmanager
def _stopped_node(rig: Rig, name: str) -> Iterator[str]:
    victim = rig.seize(name)
    with _stopped(rig.nodes[victim].pid):
        yield f"stop {victim}"
    rig.release([victim])


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    # Another nemesis may have killed it before, or meanwhile.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
