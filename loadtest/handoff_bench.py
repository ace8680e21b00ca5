"""How many records a second one node hands to another, and what LMDB alone does with the same records.

Guarantees: one node holds all records when the second one starts, which then gets a copy of every partition with
nothing else going on; the clock runs from the second node's ready line until all its copies are in sync, on two disks
at each step. LMDB's own figure is of the same run: every record read from one file and written to another, in batches
that are synced. Leaves to others: what the figures should be (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
from load_records import load
from own_cluster import cluster

from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

VALUE_BYTES = 80
RECORD_BYTES = 100
BATCH_RECORDS = 5000
MAP_BYTES = 8 << 30
POLL_S = 0.05
WAIT_S_MAX = 600.0


@contextmanager
def second_node(url: str, data: Path) -> Iterator[None]:
    """A node beside those of the cluster at `url`, from its ready line on."""
    command = [sys.executable, "-m", "cluster.cli.main", "node", "--id", "n2", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--data", str(data), "--gateway", url], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready "):
            raise OperatorError("the second node did not start")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def wait_in_sync(client: SyncClient) -> None:
    """Until every partition has two copies in sync; raises OperatorError when that takes too long."""
    deadline = time.monotonic() + WAIT_S_MAX
    while any(len(partition["in_sync"]) < 2 for partition in client.status()["partitions"]):
        if time.monotonic() > deadline:
            raise OperatorError(f"the copies are not in sync after {WAIT_S_MAX:.0f} s")
        time.sleep(POLL_S)


def measure_handoff(records: int) -> float:
    """Records a second from one node to another."""
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as name:
        folder = Path(name)
        with cluster(folder / "data", nodes=1) as url, SyncClient(url) as client:
            asyncio.run(load(url, records, VALUE_BYTES))
            with second_node(url, folder / "second"):
                began_s = time.monotonic()
                wait_in_sync(client)
                return records / (time.monotonic() - began_s)


def measure_lmdb(records: int) -> float:
    """Records a second from one LMDB file to another, in synced batches."""
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as name:
        source, target = (lmdb.open(f"{name}/{which}", map_size=MAP_BYTES) for which in ("source", "target"))
        key_bytes = RECORD_BYTES - VALUE_BYTES
        with source.begin(write=True) as transaction:
            for number in range(records):
                transaction.put(b"%0*d" % (key_bytes, number), b"v" * VALUE_BYTES)
        began_s = time.monotonic()
        with source.begin() as reading, reading.cursor() as cursor:
            rows = iter(cursor)
            while batch := list(itertools.islice(rows, BATCH_RECORDS)):
                with target.begin(write=True) as transaction, transaction.cursor() as put:
                    put.putmulti(batch)
        rate = records / (time.monotonic() - began_s)
        source.close()
        target.close()
        return rate


def main() -> int:
    """The command: prints a line a round, returns 1 when a round cannot be measured."""
    parser = argparse.ArgumentParser(description="Records per second from one node to another, and of LMDB alone.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    print(f"records of {RECORD_BYTES} bytes, {os.cpu_count()} cores")
    print("handoff records/s  LMDB alone records/s  load avg")
    for _ in range(options.rounds):
        try:
            handed = measure_handoff(options.records)
        except (OperatorError, KvError) as error:
            print(f"handoff_bench: {error}", file=sys.stderr)
            return 1
        print(f"{handed:>17.0f} {measure_lmdb(options.records):>21.0f} {os.getloadavg()[0]:>9.2f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
