"""Transactions beside PUTs, on a cluster of three nodes on this machine: latency, throughput, CPU, and one hot key.

Guarantees: each round measures every kind in turn on the same cluster; ratios are medians of the ratios within rounds;
CPU is that of all the cluster's processes, as the kernel counts it, divided by the requests of the same seconds; no two
requests under way have a key in common, but where one key is hot. Leaves to others: what the figures should be, but for
the lines that stand beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hot_key import HotKeyTally, run_hot_key
from own_cluster import cluster
from processes import cpu_s, descendants
from wrk_runs import Load, Round, is_installed, run_wrk

from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

PUT, LONG, ONE, TWO, APART = "PUT", "PUT, parsed", "txn, one key", "txn, one partition", "txn, two partitions"
KINDS = {PUT: "put", LONG: "long", ONE: "one", TWO: "two", APART: "apart"}
CLIENTS = 64
TAGS = 32
# More than there are tags and the hot key.
PARTITIONS = 64
HOT_KEY = "bench/hot"


@dataclass(frozen=True)
class Line:
    """A figure that is to hold: at most `most`, or at least `least`."""

    name: str
    unit: str = ""
    most: float | None = None
    least: float | None = None

    def told(self, values: Sequence[float]) -> str:
        """The median, all values, and whether the line is met."""
        median = statistics.median(values)
        bound = f"<= {self.most:g}" if self.most is not None else f">= {self.least:g}"
        is_met = median <= self.most if self.most is not None else median >= (self.least or 0.0)
        each = " ".join(f"{value:.2f}" for value in values)
        return f"{self.name:<52} {median:>9.2f}{self.unit:<3} {bound + self.unit:>10}  {_word(is_met)}  ({each})"


def _word(is_met: bool) -> str:
    return "met  " if is_met else "short"


LATENCY = Line("two partitions at one client, median, of a PUT's", most=3)
CPU = Line("CPU of two partitions, of two PUTs'", most=2.5)
APART_RATE = Line(f"two partitions a second, {CLIENTS} connections", "/s", least=1200)
ONE_SHARE = Line("one key in a transaction, of PUTs through aiohttp", least=0.8)
TWO_SHARE = Line("one partition, two keys, of PUTs through aiohttp", least=0.8)
HOT_RATE = Line(f"{CLIENTS} clients on one key: transactions a second", "/s", least=100)
HOT_WAIT = Line("and the longest that a client waited", " s", most=5)


@dataclass(frozen=True)
class Measured:
    """One round: at one connection, at many, CPU seconds of a request at many, and the hot key."""

    alone: dict[str, Round]
    crowd: dict[str, Round]
    cpu_s: dict[str, float]
    hot: HotKeyTally

    @property
    def failed(self) -> int:
        return sum(one.failed for one in (*self.alone.values(), *self.crowd.values()))


FIGURES: tuple[tuple[Line, Callable[[Measured], float]], ...] = (
    (LATENCY, lambda one: one.alone[APART].p50_ms / one.alone[PUT].p50_ms),
    (CPU, lambda one: one.cpu_s[APART] / (2 * one.cpu_s[PUT])),
    (APART_RATE, lambda one: one.crowd[APART].requests_per_s),
    (ONE_SHARE, lambda one: one.crowd[ONE].requests_per_s / one.crowd[LONG].requests_per_s),
    (TWO_SHARE, lambda one: one.crowd[TWO].requests_per_s / one.crowd[LONG].requests_per_s),
    (HOT_RATE, lambda one: one.hot.in_time / one.hot.seconds),
    (HOT_WAIT, lambda one: one.hot.waited_s_max),
)


def tags_apart(client: SyncClient) -> list[str]:
    """Hash tags, each of another partition, none of them that of the hot key."""
    seen = {client.locate(HOT_KEY)["partition"]}
    tags = []
    for number in itertools.count():
        tag = f"t{number}"
        partition = client.locate(f"{{{tag}}}")["partition"]
        if partition not in seen:
            seen.add(partition)
            tags.append(tag)
        if len(tags) == TAGS:
            return tags
    raise AssertionError("there is no last number")


def cpu_s_now() -> float:
    """What all processes below this one have used so far."""
    return cpu_s(descendants(os.getpid()))


def measure_round(url: str, client: SyncClient, tags: Path, seconds: int, seed: int) -> Measured:
    """All kinds, one after the other.

    Raises:
        OperatorError: the hot key does not stand at what its clients were told.
    """
    alone, crowd, used_s = {}, {}, {}
    for kind, script in KINDS.items():
        load = Load(kind, "txns.lua", (script, str(tags)))
        alone[kind] = run_wrk(url, load, 1, seconds, seed)
        before_s = cpu_s_now()
        crowd[kind] = run_wrk(url, load, CLIENTS, seconds, seed)
        used_s[kind] = (cpu_s_now() - before_s) / (crowd[kind].requests_per_s * seconds)
    client.delete(HOT_KEY)
    parts = urlsplit(url)
    names = tags.read_text().split()
    others = [f"bench/{{{names[number % len(names)]}}}/cold/{number}" for number in range(CLIENTS)]
    hot = asyncio.run(run_hot_key(parts.hostname or "", parts.port or 0, HOT_KEY, others, seconds))
    counted = int(client.get(HOT_KEY).data)
    if counted != hot.committed:
        raise OperatorError(f"the hot key stands at {counted}, {hot.committed} transactions were acknowledged")
    return Measured(alone, crowd, used_s, hot)


def told(number: int, one: Measured) -> str:
    """A round, a line for each kind."""
    lines = [
        f"{number:>5}  {kind:<20} {one.alone[kind].p50_ms:>8.2f} {one.alone[kind].p99_ms:>8.2f} "
        f"{one.crowd[kind].requests_per_s:>10.0f} {one.crowd[kind].p50_ms:>8.1f} {one.crowd[kind].p99_ms:>8.1f} "
        f"{one.cpu_s[kind] * 1e6:>8.0f} {one.alone[kind].failed + one.crowd[kind].failed:>7}"
        for kind in KINDS
    ]
    answers = ", ".join(f"{count} {status}" for status, count in sorted(one.hot.answers.items()))
    lines.append(
        f"{number:>5}  hot key: {one.hot.in_time / one.hot.seconds:.0f}/s, at most {one.hot.waited_s_max:.2f} s "
        f"until one was carried out; answers: {answers}; load avg {os.getloadavg()[0]:.2f}"
    )
    return "\n".join(lines)


def measure(rounds: int, seconds: int) -> list[Measured]:
    """So many rounds on one cluster; prints each."""
    found = []
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as name:
        folder = Path(name)
        with cluster(folder / "data", partitions=PARTITIONS) as url, SyncClient(url, timeout_s=30) as client:
            tags = folder / "tags"
            tags.write_text("\n".join(tags_apart(client)))
            print(f"1 and {CLIENTS} connections, 100-byte values, {os.cpu_count()} cores")
            print("round  kind                  1: p50 ms   p99   requests/s   p50 ms   p99 ms   CPU us  failed")
            for number in range(1, rounds + 1):
                found.append(measure_round(url, client, tags, seconds, number))
                print(told(number, found[-1]), flush=True)
    return found


def main() -> int:
    """The command: returns 1 when requests failed, or with a line on standard error when nothing can be measured."""
    parser = argparse.ArgumentParser(description="Transactions beside PUTs on a cluster of three nodes.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each kind, at one connection and at many")
    options = parser.parse_args()
    if not is_installed():
        print("txn_bench: wrk is missing: apt-get install wrk", file=sys.stderr)
        return 1
    try:
        found = measure(options.rounds, options.seconds)
    except (OperatorError, KvError) as error:
        print(f"txn_bench: {error}", file=sys.stderr)
        return 1
    for line, figure in FIGURES:
        print(line.told([figure(one) for one in found]))
    return 1 if any(one.failed for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
