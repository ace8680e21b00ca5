"""A process ends itself at each durable step of the protocol, under load, and comes back: `crash_points.py`.

Each point is brought about by a scenario, on one and the same cluster; afterwards copies are in sync again, every key
is read back and compared with what its writer was told, and copies are compared. Where the step is one of a
transaction, all else is killed too and started again; then nothing may be in doubt, and each transaction is there as a
whole or not at all. A point that is never passed is a failure too. The last line is `N points passed, N failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import compare, stop_and_verify, wait_decided, wait_healed, wait_settled
from probe.load import Load
from probe.pairs import PairWriters, tags_apart
from probe.processes import Process, ask
from probe.rig import Layout, Rig

from kvstore.client import Client
from kvstore.crash_point import COORDINATOR_STEPS, STEPS

LAYOUT = Layout(partitions=8)
# So short that a node which lost its disk gets data, not only a log.
SETTINGS = {"KVSTORE_LOG_RETENTION_S": "1"}
CLIENTS, KEYS_EACH, PAUSE_S = 6, 60, 0.01
AWAY_S = 3.5
CALM_S = 1.5
UNHEARD_S = 0.4
PASSED_S_MAX = 12.0
TRIES_MAX = 4
VICTIM, OTHER, SPARE = "n1", "n2", "n4"
JSON = {"Content-Type": "application/json"}


class NotPassed(AssertionError):
    """Nothing was brought about that passes the point."""


class Story:
    """The cluster, and the ways to bring a point about; each returns the process that is to end itself."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    async def running(self, at: str) -> Process:
        """A node that is started again at once, and serves."""
        await self.rig.stop(VICTIM)
        await self.rig.start_node(VICTIM, KVSTORE_CRASH_AT=at)
        return self.rig.nodes[VICTIM]

    async def returning(self, at: str) -> Process:
        """A leader that was killed for so long that others lead in its place."""
        await self.rig.kill(VICTIM)
        await asyncio.sleep(AWAY_S)
        await self.rig.start_node(VICTIM, KVSTORE_CRASH_AT=at)
        return self.rig.nodes[VICTIM]

    async def diverged(self, at: str) -> Process:
        """A leader whose last records reached nobody: the others stood still, and forgot what had arrived."""
        others = [name for name in self.rig.names if name != VICTIM]
        for name in others:
            os.kill(self.rig.nodes[name].pid, signal.SIGSTOP)
        await asyncio.sleep(UNHEARD_S)
        await asyncio.gather(*(self.rig.kill(name) for name in self.rig.names))
        for name in others:
            await self.rig.start(name)
        await asyncio.sleep(AWAY_S + CALM_S)
        await self.rig.start_node(VICTIM, KVSTORE_CRASH_AT=at)
        return self.rig.nodes[VICTIM]

    async def taking_over(self, at: str) -> Process:
        """A node that is back in sync when another one that leads is killed."""
        process = await self.returning(at)
        await asyncio.sleep(CALM_S)
        await self.rig.kill(OTHER)
        return process

    async def wiped(self, at: str) -> Process:
        """A node that lost its disk."""
        await self.rig.kill(VICTIM)
        self.rig.wipe(VICTIM)
        await self.rig.start_node(VICTIM, KVSTORE_CRASH_AT=at)
        return self.rig.nodes[VICTIM]

    async def control(self, at: str) -> Process:
        """A gateway, whose control is asked for another leader, and for the admission of a node."""
        gateway = self.rig.gateway_names[0]
        await self.rig.kill(gateway)
        self.rig.start_gateway(gateway, KVSTORE_CRASH_AT=at)
        await self.rig.kill(OTHER)
        await asyncio.sleep(AWAY_S)
        await self.rig.start(OTHER)
        return self.rig.gateways[gateway]

    async def coordinating(self, at: str) -> Process:
        """A gateway that is started again at once."""
        gateway = self.rig.gateway_names[0]
        await self.rig.kill(gateway)
        self.rig.start_gateway(gateway, KVSTORE_CRASH_AT=at)
        return self.rig.gateways[gateway]

    async def moving(self, at: str) -> Process:
        """A gateway, whose control moves copies: a node joins, or the fourth leaves, and a bound is set."""
        rig, gateway = self.rig, self.rig.gateway_names[0]
        await rig.kill(gateway)
        rig.start_gateway(gateway, KVSTORE_CRASH_AT=at)
        await rig.wait_started(gateway)
        if len(rig.names) > rig.layout.nodes:
            await rig.remove(rig.names[-1])
        else:
            rig.names.append(SPARE)
            rig.has_changed = True
            await rig.start_node(SPARE)
        with contextlib.suppress(OSError):
            bound = json.dumps({"max_bytes_per_second": 0}).encode()
            await asyncio.to_thread(ask, f"{rig.urls[0]}/v1/cluster/rebalance", "PUT", bound, JSON)
        return rig.gateways[gateway]


@dataclass(frozen=True)
class Way:
    """How a step comes about, at which of its passings at most the process ends itself, whether nobody writes, and
    whether it is one of transactions."""

    bring: Callable[[Story, str], Awaitable[Process]]
    passings_max: int = 1
    is_quiet: bool = False
    is_of_txn: bool = False


