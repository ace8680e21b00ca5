"""Scans of many records: as a stream, counted, by pages, and beside GETs, on a cluster of three nodes on this machine.

Guarantees: a round measures everything in turn on the same records, and every stream must have each record; pages stand
beside GETs of the same round, GETs beside a scan beside GETs alone; the most that each process held as anonymous memory
stands below. Leaves to others: what the figures should be (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from latencies import percentile_ms
from open_loop import OpenLoop
from own_cluster import cluster
from processes import MemoryWatch
from wrk_runs import Load, is_installed, run_wrk

from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

VALUE = "v" * 100
PIECE_RECORDS = 1000
PAGE_KEYS = 100
PARTITIONS = 64
READ_BYTES = 256 * 1024
GETS_PER_S = 500
GETS_S = 6
CONNECTIONS = 16


def records_of(count: int) -> Iterator[bytes]:
    """A stream of NDJSON, 100 bytes a value, keys of 12 bytes."""
    for first in range(0, count, PIECE_RECORDS):
        numbers = range(first, min(count, first + PIECE_RECORDS))
        yield "".join(f'{{"key":"bench/{number:06}","value":"{VALUE}"}}\n' for number in numbers).encode()


def stream(url: str, count: int) -> float:
    """Read all records as lines; the seconds it took.

    Raises:
        OperatorError: some are missing.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=120)
    began_s, lines = time.monotonic(), 0
    connection.request("GET", "/v1/kv", headers={"Accept": "application/x-ndjson"})
    answer = connection.getresponse()
    while data := answer.read(READ_BYTES):
        lines += data.count(b"\n")
    connection.close()
    if lines != count:
        raise OperatorError(f"a stream of {lines} lines, {count} records were stored")
    return time.monotonic() - began_s


def count_keys(client: SyncClient, count: int) -> float:
    """Count all records; the seconds it took. Raises OperatorError as `stream`."""
    began_s = time.monotonic()
    counted = client.count()
    if counted != count:
        raise OperatorError(f"counted {counted}, {count} records were stored")
    return time.monotonic() - began_s


def gets_p99_ms(url: str, count: int) -> float:
    """The p99 of GETs at a fixed rate, counted from when each was due."""
    parts, rng = urlsplit(url), random.Random(1)

    def get(_kind: str) -> bytes:
        return f"GET /v1/kv/bench/{rng.randrange(count):06} HTTP/1.1\r\nHost: bench\r\n\r\n".encode()

    loop = OpenLoop(
        parts.hostname or "",
        parts.port or 0,
        {"get": GETS_PER_S},
        get,
        connections=CONNECTIONS,
        timeout_s=5,
    )
    asyncio.run(loop.run(GETS_S))
    tally = loop.take()
    if tally.failed:
        raise OperatorError(f"GETs failed: {dict(tally.failed)}")
    return percentile_ms(tally.latencies["get"], 0.99)


def gets_p99_beside_scans_ms(url: str, count: int) -> float:
    """The same, while one stream after the other is read."""
    is_over = threading.Event()

    def scan() -> None:
        while not is_over.is_set():
            stream(url, count)

    thread = threading.Thread(target=scan, daemon=True)
    thread.start()
    try:
        return gets_p99_ms(url, count)
    finally:
        is_over.set()
        thread.join()


def measure_round(url: str, client: SyncClient, count: int, seed: int) -> str:
    """A line of figures."""
    streamed, counted = count / stream(url, count), count / count_keys(client, count)
    one_key, page = (
        run_wrk(url, load, 1, 4, seed)
        for load in (
            Load("GET", "keys.lua", ("GET", str(count))),
            Load("page", "pages.lua", (str(count), str(PAGE_KEYS))),
        )
    )
    alone_ms, beside_ms = gets_p99_ms(url, count), gets_p99_beside_scans_ms(url, count)
    return (
        f"{streamed:>9.0f} {counted:>11.0f} {one_key.p50_ms:>8.2f} {page.p50_ms:>8.2f} "
        f"{page.p50_ms / one_key.p50_ms:>6.2f} {page.p99_ms:>8.2f} {alone_ms:>8.1f} {beside_ms:>8.1f} "
        f"{beside_ms / alone_ms:>6.2f} {os.getloadavg()[0]:>9.2f}"
    )


def main() -> int:
    """The command: prints a line a round, returns 1 when a figure cannot be had."""
    parser = argparse.ArgumentParser(description="Scans on a cluster of three nodes on this machine.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    if not is_installed():
        print("scan_bench: wrk is missing: apt-get install wrk", file=sys.stderr)
        return 1
    records = f"{options.records} records with values of {len(VALUE)} bytes"
    print(f"{records} over {PARTITIONS} partitions, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as data, MemoryWatch() as memory:
        try:
            with cluster(Path(data), partitions=PARTITIONS) as url, SyncClient(url, timeout_s=60) as client:
                client.import_(records_of(options.records))
                print(f"page: {PAGE_KEYS} keys, one connection; GETs: {GETS_PER_S}/s, alone and beside full scans")
                print(" stream/s     count/s  GET p50 page p50  ratio page p99  GET p99   beside  ratio  load avg")
                for seed in range(1, options.rounds + 1):
                    print(measure_round(url, client, options.records, seed), flush=True)
        except (OperatorError, KvError) as error:
            print(f"scan_bench: {error}", file=sys.stderr)
            return 1
    print("most RssAnon in MiB: " + "  ".join(f"{name} {mib:.0f}" for name, mib in sorted(memory.most_mib.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
