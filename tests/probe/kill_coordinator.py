"""A gateway ends at a step of a transaction that it coordinates, and is started again: `kill_coordinator.py`.

Each round lets clients write pairs of keys in two partitions until the gateway kills itself: where all votes are there
and the decision was not asked for, where it was made and nobody was told, or where the participant has carried it out
and the primary was not told of that. Started again, the gateway knows nothing of it. Every transaction has to be
resolved within its time and `AFTER_S_MAX`, each as a whole: the one at which it ended as aborted where the decision was
not asked for, as committed where it was made.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import statistics
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import compare, stop_and_verify, wait_healed
from probe.pairs import PairWriters, tags_apart
from probe.rig import Layout, Rig

from cluster.txn.driver import TXN_S_MAX
from kvstore.client import Client

# The process that coordinates is to end for good, which a worker does not.
LAYOUT = Layout(partitions=16, workers=1)
CLIENTS, PAUSE_S = 8, 0.002
PASSINGS_MAX = 60
DIES_S_MAX = 30.0
AFTER_S_MAX = 3.0
POLL_S = 0.05
CLIENT_S = 20.0
BEFORE, AFTER, TOLD = "ask_decision.before", "ask_decision.after", "tell_decision.after"
# The window between votes and decision is what the rounds are about.
POINTS = (BEFORE, BEFORE, AFTER, TOLD)
# What has to be among the fates of those that nobody knew of: the very transaction at which the gateway ended. Where
# its participant was told, its client had been.
FATES = {BEFORE: "aborted", AFTER: "committed"}


class NotResolved(AssertionError):
    """A transaction is in doubt for too long, or ended otherwise than its last step tells."""


@dataclass
class Rounds:
    """What the rounds came to: seconds from each death until nothing was in doubt, fates of unknown transactions."""

    resolved_s: list[float] = field(default_factory=list)
    fates: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        met = ", ".join(f"{count} at {point}" for point, count in sorted(self.met.items()))
        return (
            f"{len(self.resolved_s)} rounds ({met}); resolved after {statistics.median(self.resolved_s):.2f} s median, "
            f"{max(self.resolved_s):.2f} s at most; of unknown ones {self.fates['committed']} committed, "
            f"{self.fates['aborted']} aborted, each as a whole"
        )

    def take(self, point: str, resolved_s: float, fates: Counter[str]) -> None:
        """One more. Raises `NotResolved`."""
        if point in FATES and not fates[FATES[point]]:
            raise NotResolved(f"ended at {point}, and no transaction is {FATES[point]}: {dict(fates)}")
        self.resolved_s.append(resolved_s)
        self.fates += fates
        self.met[point] += 1


class Probe:
    """Args: rig: ready; client: of its only gateway."""

    def __init__(self, rig: Rig, client: Client, writers: PairWriters, rng: random.Random) -> None:
        self.rounds = Rounds()
        self._rig = rig
        self._client = client
        self._writers = writers
        self._rng = rng

    async def round(self, point: str) -> str:
        """Have the gateway end there, start it again, wait, check; returns what there is to tell."""
        rig, (name,) = self._rig, self._rig.gateway_names
        passing = self._rng.randint(1, PASSINGS_MAX)
        await rig.kill(name)
        rig.start_gateway(name, KVSTORE_CRASH_AT=f"{point}:{passing}")
        await rig.wait_started(name)
        await rig.wait_ready()
        self._writers.start(rig.urls[0], PAUSE_S, is_over_with_the_first_unknown=True)
        died_s = await self._death(name)
        await rig.start(name)
        # One that asked nothing in that moment would go on with the next gateway.
        await self._writers.stop()
        resolved_s = await self._resolved(died_s)
        await wait_healed(rig)
        fates = await self._writers.check(self._client)
        self.rounds.take(point, resolved_s, fates)
        told = ", ".join(f"{count} {fate}" for fate, count in sorted(fates.items()))
        return f"{point} at passing {passing}: resolved after {resolved_s:.2f} s; {told}"

    async def _death(self, name: str) -> float:
        """When the gateway has ended itself."""
        gateway = self._rig.gateways[name]
        deadline = time.monotonic() + DIES_S_MAX
        while gateway.is_running:
            assert time.monotonic() < deadline, "the gateway does not come to its crash point"
            await asyncio.sleep(POLL_S / 10)
        assert gateway.wait() == -9, f"it did not end by its crash point: {gateway.err[-5:]}"
        return time.monotonic()

    async def _resolved(self, died_s: float) -> float:
        """How long after that moment nothing is in doubt any more, as soon as somebody can be asked.

        Raises:
            NotResolved: it takes too long.
        """
        while True:
            found = await self._rig.prepared()
            taken_s = time.monotonic() - died_s
            if found is not None and not found["prepared"] and not found["missing"]:
                return taken_s
            if taken_s > TXN_S_MAX + AFTER_S_MAX:
                raise NotResolved(f"in doubt {taken_s:.1f} s after the gateway ended: {found}")
            await asyncio.sleep(POLL_S)


async def run(points: Sequence[str], seed: int, data: Path) -> Rounds:
    """One round each; raises what is wrong."""
    rng = random.Random(seed)
    async with Rig(data, LAYOUT, None, rng) as rig, Client(rig.urls[0], timeout_s=CLIENT_S) as client:
        writers = PairWriters(await tags_apart(client, LAYOUT.partitions), CLIENTS, rng)
        probe = Probe(rig, client, writers, rng)
        for number, point in enumerate(points, 1):
            print(f"round {number}: {await probe.round(point)}", flush=True)
        await compare(rig)
        await stop_and_verify(rig)
        print(f"transactions: {dict(writers.counts)}")
    return probe.rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of keys and moments")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-coordinator-"))
    points = list(itertools.islice(itertools.cycle(POINTS), arguments.rounds))
    try:
        rounds = asyncio.run(run(points, arguments.seed, data))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; the data stays in {data}")
        return 1
    shutil.rmtree(data)
    print(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
