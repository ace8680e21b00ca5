"""A cluster on this machine, for as long as a measurement takes.

Guarantees: it listens at a port that the system chooses and is stopped at the end, whatever happened in between.
Leaves to others: the data directory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvstore.errors import OperatorError


@dataclass(frozen=True)
class Running:
    """The gateway's address, and the process below which all others run."""

    url: str
    pid: int


@contextlib.contextmanager
def running_cluster(
    data: Path, nodes: int = 3, workers: int | None = None, partitions: int | None = None
) -> Iterator[Running]:
    """Run `kvstore up` on `data`, with so many gateway processes and partitions or its own number of them.

    Raises:
        OperatorError: it does not start.
    """
    command = [sys.executable, "-m", "cluster.cli.main", "up", "--nodes", str(nodes)]
    command += ["--data", str(data), "--listen", "127.0.0.1:0"]
    command += [] if workers is None else ["--workers", str(workers)]
    given = {} if partitions is None else {"KVSTORE_PARTITIONS": str(partitions)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | given)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise OperatorError(f"the cluster did not start: {line.strip()}")
        yield Running(line.removeprefix("ready ").strip(), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@contextlib.contextmanager
def cluster(data: Path, nodes: int = 3, partitions: int | None = None) -> Iterator[str]:
    """The gateway's address of such a cluster; raises OperatorError as `running_cluster`."""
    with running_cluster(data, nodes, partitions=partitions) as running:
        yield running.url
