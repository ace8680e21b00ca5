"""A cluster that grows from three nodes to five and shrinks back to three, while clients go on: `grow_shrink.py`.

A foreground of PUT and GET at a fixed rate over many records is measured before and meanwhile (`foreground.py`);
beside it clients write, delete and let expire keys of their own. Each change is over when nothing moves any more. What
is judged: no request failed, the p99 of the foreground at most tripled, what was acknowledged is there and what
expired is gone, all copies are equal, copies and leaders are as even as they should be, and no more copies moved than
had to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.expiring import Expiring
from probe.load import Load
from probe.processes import Cluster

from kvstore.client import Client
from kvstore.errors import KvError

FOREGROUND = Path(__file__).resolve().parent.parent.parent / "loadtest" / "foreground.py"
START = ("n1", "n2", "n3")
CALM_S = 30.0
REQUEST_S = 5.0
QUIET_S = 3.0
POLL_S = 0.2
CHANGE_S_MAX = 400.0
P99_TIMES_MAX = 3.0
MOVED_SHARE_MAX = 1.10
LOAD_SHARE_MAX = 1.05
WRITERS, KEYS_EACH, PAUSE_S = 8, 200, 0.05
EXPIRING, EXPIRING_PAUSE_S = 2, 0.05

_WHOLE = re.compile(r"^ *whole +(\d+) +(\d+) +\d+ \| +\S+ +\S+ +(\S+) \| +\S+ +\S+ +(\S+) +\| (.*)$")


class Wrong(AssertionError):
    """Something that was promised does not hold."""


@dataclass(frozen=True)
class Noticed:
    """What the foreground's clients noticed of one stretch."""

    sent: int
    put_p99_ms: float
    get_p99_ms: float
    failed: str


class Foreground:
    """The load at a fixed rate, as a process whose lines are printed."""

    def __init__(self, url: str, rate: float, records: int) -> None:
        self._command = (
            *(sys.executable, str(FOREGROUND), "--gateway", url, "--keys", str(records), "--seconds", "3600"),
            *("--puts-per-second", str(rate / 2), "--gets-per-second", str(rate / 2), "--window", "5"),
        )
        self._last = ""

    async def __aenter__(self) -> Foreground:
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=subprocess.PIPE)
        self._begun = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        await self._begun.wait()
        return self

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._last = line.decode().rstrip("\n")
            print(self._last, flush=True)
            self._begun.set()
        self._begun.set()

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        await self._process.wait()
        await self._reader

    def noticed(self) -> Noticed:
        """Of the whole stretch, after its end."""
        match = _WHOLE.match(self._last)
        assert match is not None, f"the foreground ended with {self._last!r}"
        sent, _, put_p99_ms, get_p99_ms, failed = match.groups()
        return Noticed(int(sent), float(put_p99_ms), float(get_p99_ms), "" if failed == "0" else failed)


class Growing:
    """One run on a cluster."""

    def __init__(self, cluster: Cluster, client: Client, load: Load, expiring: Expiring) -> None:
        self._cluster = cluster
        self._client = client
        self._load = load
        self._expiring = expiring
        self._copies: dict[int, frozenset[str]] = {}

    async def status(self) -> dict[str, Any]:
        return await self._client.status()

    async def begin(self) -> None:
        """Note where the copies are."""
        self._copies = placement(await self.status())

    async def add(self, name: str) -> None:
        """Start a node, and wait until it has its share."""
        nodes = len((await self.status())["nodes"])
        await self._change(f"{name} joins", nodes + 1, lambda: self._start(name))

    async def remove(self, name: str) -> None:
        """Remove a node, and wait until its process has ended by itself."""
        nodes = len((await self.status())["nodes"])
        await self._change(f"{name} leaves", nodes - 1, lambda: self._drain(name))
        code = await asyncio.to_thread(self._cluster.nodes[name].wait)
        if code != 0:
            raise Wrong(f"{name} ended with {code}: {self._cluster.nodes[name].err[-3:]}")

    async def _start(self, name: str) -> None:
        await asyncio.to_thread(self._cluster.start_node(name).wait_ready)

    async def _drain(self, name: str) -> None:
        answer = await asyncio.to_thread(self._cluster.ask, "DELETE", f"/v1/cluster/nodes/{name}")
        if answer.status != 202:
            raise Wrong(f"removing {name}: {answer.status} {answer.body!r}")

    async def _change(self, what: str, nodes: int, begin: Any) -> None:
        started, counts = time.monotonic(), self._load.counts()
        await begin()
        steps = await self._wait_at_rest(nodes)
        took_s = time.monotonic() - started
        writes = self._load.counts()[0] - counts[0]
        before, self._copies = self._copies, placement(await self.status())
        moved = sum(len(holders - before[pid]) for pid, holders in self._copies.items())
        leaving = what.endswith("leaves")
        share = sum(map(len, before.values())) / (nodes + 1 if leaving else nodes)
        moved_max = math.ceil(MOVED_SHARE_MAX * share)
        print(
            f"--- {what}: {took_s:.1f} s, {moved} copies moved (at most {moved_max}), {writes} writes, {steps}",
            flush=True,
        )
        if moved > moved_max:
            raise Wrong(f"{moved} copies moved, at most {moved_max} have to")
        check_even(await self.status())

    async def _wait_at_rest(self, nodes: int) -> str:
        """Until nothing has moved for a while; returns which steps of moves were seen."""
        steps: set[str] = set()
        deadline = time.monotonic() + CHANGE_S_MAX
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_S:
            if time.monotonic() > deadline:
                raise Wrong(f"not at rest after {CHANGE_S_MAX:.0f} s: {json.dumps(await self.status())[:2000]}")
            status = await self.status()
            steps |= {str(move.get("step", "")) for move in status["moves"]}
            is_even = not uneven(status)
            if status["state"] != "healthy" or status["moves"] or len(status["nodes"]) != nodes or not is_even:
                quiet_since = time.monotonic()
            await asyncio.sleep(POLL_S)
        return f"steps seen: {', '.join(sorted(steps)) or 'none'}"

    async def judge(self, records: int) -> None:
        """Read everything back and compare all copies."""
        keys = await self._load.check(self._client)
        kept, gone = await self._expiring.check(self._client)
        acknowledged, refused, unknown = self._load.counts()
        print(
            f"{acknowledged} writes and deletes acknowledged, {refused} refused, {unknown} unknown; {keys} keys as told"
        )
        print(f"{kept} keys kept their time, {gone} expired; {self._expiring.failed} of these requests failed")
        answer = await asyncio.to_thread(self._cluster.ask, "POST", "/v1/cluster/verify")
        print(f"verify: {answer.body.decode()}")
        document = json.loads(answer.body)
        if answer.status != 200 or not document["ok"]:
            raise Wrong("copies differ")
        held = sum(node["keys"] for node in (await self.status())["nodes"])
        print(f"{held} keys in all copies; {records} records were stored twice")
        if refused + unknown + self._expiring.failed:
            raise Wrong(f"{refused + unknown + self._expiring.failed} requests failed")


