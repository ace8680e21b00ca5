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
from probe.ledger import Ledger, Lost, Stored
from probe.up import Up

from kvstore.client import Client, Get, Value
from kvstore.errors import KeyNotFound, KvError

COPIES = 2
CLIENTS = 12
KEYS_EACH = 150
READ_OPS = 50
DELETE_CHANCE = 0.15
KILL_AGAIN_CHANCE = 0.25
SIZES = (20,) * 50 + (100,) * 100 + (2_000,) * 20 + (20_000,) * 4 + (300_000,)
REPORT_S_MAX = 10.0


class Probe:
    """A cluster on `data`, and what its clients were told, from round to round."""

    def __init__(self, data: Path, seed: int) -> None:
        self._data = data
        self._rng = random.Random(seed)
        self._ledgers = [Ledger() for _ in range(CLIENTS)]
        self._values = 0
        self._up = Up(data)

    async def round(self, seconds: float) -> str:
        """Write, kill, start again, check; returns what there is to tell."""
        self._up.wait_ready()
        before = self._counts()
        started = time.monotonic()
        await self._write_until_killed(self._rng.uniform(0.2, 1.0) * seconds)
        write_s = time.monotonic() - started
        done, refused, unknown = (late - early for early, late in zip(before, self._counts(), strict=True))
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

    def _counts(self) -> tuple[int, int, int]:
        ledgers = self._ledgers
        return sum(x.acknowledged for x in ledgers), sum(x.refused for x in ledgers), sum(x.unknown for x in ledgers)

    async def _write_until_killed(self, seconds: float) -> None:
        async with Client(self._up.url, timeout_s=5.0, connections_max=CLIENTS) as client:
            writers = [asyncio.create_task(self._write(client, number)) for number in range(CLIENTS)]
            await asyncio.sleep(seconds)
            self._kill_all()
            for writer in writers:
                writer.cancel()
            for outcome in await asyncio.gather(*writers, return_exceptions=True):
                if not isinstance(outcome, asyncio.CancelledError):
                    raise RuntimeError("a writer ended by itself") from outcome

    async def _write(self, client: Client, number: int) -> None:
        ledger, rng = self._ledgers[number], random.Random(self._rng.random())
        while True:
            key = f"c{number}/{rng.randrange(KEYS_EACH)}"
            value = None if rng.random() < DELETE_CHANCE else self._next_value(rng)
            asked = ledger.ask(key, value)
            try:
                if value is None:
                    await client.delete(key)
                else:
                    await client.put(key, value)
            except KvError as error:
                if error.definite:
                    ledger.refuse(key, asked)
            else:
                ledger.done(key, asked)

    def _next_value(self, rng: random.Random) -> bytes:
        self._values += 1
        return f"{self._values:>12}".encode().ljust(rng.choice(SIZES), b".")

    # ---- checks -------------------------------------------------------------------------------------------------

    async def _check(self, cluster: bytes) -> int:
        """Returns how many keys were read."""
        keys = [key for ledger in self._ledgers for key in ledger]
        found: dict[str, Stored] = {}
        async with Client(self._up.url, timeout_s=10.0) as client:
            for start in range(0, len(keys), READ_OPS):
                group = keys[start : start + READ_OPS]
                found.update(zip(group, await _read(client, group), strict=True))
            for ledger in self._ledgers:
                ledger.check(found)
            await self._check_copies(client, cluster)
        return len(keys)

    async def _check_copies(self, client: Client, cluster: bytes) -> None:
        live = {key: value for ledger in self._ledgers for key, value in ledger.live().items()}
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


async def _read(client: Client, keys: list[str]) -> list[Stored]:
    values: list[Stored] = []
    for key, outcome in zip(keys, await client.batch([Get(key) for key in keys]), strict=True):
        if isinstance(outcome, Value):
            values.append(outcome.data)
        elif isinstance(outcome, KeyNotFound):
            values.append(None)
        else:
            raise Lost(f"{key} cannot be read: {outcome!r}")
    return values


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
