"""From kill -9 of a leader to the first write that its partitions take: `first_write.py --kills 20`.

For each kill the node that leads most is the victim; one writer for each of its partitions tries without a pause. What
counts is the slowest partition: the time from the kill to its first acknowledgement. The node is then started again,
and all copies are in sync before the next. Prints each time and the median; more than 5 s anywhere is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import wait_healed
from probe.crowd import Crowd
from probe.rig import Layout, Rig

from kvstore.client import Client
from kvstore.errors import KvError

FIRST_WRITE_S_MAX = 5.0
WRITE_S_MAX = 30.0
CALM_S = 1.0


async def keys_of(client: Client, partitions: set[int]) -> dict[int, str]:
    """A key of each partition."""
    found: dict[int, str] = {}
    number = 0
    while partitions - found.keys():
        number += 1
        key = f"first-{number}"
        found.setdefault((await client.locate(key))["partition"], key)
    return {pid: key for pid, key in found.items() if pid in partitions}


async def first_write(client: Client, key: str) -> None:
    """Try until one write is acknowledged."""
    while True:
        try:
            await client.put(key, b"first")
        except KvError:
            continue
        return


async def measure(rig: Rig, client: Client) -> tuple[str, int, float]:
    """Kill who leads most; returns who that was, what it led, and when the slowest of these took its first write."""
    status = await rig.status()
    assert status is not None
    victim = await rig.leader()
    keys = await keys_of(client, {one["id"] for one in status["partitions"] if one["leader"] == victim})
    killed_s = time.monotonic()
    await rig.kill(victim)
    async with asyncio.timeout(WRITE_S_MAX), asyncio.TaskGroup() as group:
        for key in keys.values():
            group.create_task(first_write(client, key))
    taken_s = time.monotonic() - killed_s
    await rig.start(victim)
    await wait_healed(rig)
    await asyncio.sleep(CALM_S)
    return victim, len(keys), taken_s


async def run(kills: int, seed: int, data: Path) -> list[float]:
    """Returns the times of all kills; raises what else is wrong."""
    rng = random.Random(seed)
    times = []
    async with (
        Rig(data, Layout(), None, rng) as rig,
        Crowd(rig.urls, rng) as crowd,
        Client(rig.urls[0], timeout_s=WRITE_S_MAX) as client,
    ):
        crowd.start()
        for number in range(1, kills + 1):
            victim, led, taken_s = await measure(rig, client)
            times.append(taken_s)
            print(f"kill {number}: {victim}, which led {led}: first write to all after {taken_s:.2f} s", flush=True)
        await crowd.stop()
        for verdict in await crowd.judge():
            print(f"  {verdict}", flush=True)
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the load")
    parser.add_argument("--json", type=Path, help="a file for the times, in seconds")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-first-"))
    times = asyncio.run(run(arguments.kills, arguments.seed, data))
    shutil.rmtree(data)
    if arguments.json:
        arguments.json.write_text(json.dumps(times))
    print(f"{len(times)} kills: median {statistics.median(times):.2f} s, longest {max(times):.2f} s")
    return 1 if max(times) > FIRST_WRITE_S_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