def placement(status: Mapping[str, Any]) -> dict[int, frozenset[str]]:
    """Which nodes hold each partition."""
    return {one["id"]: frozenset(one["replicas"]) for one in status["partitions"]}


def uneven(status: Mapping[str, Any]) -> list[str]:
    """Nodes that hold, or lead, more than their share allows."""
    nodes = [node["id"] for node in status["nodes"]]
    copies = sum(len(one["replicas"]) for one in status["partitions"])
    found = []
    for name in nodes:
        holds = sum(name in one["replicas"] for one in status["partitions"])
        leads = sum(name == one["leader"] for one in status["partitions"])
        for what, count, total in (("holds", holds, copies), ("leads", leads, len(status["partitions"]))):
            count_max = math.ceil(LOAD_SHARE_MAX * total / len(nodes))
            if count > count_max:
                found.append(f"{name} {what} {count}, at most {count_max}")
    return found


def check_even(status: Mapping[str, Any]) -> None:
    """Raises `Wrong` where a node has more than its share."""
    if found := uneven(status):
        raise Wrong("; ".join(found))


async def run(cluster: Cluster, options: argparse.Namespace) -> None:
    """The whole story; raises what is wrong."""
    rng = random.Random(options.seed)
    load, expiring = Load(WRITERS, KEYS_EACH, rng), Expiring(EXPIRING, rng)
    async with Client(cluster.url, timeout_s=REQUEST_S) as client:
        growing = Growing(cluster, client, load, expiring)
        async with Foreground(cluster.url, options.rate, options.records) as foreground:
            await growing.begin()
            writers, expirers = load.start(client, PAUSE_S), expiring.start(client, EXPIRING_PAUSE_S)
            await asyncio.sleep(CALM_S)
        before = foreground.noticed()
        started = time.monotonic()
        async with Foreground(cluster.url, options.rate, options.records) as foreground:
            for name in ("n4", "n5"):
                await growing.add(name)
            for name in ("n5", "n4"):
                await growing.remove(name)
        took_s = time.monotonic() - started
        during = foreground.noticed()
        await load.stop(writers)
        await expiring.stop(expirers)
        await growing.judge(options.records)
    acknowledged = load.counts()[0]
    print(f"3 -> 4 -> 5 -> 3 nodes in {took_s:.0f} s; {during.sent / took_s + acknowledged / took_s:.0f} operations/s")
    worst = 0.0
    for what, was_ms, is_ms in (
        ("PUT", before.put_p99_ms, during.put_p99_ms),
        ("GET", before.get_p99_ms, during.get_p99_ms),
    ):
        print(f"{what} p99: {was_ms:.1f} ms before, {is_ms:.1f} ms meanwhile: {is_ms / was_ms:.2f} times")
        worst = max(worst, is_ms / was_ms)
    if before.failed or during.failed:
        raise Wrong(f"requests of the foreground failed: {before.failed or during.failed}")
    if worst > P99_TIMES_MAX:
        raise Wrong(f"p99 rose to {worst:.2f} times what it was, at most {P99_TIMES_MAX:.0f} are allowed")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=400.0, help="requests of the foreground per second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the load")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-grow-"))
    cluster = Cluster(data, len(START))
    try:
        for name in START:
            cluster.start_node(name)
        cluster.wait_ready()
        asyncio.run(run(cluster, options))
    except (AssertionError, KvError) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    finally:
        cluster.close()
        shutil.rmtree(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
