"""Commands of other programs: run with a limit of time, and told in whole when they fail.

Guarantees: a command that fails or hangs ends the test with what it said last; nothing that it started outlives a
command that was given up. Leaves to others: which commands.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence

LINES_SHOWN = 30


class Missing(Exception):
    """Something is not on this machine without which there is nothing to test."""


class Failed(Exception):
    """A command did not do what it should."""


def need(*programs: str) -> None:
    """Raises Missing when one of the programs is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed")


def run(
    arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None, stdin: str | None = None
) -> str:
    """Run a command and return what it printed.

    Raises:
        Failed: it ended with another code than 0, or not in time.
    """
    process = subprocess.Popen(
        arguments,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(stdin, timeout_s)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{' '.join(arguments)}: not done after {timeout_s:g} s") from late
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        last = "\n".join(said.splitlines()[-LINES_SHOWN:])
        raise Failed(f"{' '.join(arguments)}: exit code {process.returncode}\n{last}")
    return said


def succeeds(arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None) -> bool:
    """Whether a command ends well in time."""
    try:
        run(arguments, timeout_s, environment)
    except (Failed, OSError):
        return False
    return True
