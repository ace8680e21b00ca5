"""The whole HTTP API against a plain dict, while nodes and gateways are killed and partitions move: `state_machine.py`.

Machines with keys of their own take random steps and judge every answer, until so many requests were judged. All the
time a node or a gateway is killed and started again, and nodes join and leave, one after the other. At the end every
key is read back and copies are compared. A run with a wrong answer fails; one with fewer than 3 failovers, no move, or
less than 80 % of the requests answered is void.
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import compare, stop_and_verify, wait_healed, wait_settled
from probe.bulk import Bulk
from probe.kill_moves import keep_logs
from probe.machine.crew import Crew, Faults
from probe.nemeses.catalogue import NEMESES
from probe.rig import Layout, Rig, why_not
from probe.trial import SUCCEEDED_MIN, Void
from probe.watch import Watch

from kvstore.client import Client

MACHINES = 16
# Copies are filled with data, not by their logs, and in several pieces, so that moves take their time.
SETTINGS = {"KVSTORE_LOG_RETENTION_S": "1"}
BALLAST_KEYS, BALLAST_BYTES = 8_000, 2_048
KILLS = ("kill_leader", "kill_follower", "kill_gateway")
HOLD_S, CALM_S = (0.5, 2.5), (0.2, 1.5)
FAILOVERS_MIN = 3
WRONG_MAX = 10
TELL_S = 20.0
# Totals; every other count is of one kind of request.
TOTALS = ("asked", "judged", "unknown", "504")
MORE = ("sent again", "operations in batches", "refused operations in batches", "imported items")


@dataclass
class Measured:
    """What a run came to."""

    seconds: float = 0.0
    failovers: int = 0
    moves: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    members: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = self.counts
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()) if kind not in TOTALS + MORE)
        more = ", ".join(f"{counts[name]} {name}" for name in MORE)
        harm = ", ".join(f"{number} times {what}" for what, number in sorted((self.kills + self.members).items()))
        rate = counts["asked"] / max(self.seconds, 1)
        return (
            f"{self.seconds:.0f} s, {counts['asked']} requests ({rate:.0f}/s): {kinds}\n"
            f"{more}\n"
            f"{counts['judged']} answers judged, {self.succeeded:.1%} of the requests; {counts['unknown']} unknown, "
            f"{counts['504']} times 504\n"
            f"{self.failovers} failovers, {self.moves} moves, {self.kills.total()} kills; {harm}"
        )

    @property
    def succeeded(self) -> float:
        """The share of requests that were answered with what is judged."""
        return self.counts["judged"] / max(self.counts["asked"], 1)

    def check(self) -> None:
        """Raises `Void` where it proves nothing."""
        if self.succeeded < SUCCEEDED_MIN:
            raise Void(f"{self.succeeded:.0%} of the requests were answered, {SUCCEEDED_MIN:.0%} are needed")
        if self.failovers < FAILOVERS_MIN:
            raise Void(f"{self.failovers} failovers, {FAILOVERS_MIN} are needed")
        if not self.moves:
            raise Void("nothing moved")


class Harm:
    """Kills, one after the other, while nodes join and leave."""

    def __init__(self, rig: Rig, watch: Watch, rng: random.Random, faults: Faults, measured: Measured) -> None:
        self._rig = rig
        self._watch = watch
        self._rng = rng
        self._faults = faults
        self._measured = measured

    async def round(self) -> None:
        """Have a node join or leave, if the last has, kill somebody, and wait until all copies are in sync again."""
        if await self._is_settled():
            async with NEMESES["join_or_leave"].harm(self._rig, self._rng) as told:
                self._faults.note(told)
                self._measured.members[told.split()[0]] += 1
                await self._rest(CALM_S)
        leaders = self._watch.leaders
        name = self._rng.choice(KILLS)
        async with NEMESES[name].harm(self._rig, self._rng) as told:
            self._faults.note(told)
            self._measured.kills[name] += 1
            await self._rest(HOLD_S)
        self._faults.note("started again")
        await wait_healed(self._rig)
        self._measured.failovers += name != "kill_gateway" and self._watch.leaders > leaders
        await self._rest(CALM_S)

    async def _is_settled(self) -> bool:
        status = await self._rig.status()
        if status is None or not self._rig.forget_removed(node["id"] for node in status["nodes"]):
            return False
        return status["state"] == "healthy" and not status["moves"]

    async def _rest(self, seconds: tuple[float, float]) -> None:
        await asyncio.sleep(self._rng.uniform(*seconds))


async def run(operations: int, seed: int, data: Path, layout: Layout) -> tuple[Measured, list[str]]:
    """Returns what it came to, and what was wrong; raises what else went wrong."""
    rng, faults, measured = random.Random(seed), Faults(), Measured()
    async with Rig(data, layout, None, rng, **SETTINGS) as rig, Watch(rig) as watch:
        async with Client(rig.urls[0], timeout_s=20.0) as client:
            await Bulk().write(client, {f"ballast/{n}": rng.randbytes(BALLAST_BYTES) for n in range(BALLAST_KEYS)})
        crew, harm, started = (
            Crew(rig.urls, MACHINES, seed, faults, data),
            Harm(rig, watch, rng, faults, measured),
            time.monotonic(),
        )
        crew.start()
        try:
            await _until(operations, crew, harm)
            await wait_settled(rig)
        except BaseException:
            keep_logs(rig)
            raise
        finally:
            await asyncio.to_thread(crew.stop)
        measured.seconds = time.monotonic() - started
        measured.counts, measured.moves = crew.counts(), len(watch.moves)
        if crew.wrong:
            keep_logs(rig)
        print(f"  {await compare(rig)} keys in equal copies", flush=True)
        await stop_and_verify(rig)
    return measured, crew.wrong


async def _until(operations: int, crew: Crew, harm: Harm) -> None:
    """Harm until so many requests were judged, or too many answers were wrong."""
    told_at = time.monotonic()
    while (judged := crew.counts()["judged"]) < operations and len(crew.wrong) < WRONG_MAX:
        crew.check()
        await harm.round()
        if time.monotonic() - told_at > TELL_S:
            told_at = time.monotonic()
            print(f"  {judged} answers judged, {len(crew.wrong)} of them wrong", flush=True)


def the_layout() -> Layout:
    """Two gateways, where this machine can have them."""
    layout = Layout(gateways=2)
    if reason := why_not(layout):
        print(f"one gateway alone: {reason}", flush=True)
        return Layout()
    return layout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000, help="answers to be judged")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of steps, victims and moments")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-machine-"))
    try:
        measured, wrong = asyncio.run(run(arguments.operations, arguments.seed, data, the_layout()))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; data and logs stay in {data}")
        return 1
    print(measured)
    for text in wrong:
        print(f"wrong: {text}")
    print(f"{len(wrong)} wrong answers, seed {arguments.seed}")
    if wrong:
        print(f"data and logs stay in {data}")
        return 1
    shutil.rmtree(data)
    try:
        measured.check()
    except Void as error:
        print(f"void: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
