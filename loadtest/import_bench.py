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
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from own_cluster import cluster

from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

PIECE_RECORDS = 1000
SAMPLE_S = 0.2


def pieces(records: int, record_bytes: int) -> Iterator[bytes]:
    """A stream of NDJSON; every record has `record_bytes` bytes, its newline included."""
    filler = record_bytes - len(record(0, 0))
    for first in range(0, records, PIECE_RECORDS):
        numbers = range(first, min(records, first + PIECE_RECORDS))
        yield "".join(record(number, filler) for number in numbers).encode()


def record(number: int, filler: int) -> str:
    return f'{{"key":"import/{number:09}","value":"{"x" * filler}"}}\n'


class MemoryWatch:
    """Samples RssAnon of this process and of all below it; `most_mib` by what the processes are."""

    def __init__(self) -> None:
        self.most_mib: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            for pid in [os.getpid(), *descendants(os.getpid())]:
                try:
                    name, mib = name_of(pid), anonymous_mib(pid)
                except OSError:
                    continue
                self.most_mib[name] = max(mib, self.most_mib.get(name, 0.0))


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def name_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "--id" in words:
        return words[words.index("--id") + 1]
    return next((word for word in ("gateway", "up") if word in words), "client")


def anonymous_mib(pid: int) -> float:
    """RssAnon in MiB; 0 for a process that has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


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