WAYS = {
    **dict.fromkeys(("append", "follow", "apply"), Way(Story.running, 40)),
    **dict.fromkeys(("node", "truncate"), Way(Story.running)),
    "move": Way(Story.running, 5),
    # A lease needs a write of its own only where nobody writes.
    "proof": Way(Story.running, is_quiet=True),
    **dict.fromkeys(("promise", "reconcile", "in_sync"), Way(Story.returning)),
    "cut": Way(Story.diverged),
    **dict.fromkeys(("lead", "barrier"), Way(Story.taking_over)),
    **dict.fromkeys(("create", "begin_backfill", "chunk", "end_backfill", "give_up", "sweep"), Way(Story.wiped, 2)),
    **dict.fromkeys(("cas", "admit"), Way(Story.control)),
    **dict.fromkeys(("start_moves", "end_move", "rebalance"), Way(Story.moving)),
    **dict.fromkeys(("prepare", "decide", "finish"), Way(Story.running, 20, is_of_txn=True)),
    "forget": Way(Story.running, 3, is_of_txn=True),
    **dict.fromkeys(COORDINATOR_STEPS, Way(Story.coordinating, 20, is_of_txn=True)),
}
FOUNDING = ("allocate", "keyspace", "place")
POINTS = [f"{step}.{when}" for step in STEPS for when in ("before", "after")]


class Probe:
    """Args: rig: ready; tags: hash tags of different partitions; rng: of keys, sizes and moments."""

    def __init__(self, rig: Rig, tags: Sequence[str], rng: random.Random) -> None:
        self._rig = rig
        self._rng = rng
        self._load = Load(CLIENTS, KEYS_EACH, rng)
        self._pairs = PairWriters(tags, CLIENTS, rng)

    async def pass_point(self, point: str) -> str:
        """Crash there, come back, check; returns what there is to tell."""
        way = WAYS[point.partition(".")[0]]
        async with Client(self._rig.urls[0], timeout_s=5.0) as client:
            writers = self._load.start(client, PAUSE_S)
            if way.is_of_txn:
                self._pairs.start(self._rig.urls[0], PAUSE_S)
            try:
                if way.is_quiet:
                    await asyncio.sleep(CALM_S)
                    await self._load.stop(writers)
                passings, tries = await self._crash(point, way)
                healed_s = await wait_healed(self._rig)
                await wait_settled(self._rig)
            finally:
                await self._load.stop(writers)
                await self._pairs.stop()
            fates = await self._check_pairs(client) if way.is_of_txn else ""
            keys = await self._load.check(client)
        await compare(self._rig)
        crashed = f"at passing {passings}, try {tries}; in sync after {healed_s:.1f} s"
        return f"{crashed}, {keys} keys as told, {fates}copies equal"

    async def _check_pairs(self, client: Client) -> str:
        await wait_decided(self._rig)
        fates = await self._pairs.check(client)
        return f"of unknown pairs {fates['committed']} committed and {fates['aborted']} aborted, "

    async def _crash(self, point: str, way: Way) -> tuple[int, int]:
        for tries in range(1, TRIES_MAX + 1):
            # A point that did not come is asked for at its first passing.
            passings = self._rng.randint(1, way.passings_max) if tries == 1 else 1
            process = await way.bring(Story(self._rig), f"{point}:{passings}")
            is_over = await ends(process)
            names = (*self._rig.gateway_names, *self._rig.names)
            if way.is_of_txn:
                await asyncio.gather(*(self._rig.kill(name) for name in names))
            for name in names:
                await self._rig.start(name)
            if is_over:
                return passings, tries
            await wait_healed(self._rig)
        raise NotPassed(point)


async def ends(process: Process) -> bool:
    """Whether the process ends itself in time."""
    end = time.monotonic() + PASSED_S_MAX
    while process.is_running:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    assert process.wait() == -9, f"it did not end by its crash point: {process.err[-5:]}"
    return True


async def found(point: str, data: Path, rng: random.Random) -> str:
    """Control ends itself while it places the partitions of a new cluster; returns what there is to tell."""
    rig = Rig(data, LAYOUT, None, rng, **SETTINGS)
    gateway = rig.gateway_names[0]
    try:
        await rig.begin()
        await rig.kill(gateway)
        rig.wipe(gateway)
        rig.start_gateway(gateway, KVSTORE_CRASH_AT=f"{point}:1")
        for name in rig.names:
            await rig.start_node(name)
        if not await ends(rig.gateways[gateway]):
            raise NotPassed(point)
        await rig.start(gateway)
        await rig.wait_ready()
        load = Load(CLIENTS, KEYS_EACH, rng)
        async with Client(rig.urls[0], timeout_s=5.0) as client:
            writers = load.start(client, PAUSE_S)
            await asyncio.sleep(CALM_S)
            await load.stop(writers)
            keys = await load.check(client)
        await compare(rig)
        await stop_and_verify(rig)
    finally:
        await rig.close()
    return f"placed all the same, {keys} keys as told, copies equal"


async def run(points: list[str], seed: int, data: Path) -> int:
    """Returns how many points passed; raises what is wrong."""
    rng = random.Random(seed)
    passed = 0
    for point in points:
        if point.partition(".")[0] in FOUNDING:
            (data / point).mkdir()
            print(f"{point}: {await found(point, data / point, rng)}", flush=True)
            passed += 1
    async with Rig(data / "one", LAYOUT, None, rng, **SETTINGS) as rig:
        async with Client(rig.urls[0]) as client:
            probe = Probe(rig, await tags_apart(client, LAYOUT.partitions), rng)
        for point in points:
            if point.partition(".")[0] not in FOUNDING:
                print(f"{point}: {await probe.pass_point(point)}", flush=True)
                passed += 1
        await stop_and_verify(rig)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="points, separated by commas, instead of all")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of keys, sizes and moments")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-points-"))
    points = arguments.only.split(",") if arguments.only else POINTS
    try:
        passed = asyncio.run(run(points, arguments.seed, data))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; the data stays in {data}", flush=True)
        print("0 points passed, 1 failed")
        return 1
    shutil.rmtree(data)
    print(f"{passed} points passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
