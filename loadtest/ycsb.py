"""YCSB's workloads A to F in turn by Locust, as one Markdown table: `python loadtest/ycsb.py`.

Guarantees: a cluster of its own on a new directory unless one is given; the records are loaded before the first
workload; a read-modify-write counts as one operation, over the whole of it. Returns 1 when an operation failed.
Leaves to others: the workloads (`locustfile`). Locust counts milliseconds, so a percentile is no finer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latencies import percentile_ms
from load_records import load, positive
from own_cluster import cluster

from kvstore.errors import OperatorError

LETTERS = "ABCDEF"
OPERATIONS = ("read", "update", "insert", "scan", "read-modify-write")
SPARE_S = 60
HEAD = """\
| workload | operations/s | p50 ms | p95 ms | p99 ms | failed | 412, tried again |
|---|---:|---:|---:|---:|---:|---:|"""


@dataclass(frozen=True)
class Result:
    """One workload's operations. `conflicts` counts the writes that came second and were tried again."""

    letter: str
    operations: int
    seconds: float
    failed: int
    conflicts: int
    latencies: Mapping[float, int]

    def row(self) -> str:
        percentiles = " | ".join(f"{percentile_ms(self.latencies, share):.0f}" for share in (0.5, 0.95, 0.99))
        rate = self.operations / self.seconds
        return f"| {self.letter} | {rate:,.0f} | {percentiles} | {self.failed:,} | {self.conflicts:,} |"


def result_of(letter: str, entries: Sequence[Mapping[str, Any]]) -> Result:
    """Sum up the entries of Locust's statistics, as its `--json` prints them."""
    operations = [entry for entry in entries if entry["name"] in {f"{letter} {name}" for name in OPERATIONS}]
    if not operations:
        raise OperatorError(f"workload {letter} carried out no operation")
    latencies: Counter[float] = Counter()
    for entry in operations:
        latencies.update({float(ms): count for ms, count in entry["response_times"].items()})
    return Result(
        letter,
        sum(entry["num_requests"] for entry in operations),
        max(entry["last_request_timestamp"] for entry in operations) - min(entry["start_time"] for entry in operations),
        sum(entry["num_failures"] for entry in operations),
        sum(entry["num_requests"] for entry in entries if entry["name"].endswith("412")),
        latencies,
    )


def run_locust(letter: str, url: str, options: argparse.Namespace) -> Result:
    """Run one workload to its end.

    Raises:
        OperatorError: Locust could not run it.
    """
    command = [
        *(sys.executable, "-m", "locust", "--locustfile", str(Path(__file__).with_name("locustfile.py"))),
        *("--headless", "--json", "--skip-log", "--host", url, "--run-time", f"{options.seconds}s"),
        *("--users", str(options.users), "--spawn-rate", str(options.users), "--distribution", options.distribution),
        *("--records", str(options.records), "--value-bytes", str(options.value_bytes), f"Workload{letter}"),
    ]
    try:
        # A bound, not a measure: the run ends by itself.
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=options.seconds + SPARE_S)
        return result_of(letter, json.loads(result.stdout))
    except subprocess.TimeoutExpired as error:
        raise OperatorError(f"Locust did not end with workload {letter}") from error
    except ValueError as error:
        raise OperatorError(f"Locust did not run workload {letter}: {result.stderr.strip()[-500:]}") from error


@contextlib.contextmanager
def target(gateway: str | None) -> Iterator[str]:
    """The gateway that was given, else one of a cluster of its own."""
    if gateway is not None:
        yield gateway
        return
    with tempfile.TemporaryDirectory(prefix="kvstore-ycsb-") as data, cluster(Path(data)) as url:
        yield url


def measure(options: argparse.Namespace) -> int:
    """Load the records and print the table; returns how many operations failed."""
    failed = 0
    with target(options.gateway) as url:
        asyncio.run(load(url, options.records, options.value_bytes))
        print(
            f"{options.records:,} records of {options.value_bytes:,} bytes, {options.users} users, "
            f"{options.seconds} s each, {os.cpu_count()} cores for Locust and the cluster\n\n{HEAD}",
            flush=True,
        )
        for letter in options.workloads:
            result = run_locust(letter, url, options)
            failed += result.failed
            print(result.row(), flush=True)
    return failed


def letters(text: str) -> str:
    """Letters of workloads, for argparse."""
    if not text or not set(text) <= set(LETTERS):
        raise ValueError(text)
    return text


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="YCSB's workloads in turn, headless, as one Markdown table.")
    parser.add_argument("--gateway", help="of a cluster that runs; without it one is started")
    parser.add_argument("--users", type=positive, default=64)
    parser.add_argument("--seconds", type=positive, default=20, help="of each workload")
    parser.add_argument("--records", type=positive, default=100_000)
    parser.add_argument("--value-bytes", type=positive, default=1_000)
    parser.add_argument("--distribution", choices=["own", "zipfian", "latest", "uniform"], default="own")
    parser.add_argument("--workloads", type=letters, default=LETTERS, help="which of them, as letters in order")
    options = parser.parse_args()
    try:
        if importlib.util.find_spec("locust") is None:
            raise OperatorError("Locust is missing: make ycsb installs it")
        return 1 if measure(options) else 0
    except OperatorError as error:
        print(f"ycsb: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
