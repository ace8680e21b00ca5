"""Writes whose answers are dropped, sent again through the other gateway while leaders are killed: `retried.py`.

Counters, lists and elements are written by clients that close the connection before they read an answer, and send the
same again, under its `Idempotency-Key`, through one gateway after the other until an answer is read. Meanwhile the node
that leads most is killed, three times. At the end everything is read back: each write was applied exactly once. A run
with fewer retried writes or failovers than asked for, or in which no retry met a stored result, is void.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import compare, stop_and_verify, wait_healed
from probe.crowd import Crowd, Workload
from probe.rig import Layout, Rig, why_not
from probe.trial import Void
from probe.watch import STORED_RESULTS, Watch
from probe.workloads.append_list import AppendLists, decode_list
from probe.workloads.counter import Counters, decode_counter
from probe.workloads.dropped import Dropping, RetriedRecorder
from probe.workloads.element_set import ElementSet

from kvstore.client import Client

LAYOUT = Layout(gateways=2)
CLIENTS = {"counter": 8, "append": 4, "set": 12}
FAILOVERS = 3
SECONDS_MAX_BASE, SECONDS_MAX_EACH = 120.0, 0.1
POLL_S = 0.1


class Retriers(Crowd):
    """Clients whose first answers are dropped."""

    sender: Dropping

    async def _gather(self, clients: Sequence[Client]) -> dict[str, Workload]:
        rng = self._rng
        self.sender = sender = await self._stack.enter_async_context(Dropping(self._urls, rng))
        return {
            "counter": Counters(RetriedRecorder(clients, sender, rng, decode_counter), sender),
            "append": AppendLists(RetriedRecorder(clients, sender, rng, decode_list)),
            "set": ElementSet(RetriedRecorder(clients, sender, rng)),
        }

    async def reach(self, writes: int) -> None:
        """Wait until so many writes were retried."""
        while self.sender.retried < writes:
            self.check()
            await asyncio.sleep(POLL_S)


@dataclass
class Retried:
    """What a run came to."""

    writes: int = 0
    failed: int = 0
    unknown: int = 0
    stored: int = 0
    failovers: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.writes} retried writes, each applied once, {self.failed} more whose condition failed; "
            f"{self.stored} retries met a stored result; {self.failovers} failovers; "
            f"{self.seconds:.0f} s, {self.writes / self.seconds:.0f} writes/s"
        )

    def check(self, writes: int) -> None:
        """Raises `Void` where too little happened."""
        if self.writes < writes:
            raise Void(f"{self.writes} writes were retried, {writes} are needed")
        if self.failovers < FAILOVERS:
            raise Void(f"{self.failovers} failovers, {FAILOVERS} are needed")
        if self.unknown:
            raise Void(f"{self.unknown} writes were never told their outcome")
        if not self.stored:
            raise Void("no retry met a stored result")


async def fail_over(rig: Rig) -> str:
    """Kill who leads most until others lead in its place, and start it again; returns its name."""
    victim = await rig.leader()
    await rig.kill(victim)
    while True:
        status = await rig.status()
        if status is not None and all(one["leader"] not in (None, victim) for one in status["partitions"]):
            break
        await asyncio.sleep(POLL_S)
    await rig.start(victim)
    await wait_healed(rig)
    return victim


async def harm(rig: Rig, crowd: Retriers, writes: int, found: Retried) -> None:
    """Kill leaders, spread over the writes."""
    for number in range(1, FAILOVERS + 1):
        await crowd.reach(writes * number // (FAILOVERS + 1))
        victim = await fail_over(rig)
        found.failovers += 1
        print(f"failover {number}: killed {victim}, {crowd.sender.retried} writes retried by then", flush=True)
    await crowd.reach(writes)


async def run(writes: int, seed: int, data: Path) -> Retried:
    """Raises what is wrong."""
    rng = random.Random(seed)
    found = Retried()
    seconds_max = SECONDS_MAX_BASE + SECONDS_MAX_EACH * writes
    async with Rig(data, LAYOUT, None, rng) as rig, Retriers(rig.urls, rng, CLIENTS) as crowd, Watch(rig) as watch:
        started = time.monotonic()
        crowd.start()
        try:
            async with asyncio.timeout(seconds_max):
                await harm(rig, crowd, writes, found)
        except TimeoutError:
            raise Void(
                f"{crowd.sender.retried} retried writes and {found.failovers} failovers in {seconds_max:.0f} s, "
                f"{writes} and {FAILOVERS} are needed"
            ) from None
        await crowd.stop()
        found.seconds = time.monotonic() - started
        found.writes, found.failed = crowd.sender.retried, crowd.sender.failed
        found.unknown = crowd.tally()["unknown"]
        await wait_healed(rig)
        for verdict in await crowd.judge():
            print(f"  {verdict}", flush=True)
        print(f"  {await compare(rig)} keys in equal copies", flush=True)
        found.stored = watch.counted().get(STORED_RESULTS, 0)
        await stop_and_verify(rig)
    found.check(writes)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of keys, gateways and drops")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-retried-"))
    try:
        if reason := why_not(LAYOUT):
            raise Void(reason)
        found = asyncio.run(run(arguments.writes, arguments.seed, data))
    except Void as error:
        shutil.rmtree(data)
        print(f"void: {error}")
        return 1
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; the data stays in {data}")
        return 1
    shutil.rmtree(data)
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
