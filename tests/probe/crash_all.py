"""kill -9 of a whole cluster under load, again and again: `crash_all.py --rounds 20`.

Each round writes at full speed, kills all processes at a random moment (now and then once more while they recover),
verifies the files, starts again, reads back every key that a client ever wrote, and compares both copies of every
partition and the counters. The last line is `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lmdb.verify import verify
from probe.copies import Different, cluster_id, compare_copies
from probe.load import Load
from probe.up import Up

from kvstore.client import Client

COPIES = 2
CLIENTS = 12
KEYS_EACH = 150
KILL_AGAIN_CHANCE = 0.25
REPORT_S_MAX = 10.0


class Probe:
    """A cluster on `data`, and what its clients were told, from round to round."""

    def __init__(self, data: Path, seed: int) -> None:
        self._data = data
        self._rng = random.Random(seed)
        self._load = Load(CLIENTS, KEYS_EACH, self._rng)
        self._up = Up(data)

    async def round(self, seconds: float) -> str:
        """Write, kill, start again, check; returns what there is to tell."""
        self._up.wait_ready()
        before = self._load.counts()
        started = time.monotonic()
        await self._write_until_killed(self._rng.uniform(0.2, 1.0) * seconds)
        write_s = time.monotonic() - started
        done, refused, unknown = (late - early for early, late in zip(before, self._load.counts(), strict=True))
        killed = 1 + await self._maybe_kill_again()
        self._verify_files()
        cluster = await cluster_id(self._data / "gateway")
        started = time.monotonic()
        self._up = Up(self._data).wait_ready()
        ready_s = time.monotonic() - started
        keys = await self._check(cluster)
        return (
            f"{done} acknowledged ({done / write_s:.0f}/s), {refused} refused, {unknown} unknown; "
            f"killed {killed} times; ready in {ready_s:.1f} s; {keys} keys as told, copies equal"
        )

    def close(self) -> None:
        """Kill what still runs."""
        self._kill_all()

    def _kill_all(self) -> None:
        if self._up.is_running:
            self._up.kill_all()

    async def _maybe_kill_again(self) -> int:
        if self._rng.random() >= KILL_AGAIN_CHANCE:
            return 0
        self._up = Up(self._data)
        await asyncio.sleep(self._rng.uniform(0.5, 3.0))
        self._kill_all()
        return 1

    def _verify_files(self) -> None:
        for path in sorted(self._data.glob("n*/data.mdb")):
            problems = verify(str(path))
            if problems:
                raise Different(f"{path}: {problems}")

    # ---- load ---------------------------------------------------------------------------------------------------

    async def _write_until_killed(self, seconds: float) -> None:
        async with Client(self._up.url, timeout_s=5.0, connections_max=CLIENTS) as client:
            writers = self._load.start(client)
            await asyncio.sleep(seconds)
            self._kill_all()
            await self._load.stop(writers)

    # ---- checks -------------------------------------------------------------------------------------------------

    async def _check(self, cluster: bytes) -> int:
        """Returns how many keys were read."""
        async with Client(self._up.url, timeout_s=10.0) as client:
            keys = await self._load.check(client)
            await self._check_copies(client, cluster)
        return keys

    async def _check_copies(self, client: Client, cluster: bytes) -> None:
        live = self._load.live()
        live_bytes = sum(len(key) + len(value) for key, value in live.items())
        recount = await compare_copies(await client.status(), cluster)
        if sum(recount.values()) != COPIES * len(live):
            raise Different(f"{recount} keys in {COPIES} copies, {len(live)} were written")
        deadline = time.monotonic() + REPORT_S_MAX
        while True:
            nodes = (await client.status())["nodes"]
            counted = {node["id"]: node["keys"] for node in nodes}
            counted_bytes = sum(node["bytes"] for node in nodes)
            if counted == recount and counted_bytes == COPIES * live_bytes:
                return
            if time.monotonic() > deadline:
                raise Different(f"counters {counted} keys, {counted_bytes} bytes; there are {recount}, {live_bytes}")
            await asyncio.sleep(0.1)


async def run(rounds: int, seconds: float, seed: int, data: Path) -> tuple[int, int]:
    """Returns how many rounds passed and failed; a failed one is the last."""
    probe = Probe(data, seed)
    try:
        for number in range(1, rounds + 1):
            try:
                print(f"round {number}: {await probe.round(seconds)}", flush=True)
            except Exception as error:
                traceback.print_exc()
                print(f"round {number}: {type(error).__name__}: {error}; the data stays in {data}", flush=True)
                return number - 1, 1
    finally:
        probe.close()
    shutil.rmtree(data)
    return rounds, 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "20")))
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a round writes, at most")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of keys, sizes and moments")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-crash-"))
    passed, failed = asyncio.run(run(arguments.rounds, arguments.seconds, arguments.seed, data))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
