"""How many records a second an import stores: a cluster of three nodes on this machine, and one stream into it.

Guarantees: each figure is of a cluster started for it in a new directory; every record is on two disks when the clock
stops; the most that each process held as anonymous memory meanwhile stands beside it. Leaves to others: what the
figures should be (docs/ARCHITECTURE.md).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from own_cluster import cluster
from processes import MemoryWatch

from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

PIECE_RECORDS = 1000


def pieces(records: int, record_bytes: int) -> Iterator[bytes]:
    """A stream of NDJSON; every record has `record_bytes` bytes, its newline included."""
    filler = record_bytes - len(record(0, 0))
    for first in range(0, records, PIECE_RECORDS):
        numbers = range(first, min(records, first + PIECE_RECORDS))
        yield "".join(record(number, filler) for number in numbers).encode()


def record(number: int, filler: int) -> str:
    return f'{{"key":"import/{number:09}","value":"{"x" * filler}"}}\n'


def measure(records: int, record_bytes: int) -> str:
    """One import into a new cluster; a line of figures.

    Raises:
        OperatorError, KvError: the cluster does not start, or the import fails.
    """
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as data, MemoryWatch() as memory:
        with cluster(Path(data)) as url, SyncClient(url) as client:
            began_s = time.monotonic()
            imported = client.import_(pieces(records, record_bytes))
            elapsed_s = time.monotonic() - began_s
        held = "  ".join(f"{name} {mib:.0f}" for name, mib in sorted(memory.most_mib.items()))
        return f"{imported:>8} {imported / elapsed_s:>10.0f} {os.getloadavg()[0]:>9.2f}   {held}"


def main() -> int:
    """The command: prints a line a round, returns 1 when an import fails."""
    parser = argparse.ArgumentParser(description="Records per second of an import into three nodes on this machine.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--record-bytes", type=int, default=100)
    options = parser.parse_args()
    print(f"records of {options.record_bytes} bytes as NDJSON, {os.cpu_count()} cores")
    print(" records  records/s  load avg   most RssAnon in MiB")
    for _ in range(options.rounds):
        try:
            print(measure(options.records, options.record_bytes), flush=True)
        except (OperatorError, KvError) as error:
            print(f"import_bench: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
