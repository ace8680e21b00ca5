"""`make ratio`: GETs and PUTs of a gateway with one node, as a share of what a plain aiohttp application answers.

Guarantees: both are measured in the same run by the same load, in turn; what is judged is the median of the ratios
within rounds, and never a time, so a slow machine alone fails nothing. Each floor is half of what was measured when it
was set. Leaves to others: how fast anything is (`make bench`).
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from own_cluster import cluster
from wrk_runs import Load, run_wrk

from compare.filling import fill, lay_down
from compare.matrix import GET, PUT, READ_SHARE
from compare.own import Own
from compare.system import Program, Running, missing
from compare.wire import address_of
from kvstore.errors import OperatorError

CONNECTIONS = 64
ROUNDS = 7
SECONDS = 1
VALUE_BYTES = 100
# Measured with 2 cores, the load among them, on a machine busy with other work too.
USUAL = {GET: 2.0, PUT: 0.5}
FLOOR_SHARE = 0.5


@contextlib.contextmanager
def hello() -> Iterator[str]:
    """The aiohttp application in a process of its own; yields its address."""
    process = subprocess.Popen([sys.executable, "-m", "compare.hello"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise OperatorError("the aiohttp application did not start")
        yield line.removeprefix("ready ").strip()
    finally:
        process.terminate()
        process.communicate(timeout=60)


def measure(folder: Path) -> dict[str, list[float]]:
    """The ratio of each operation in each round.

    Raises:
        OperatorError: something does not start, or requests failed.
    """
    system = Own()
    files = [str(path) for path in lay_down(system, VALUE_BYTES, folder)]
    ratios: dict[str, list[float]] = {GET: [], PUT: []}
    with cluster(folder / "data", nodes=1) as own, hello() as other:
        fill(system, Running(address_of(own), ()), VALUE_BYTES)
        for seed in range(1, ROUNDS + 1):
            for op, found in ratios.items():
                load = Load(op, "requests.lua", (*files, str(READ_SHARE[op])))
                ours, theirs = (run_wrk(url, load, CONNECTIONS, SECONDS, seed) for url in (own, other))
                if ours.failed or theirs.failed:
                    raise OperatorError(f"{op}: {ours.failed} and {theirs.failed} requests failed")
                found.append(ours.requests_per_s / theirs.requests_per_s)
    return ratios


def judge(ratios: Mapping[str, Sequence[float]], usual: Mapping[str, float]) -> list[tuple[str, bool]]:
    """A line for each operation, and whether it is at its floor or above."""
    judged = []
    for op, found in ratios.items():
        median, floor = statistics.median(found), usual[op] * FLOOR_SHARE
        each = " ".join(f"{ratio:.2f}" for ratio in found)
        judged.append(
            (f"{op}: {median:.2f} of aiohttp's ({each}); usual {usual[op]:.2f}, floor {floor:.2f}", median >= floor)
        )
    return judged


def main() -> int:
    """The command: 1 when a ratio is below its floor, or nothing can be measured."""
    try:
        if lacks := missing([Program("wrk", "wrk")]):
            raise OperatorError(lacks)
        with tempfile.TemporaryDirectory(prefix="kvstore-ratio-") as name:
            judged = judge(measure(Path(name)), USUAL)
    except OperatorError as error:
        print(f"ratio: {error}", file=sys.stderr)
        return 1
    for line, is_held in judged:
        print(line if is_held else f"{line}: BELOW ITS FLOOR")
    return 0 if all(is_held for _, is_held in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
