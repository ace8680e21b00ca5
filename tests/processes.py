"""The `kvstore` command as real processes, started, stopped and killed by tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

START_S_MAX = 60.0
STOP_S_MAX = 30.0
KVSTORE = (sys.executable, "-m", "cluster.cli.main")


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Up:
    """One `kvstore up`. Lines of its standard output and error gather in `out` and `err`."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.out: list[str] = []
        self.err: list[str] = []
        self.url = ""
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [*KVSTORE, "up", "--data", str(data), "--listen", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))
                if line.startswith("ready "):
                    self.url = line.split()[1]
                    self._ready.set()
        self._ready.set()

    def wait_ready(self) -> Up:
        """Wait for the ready line."""
        assert self._ready.wait(START_S_MAX), f"not ready: {self.err}"
        assert self.url, f"ended before it was ready: {self.err}"
        return self

    def children(self) -> dict[str, int]:
        """The process ids of its children, by node id; the gateway is `gateway`."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        found = {}
        for pid in filter(is_alive, map(int, text.split())):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            found[command[command.index("--id") + 1] if "--id" in command else "gateway"] = pid
        return found

    @property
    def complaints(self) -> list[str]:
        """What a person reads on standard error: the lines that are no structured log."""
        return [line for line in self.err if not re.match(r"\{.*\}$", line)]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait for the end and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(STOP_S_MAX)
        for reader in self._readers:
            reader.join(STOP_S_MAX)
        return code

    def kill_all(self) -> None:
        """kill -9 of every process at once."""
        pids = [self.process.pid, *self.children().values()]
        for pid in pids:
            # The end of `up` takes its children along, which may then be gone already.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in pids))


def wait_until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for `holds`, and fail when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def kvstore(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run one command of the command line to its end."""
    return subprocess.run(
        [*KVSTORE, *arguments], capture_output=True, timeout=120, check=False, env={**os.environ, **environment}
    )
