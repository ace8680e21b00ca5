"""Figures of this cluster alone: imports, scans, transactions, handoff, and how long a kill keeps writes away.

Guarantees: each is made by the load test or probe that has it otherwise (`make bench-scan` and the like), with fewer
records or rounds; each starts clusters of its own. Leaves to others: what the figures should be.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handoff_bench import measure_handoff
from import_bench import pieces
from own_cluster import cluster
from scan_bench import count_keys, stream
from txn_bench import APART, ONE, PARTITIONS, TWO, measure_round, tags_apart

from compare.machine import ROOT
from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

RECORD_BYTES = 100
TXN_S = 2
FAILOVER_S_MAX = 600.0

IMPORT, STREAM, COUNT = "import, records/s", "scan as a stream, keys/s", "count, keys/s"
TXN_ONE, TXN_TWO = "transactions on one partition (one key), /s", "transactions on one partition (two keys), /s"
TXN_APART = "transactions on two partitions, /s"
HANDOFF, FAILOVER = "handoff to another node, keys/s", "kill -9 of a node: no writes to some partitions, s"

Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Amounts:
    """How much of everything."""

    rounds: int
    records: int
    handed: int


def own_figures(amounts: Amounts, tell: Callable[[str], None]) -> Figures:
    """All of them, a value per round.

    Raises:
        OperatorError: a cluster does not start, or one of them cannot be measured.
    """
    found: Figures = {}
    try:
        for number in range(1, amounts.rounds + 1):
            for part in (_imports_and_scans(amounts.records), _transactions(number), _handoff(amounts.handed)):
                for name, value in part.items():
                    found.setdefault(name, []).append(value)
                    tell(f"{number:>5}  {name:<52} {value:>10.0f}")
    except KvError as error:
        raise OperatorError(str(error)) from error
    found[FAILOVER] = _failovers(amounts.rounds)
    tell(f"       {FAILOVER:<52} {' '.join(f'{value:.2f}' for value in found[FAILOVER])}")
    return found


def _imports_and_scans(records: int) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory(prefix="kvstore-bench-") as data,
        cluster(Path(data)) as url,
        SyncClient(url, timeout_s=60) as client,
    ):
        began_s = time.monotonic()
        client.import_(pieces(records, RECORD_BYTES))
        imported = records / (time.monotonic() - began_s)
        return {
            IMPORT: imported,
            STREAM: records / stream(url, records),
            COUNT: records / count_keys(client, records),
        }


def _transactions(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as name:
        folder = Path(name)
        with cluster(folder / "data", partitions=PARTITIONS) as url, SyncClient(url, timeout_s=30) as client:
            tags = folder / "tags"
            tags.write_text("\n".join(tags_apart(client)))
            crowd = measure_round(url, client, tags, TXN_S, seed).crowd
    failed = {kind: crowd[kind].failed for kind in (ONE, TWO, APART) if crowd[kind].failed}
    if failed:
        raise OperatorError(f"transactions failed: {failed}")
    return {label: crowd[kind].requests_per_s for label, kind in ((TXN_ONE, ONE), (TXN_TWO, TWO), (TXN_APART, APART))}


def _handoff(records: int) -> dict[str, float]:
    return {HANDOFF: measure_handoff(records)}


def _failovers(kills: int) -> list[float]:
    """From the kill of the node that leads most until each partition that it led has taken a write."""
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-") as name:
        times = Path(name) / "times"
        command = [
            sys.executable,
            str(ROOT / "tests/probe/first_write.py"),
            "--kills",
            str(kills),
            "--json",
            str(times),
        ]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=FAILOVER_S_MAX)
        except subprocess.TimeoutExpired as error:
            raise OperatorError(f"{kills} kills took longer than {FAILOVER_S_MAX:.0f} s") from error
        if not times.exists():
            raise OperatorError(f"the kills failed: {result.stderr.strip()[-300:]}")
        return [float(value) for value in json.loads(times.read_text())]
