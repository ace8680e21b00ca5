"""kill -9 of the source, the target and the gateway at each step of a move, in turn, under load: `kill_moves.py`.

Each round makes a node lighter, or as heavy as before, watches the moves that follow, and kills the process with the
round's role in the first move that is seen at the round's step; then it starts it again. By itself every move has to
end; then all copies are compared and everything is read back. A round that does not meet its step is tried again and
not counted; a step that passes unseen in several tries is met by a kill at random after the step before, and counted
apart.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import compare, stop_and_verify
from probe.bulk import Bulk
from probe.copies import Different
from probe.load import Load
from probe.moves import Operator, Sight
from probe.rig import Layout, Rig

from cluster.control.moving import Step
from kvstore.client import Client

LAYOUT = Layout(nodes=4, partitions=16)
COPIES = 2
# Two moves a node, and reports so often that no step hides between two of them; a copy gets data, not only a log.
SETTINGS = {"KVSTORE_LOG_RETENTION_S": "1", "KVSTORE_REPORT_S": "0.1", "KVSTORE_MOVES_PER_NODE": "2"}
ROLES = ("source", "target", "gateway")
ORDER = (*(step for step in Step if step not in (Step.ABORT, Step.DONE)), Step.ABORT)
CLIENTS, KEYS_EACH, PAUSE_S = 4, 60, 0.05
FILL_KEYS_EACH, FILL_BYTES = 256, 2048
# More than a new copy may lack and still be called near.
BURST_KEYS, BURST_WRITERS = 3000, 3
# So slow that a fill of a partition takes a second.
SLOW_BYTES_PER_S = 400_000
SLOWED = (Step.BACKFILL, Step.CATCH_UP, Step.ABORT)
POLL_S, SETTLE_POLL_S = 0.002, 0.1
MEET_S_MAX = 40.0
SETTLED_S_MAX = 120.0
EXACT_TRIES, TRIES_MAX = 3, 8
GUESS_S_MAX = 0.4
CLIENT_S = 20.0


class NotMet(AssertionError):
    """No move came to the step, however often one was brought about."""


class Stuck(AssertionError):
    """A move does not end."""


@dataclass(frozen=True, slots=True)
class Aim:
    """Which process of a move is killed, and when."""

    step: Step
    role: str

    def victim(self, move: Sight, gateway: str) -> str:
        return {"source": move.source, "target": move.target, "gateway": gateway}[self.role]


AIMS = [Aim(step, role) for step, role in itertools.product(ORDER, ROLES)]


@dataclass(frozen=True, slots=True)
class Met:
    """A process was killed: `move` as it was seen last before; `is_exact` where that was the step aimed at."""

    move: Sight
    victim: str
    is_exact: bool


class Watching:
    """One try to meet an aim. Args: may_guess: kill at random after the step before, should the step pass unseen."""

    def __init__(self, aim: Aim, rng: random.Random, *, may_guess: bool) -> None:
        self._aim = aim
        self._rng = rng
        before = ORDER[ORDER.index(aim.step) - 1] if aim.step not in (Step.PLANNED, Step.ABORT) else None
        self._before = before if may_guess else None
        self._guess: tuple[float, Sight] | None = None

    def hit(self, moves: Sequence[Sight], now_s: float) -> tuple[Sight, bool] | None:
        """The move in which to kill now, and whether it stands at the step."""
        if there := [move for move in moves if move.step == self._aim.step]:
            return self._rng.choice(there), True
        if self._guess is None:
            if near := [move for move in moves if move.step == self._before]:
                self._guess = now_s + self._rng.uniform(0.0, GUESS_S_MAX), self._rng.choice(near)
        elif now_s >= self._guess[0]:
            return self._guess[1], False
        return None


class Probe:
    """A cluster, what its clients were told, and how often each aim was met."""

    def __init__(self, rig: Rig, client: Client, rng: random.Random) -> None:
        self.exact: Counter[Aim] = Counter()
        self.near: Counter[Aim] = Counter()
        self._rig = rig
        self._client = client
        self._rng = rng
        self._operator = Operator(client, rig.names, rng)
        self._load = Load(CLIENTS, KEYS_EACH, rng)
        self._fill = Bulk()
        self._burst = Bulk()
        self._bursting: dict[int, asyncio.Task[None]] = {}
        self._tags: dict[int, str] = {}

    async def fill(self) -> None:
        """Write what is to be moved: as much into each partition."""
        for number in itertools.count():
            tag = f"{{t{number}}}"
            self._tags.setdefault((await self._client.locate(tag))["partition"], tag)
            if len(self._tags) == LAYOUT.partitions:
                break
        for tag in self._tags.values():
            records = {f"{tag}/{number}": self._rng.randbytes(FILL_BYTES) for number in range(FILL_KEYS_EACH)}
            await self._fill.write(self._client, dict(records))

    async def round(self, aim: Aim) -> str:
        """Kill, start again, wait, check; returns what there is to tell."""
        async with self._under_load():
            met, tries = await self._meet_in_the_end(aim)
            fate, settled_s = await self._settle(aim, met)
        keys = await self._check()
        (self.exact if met.is_exact else self.near)[aim] += 1
        seen = f"at {aim.step}" if met.is_exact else f"near {aim.step}, after {met.move.step}"
        return (
            f"{aim.role} ({met.victim}) {seen}: {met.move}: {fate}; settled after {settled_s:.1f} s"
            f"{'' if tries == 1 else f', try {tries}'}; {keys} keys as told, verify clean"
        )

    def told(self) -> str:
        """What the clients were told."""
        acknowledged, refused, unknown = self._load.counts()
        return f"{acknowledged} writes and deletes acknowledged, {refused} refused, {unknown} unknown"

    @asynccontextmanager
    async def _under_load(self) -> AsyncIterator[None]:
        async with Client(self._rig.urls[0], timeout_s=5.0) as client:
            writers = self._load.start(client, PAUSE_S)
            try:
                yield
            finally:
                await self._load.stop(writers)
                await asyncio.gather(*self._bursting.values())

    # ---- the kill -----------------------------------------------------------------------------------------------

    async def _meet_in_the_end(self, aim: Aim) -> tuple[Met, int]:
        for tries in range(1, TRIES_MAX + 1):
            await self._operator.limit(SLOW_BYTES_PER_S if aim.step in SLOWED else 0)
            await self._operator.shift()
            met = await self._meet(aim, Watching(aim, self._rng, may_guess=tries > EXACT_TRIES))
            if met is not None:
                return met, tries
            await self._settle(aim, None)
        raise NotMet(f"{aim} in {TRIES_MAX} tries")

    async def _meet(self, aim: Aim, watching: Watching) -> Met | None:
        """None where all moves ended, or stand still, without a kill."""
        has_begun = False
        end = time.monotonic() + MEET_S_MAX
        while time.monotonic() < end:
            moves = await self._operator.moves()
            if hit := watching.hit(moves, time.monotonic()):
                move, is_exact = hit
                victim = aim.victim(move, self._rig.gateway_names[0])
                await self._rig.kill(victim)
                return Met(move, victim, is_exact)
            has_begun = has_begun or bool(moves)
            if has_begun and not moves:
                break
            await self._provoke(aim.step, moves)
            await asyncio.sleep(POLL_S)
        return None

    async def _provoke(self, step: Step, moves: Sequence[Sight]) -> None:
        """Bring about what no move comes to by itself."""
        if step is Step.ABORT:
            for move in moves:
                if move.step == Step.BACKFILL and await self._operator.abort(move):
                    return
        elif step is Step.CATCH_UP:
            for move in moves:
                if move.step == Step.VERIFY and move.id not in self._bursting:
                    self._bursting[move.id] = asyncio.create_task(self._write_burst(move.partition))

    async def _write_burst(self, partition: int) -> None:
        tag = self._tags[partition]
        keys = [f"{tag}/burst/{number}" for number in range(BURST_KEYS)]
        writing = [
            self._burst.write(self._client, dict.fromkeys(keys[first::BURST_WRITERS], b"burst"))
            for first in range(BURST_WRITERS)
        ]
        await asyncio.gather(*writing)

    # ---- afterwards ---------------------------------------------------------------------------------------------

    async def _settle(self, aim: Aim, met: Met | None) -> tuple[str, float]:
        """Start what was killed, and wait until nothing moves or is to move; returns what became of the move, and how
        long that took."""
        started = time.monotonic()
        if met is not None:
            await self._rig.start(met.victim)
            await self._rig.wait_started(met.victim)
        await self._operator.limit(0)
        fate = "" if met is not None else "none"
        is_paused = aim.step is Step.ABORT
        while True:
            self._rig.check_running()
            status = await self._client.status()
            if met is not None and not fate and met.move.is_over(status):
                fate = met.move.fate(status)
            if fate and is_paused:
                await self._operator.resume()
                is_paused = False
            if fate and status["state"] == "healthy" and not status["moves"] and await self._operator.is_all_in_place():
                return fate, time.monotonic() - started
            if time.monotonic() - started > SETTLED_S_MAX:
                raise Stuck(f"{status['state']} after {SETTLED_S_MAX:.0f} s, {fate}: {status['moves']}")
            await asyncio.sleep(SETTLE_POLL_S)

    async def _check(self) -> int:
        """Read everything back and compare all copies; returns how many keys there are."""
        await self._burst.check(self._client)
        await self._burst.delete_all(self._client)
        left = await self._burst.check(self._client)
        self._burst, self._bursting = Bulk(), {}
        await self._load.check(self._client)
        keys = await self._fill.check(self._client) + len(self._load.live()) + left
        verdict = await self._client.verify()
        if not verdict["ok"]:
            raise Different(f"verify: {verdict}")
        counted = await compare(self._rig)
        if counted != COPIES * keys:
            raise Different(f"{counted} keys in {COPIES} copies, {keys} were written")
        return keys


def table(probe: Probe) -> str:
    """How often each aim was met exactly, and after a `+` how often nearly."""
    lines = [f"{'step':<10}" + "".join(f"{role:>10}" for role in ROLES)]
    for step in ORDER:
        cells = ((probe.exact[Aim(step, role)], probe.near[Aim(step, role)]) for role in ROLES)
        lines.append(f"{step:<10}" + "".join(f"{f'{exact}+{near}' if near else exact:>10}" for exact, near in cells))
    return "\n".join(lines)


def keep_logs(rig: Rig) -> None:
    """Write what the processes that were started last told beside their data."""
    for name, process in (*rig.nodes.items(), *rig.gateways.items()):
        (rig.data / f"{name}.log").write_text("\n".join(process.err))


async def run(aims: Sequence[Aim], seed: int, data: Path) -> Probe:
    """One round each; raises what is wrong."""
    rng = random.Random(seed)
    async with Rig(data, LAYOUT, None, rng, **SETTINGS) as rig, Client(rig.urls[0], timeout_s=CLIENT_S) as client:
        probe = Probe(rig, client, rng)
        try:
            await probe.fill()
            for number, aim in enumerate(aims, 1):
                print(f"round {number}: {await probe.round(aim)}", flush=True)
            await stop_and_verify(rig)
        except BaseException:
            keep_logs(rig)
            raise
    return probe


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of nodes, keys and sizes")
    parser.add_argument("--only", choices=ORDER, help="this step alone")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-moves-"))
    aims = [aim for aim in AIMS if arguments.only in (None, aim.step)]
    try:
        probe = asyncio.run(run(list(itertools.islice(itertools.cycle(aims), arguments.rounds)), arguments.seed, data))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; data and logs stay in {data}")
        return 1
    shutil.rmtree(data)
    print(table(probe))
    print(f"{arguments.rounds} rounds: {probe.told()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
