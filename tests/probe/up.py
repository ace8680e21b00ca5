"""`kvstore up` under test, and single commands run to their end.

Guarantees: its children are known by their names in the cluster; `kill_all` returns when none is left. Leaves to
others: one process (`processes`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from probe.processes import KVSTORE, Process, is_alive, wait_until


class Up(Process):
    """One `kvstore up`, at a port that the system chooses."""

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        self.data = data
        super().__init__("up", "--data", str(data), "--listen", "127.0.0.1:0", *arguments, **environment)

    def wait_ready(self) -> Up:
        super().wait_ready()
        return self

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def members(self) -> dict[str, int]:
        """The process ids of its children that run, by node id; the gateway is `gateway`."""
        found = {}
        for pid in self.children():
            # One that has ended since has no command line, or no entry there at all.
            command = [""]
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if not command[0]:
                continue
            found[command[command.index("--id") + 1] if "--id" in command else "gateway"] = pid
        return found

    def kill_all(self) -> None:
        """kill -9 of every process at once."""
        pids = [self.pid, *self.children()]
        for pid in pids:
            # The end of `up` takes its children along, which may then be gone already.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in pids))


def kvstore(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run one command of the command line to its end."""
    return subprocess.run(
        [*KVSTORE, *arguments], capture_output=True, timeout=120, check=False, env={**os.environ, **environment}
    )
