"""wrk as a subprocess: one load, one round, and what its script counted.

Guarantees: connections that failed, answers of 400 and above, and timeouts count as failed; a wrk that cannot run is
an OperatorError. Leaves to others: the scripts (`wrk/`), each of which prints one RESULT line, and what they send.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kvstore.errors import OperatorError

SCRIPTS = Path(__file__).parent / "wrk"
TIMEOUT_S = 10


@dataclass(frozen=True)
class Round:
    """What wrk counted in one round; latencies in milliseconds."""

    requests_per_s: float
    failed: int
    p50_ms: float
    p99_ms: float
    p999_ms: float = 0.0
    requests: int = 0


@dataclass(frozen=True)
class Load:
    """One kind of load: a script of `wrk/`, and what it is given before the seed."""

    name: str
    script: str
    arguments: tuple[str, ...]


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def parse_result(output: str) -> Round:
    """The round in what wrk printed; raises OperatorError where there is none."""
    line = next((line for line in output.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise OperatorError(f"wrk printed no result: {output.strip()[-200:]}")
    requests, duration_us, failed, p50_us, p99_us, p999_us = (int(word) for word in line.split()[1:])
    return Round(requests / (duration_us / 1e6), failed, p50_us / 1000, p99_us / 1000, p999_us / 1000, requests)


def run_wrk(url: str, load: Load, connections: int, seconds: int, seed: int) -> Round:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s"]
    command += ["-s", str(SCRIPTS / load.script), url, "--"]
    result = subprocess.run([*command, *load.arguments, str(seed)], capture_output=True, text=True)
    if result.returncode:
        raise OperatorError(f"wrk failed: {result.stderr.strip()[-200:] or result.returncode}")
    return parse_result(result.stdout)
