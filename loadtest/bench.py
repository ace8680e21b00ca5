"""How many requests a second: a cluster of three nodes on this machine, with wrk beside it.

Guarantees: each figure is of a cluster started for it in a new directory, over several rounds, with failures counted
and the load average of the machine beside it. Leaves to others: what the figures should be (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from own_cluster import cluster

from kvstore.client import Get, Put, SyncClient
from kvstore.client.ops import Op, encode_batch
from kvstore.errors import OperatorError

SCRIPTS = Path(__file__).parent / "wrk"
KEYS = 10_000
VALUE = b"v" * 100
BATCH_OPS = 100
BATCH_FILES = 50


@dataclass(frozen=True)
class Round:
    """What wrk counted in one round; latencies in milliseconds."""

    requests_per_s: float
    failed: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Load:
    """One kind of load. `ops` is how many operations a request holds."""

    name: str
    script: str
    arguments: tuple[str, ...]
    ops: int = 1


def fill(url: str) -> None:
    """Put the keys that the reads ask for."""
    with SyncClient(url, timeout_s=30) as client:
        for first in range(0, KEYS, 500):
            puts: list[Op] = [Put(key_of(number), VALUE) for number in range(first, first + 500)]
            failed = [outcome for outcome in client.batch(puts) if isinstance(outcome, Exception)]
            if failed:
                raise OperatorError(f"cannot fill the cluster: {failed[0]}")


def key_of(number: int) -> str:
    return f"bench/{number:06}"


def write_batches(folder: Path) -> None:
    """Lay down the bodies that wrk sends."""
    for number in range(BATCH_FILES):
        keys = [key_of((number * BATCH_OPS + index * 7) % KEYS) for index in range(BATCH_OPS)]
        (folder / f"get{number}").write_bytes(encode_batch([Get(key) for key in keys]))
        (folder / f"put{number}").write_bytes(encode_batch([Put(key, VALUE) for key in keys]))


def run_wrk(url: str, load: Load, connections: int, seconds: int, seed: int) -> Round:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPTS / load.script), url, "--"]
    result = subprocess.run([*command, *load.arguments, str(seed)], check=True, capture_output=True, text=True)
    line = next(line for line in result.stdout.splitlines() if line.startswith("RESULT "))
    requests, duration_us, failed, p50_us, p99_us = (int(word) for word in line.split()[1:])
    return Round(requests / (duration_us / 1e6), failed, p50_us / 1000, p99_us / 1000)


def measure(rounds: int, seconds: int, connections: int) -> int:
    """Print a line a round; returns how many requests failed."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as name:
        folder = Path(name)
        write_batches(folder)
        loads = (
            Load("GET", "keys.lua", ("GET", str(KEYS))),
            Load("PUT", "keys.lua", ("PUT", str(KEYS))),
            Load("batch of gets", "batches.lua", (str(folder / "get"), str(BATCH_FILES)), BATCH_OPS),
            Load("batch of puts", "batches.lua", (str(folder / "put"), str(BATCH_FILES)), BATCH_OPS),
        )
        with cluster(folder / "data") as url:
            fill(url)
            print(f"{connections} connections, {len(VALUE)}-byte values, {os.cpu_count()} cores")
            print("load                ops/s  requests/s   p50 ms   p99 ms  failed  load avg")
            for load in loads:
                for seed in range(1, rounds + 1):
                    result = run_wrk(url, load, connections, seconds, seed)
                    failed += result.failed
                    print(
                        f"{load.name:<14} {result.requests_per_s * load.ops:>10.0f} {result.requests_per_s:>11.0f} "
                        f"{result.p50_ms:>8.1f} {result.p99_ms:>8.1f} {result.failed:>7} {os.getloadavg()[0]:>9.2f}",
                        flush=True,
                    )
    return failed


def main() -> int:
    """The command: returns 1 when requests failed, or with a line on standard error when nothing can be measured."""
    parser = argparse.ArgumentParser(description="Requests per second of a cluster of three nodes on this machine.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("bench: wrk is missing: apt-get install wrk", file=sys.stderr)
        return 1
    try:
        return 1 if measure(options.rounds, options.seconds, options.connections) else 0
    except OperatorError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
