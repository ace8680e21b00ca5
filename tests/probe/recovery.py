"""How long a node that was away takes until all its copies are in sync again: `recovery.py away`, `recovery.py wiped`.

`away`: killed for 60 s under 2,000 PUT/s; it comes back by the log. `wiped`: back without its disk beside 1,000,000
records, of whose log little is kept; it comes back by backfill, while 500 PUT/s and 500 GET/s go on. Prints the
foreground's latencies line by line, marked with what happened between them. Judges nothing.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.processes import Cluster, wait_until

FOREGROUND = Path(__file__).resolve().parent.parent.parent / "loadtest" / "foreground.py"
NODES = ("n1", "n2", "n3")
VICTIM = "n3"
SETTLE_S = 15.0
AWAY_S = 60.0
HEALED_S_MAX = 300.0


class Foreground:
    """The load, as a process; its lines are printed as they come."""

    def __init__(self, url: str, puts: int, gets: int, keys: int) -> None:
        self._runs = threading.Event()
        self._process = subprocess.Popen(
            [
                *(sys.executable, str(FOREGROUND), "--gateway", url, "--keys", str(keys), "--seconds", "600"),
                *("--puts-per-second", str(puts), "--gets-per-second", str(gets), "--window", "5"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._print, daemon=True).start()
        self._runs.wait()

    def _print(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(line, end="", flush=True)
            self._runs.set()

    def end(self) -> None:
        """Let it print its last line."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()


def measure(kind: str, cluster: Cluster, data: Path) -> None:
    for name in NODES:
        cluster.start_node(name)
    cluster.wait_ready()
    load = Foreground(cluster.url, *((2000, 0, 100_000) if kind == "away" else (500, 500, 1_000_000)))
    try:
        time.sleep(SETTLE_S)
        cluster.nodes[VICTIM].end(signal.SIGKILL)
        print(f"--- {VICTIM} killed", flush=True)
        time.sleep(AWAY_S if kind == "away" else SETTLE_S)
        if kind == "wiped":
            shutil.rmtree(data / VICTIM)
        print(f"--- {VICTIM} started", flush=True)
        started = time.monotonic()
        address = cluster.start_node(VICTIM).wait_ready().address
        ready_s = time.monotonic() - started
        wait_until(lambda: cluster.status()["state"] == "healthy", HEALED_S_MAX)
        healed_s = time.monotonic() - started
        print(
            f"--- in sync {healed_s:.1f} s after its start, {healed_s - ready_s:.1f} s after it was ready", flush=True
        )
        print(f"--- copies that began anew: {_backfills(address)}", flush=True)
        time.sleep(SETTLE_S)
    finally:
        load.end()


def _backfills(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("kvstore_node_backfills_total"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("away", "wiped"))
    arguments = parser.parse_args()
    data = Path(tempfile.mkdtemp(prefix="kvstore-recovery-"))
    retention_s = {"away": "600", "wiped": "5"}[arguments.kind]
    cluster = Cluster(data, len(NODES), KVSTORE_LOG_RETENTION_S=retention_s)
    try:
        measure(arguments.kind, cluster, data)
    finally:
        cluster.close()
        shutil.rmtree(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
