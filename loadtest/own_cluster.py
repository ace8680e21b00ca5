"""A cluster on this machine, for as long as a measurement takes.

Guarantees: it listens at a port that the system chooses and is stopped at the end, whatever happened in between.
Leaves to others: the data directory.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kvstore.errors import OperatorError


@contextlib.contextmanager
def cluster(data: Path, nodes: int = 3) -> Iterator[str]:
    """Run `kvstore up` on `data` and yield the gateway's address.

    Raises:
        OperatorError: it does not start.
    """
    command = [sys.executable, "-m", "cluster.cli.main", "up", "--nodes", str(nodes)]
    command += ["--data", str(data), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise OperatorError(f"the cluster did not start: {line.strip()}")
        yield line.removeprefix("ready ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
