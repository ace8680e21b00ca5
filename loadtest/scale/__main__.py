"""`make scale`: measure and model clusters of many sizes, and write what came of it as JSON and plots.

Guarantees: two processes at a time, the largest sizes first. Leaves to others: what is measured (`sizes`, `evenness`),
how it is drawn (`plots`), and what it means (docs/SCALING.md).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scale.clusters import members
from scale.evenness import ZoneLoss, zone_loss
from scale.plots import draw_all
from scale.sizes import Size, size

DOCS = Path(__file__).parents[2] / "docs" / "scaling"
NODES = (10, 100, 1000)
PARTITIONS = (64, 1024, 8192, 65536)
REPLICAS = (2, 3)
ZONES = 3
ZONED = ((9, 1024), (99, 8192), (999, 65536))
PROCESSES = 2


def _size(task: tuple[int, int, int]) -> Size:
    nodes, partitions, replicas = task
    return size(nodes, partitions, replicas)


def _zone_loss(task: tuple[int, int, int]) -> ZoneLoss:
    nodes, partitions, replicas = task
    return zone_loss(nodes, partitions, replicas, members(nodes, ZONES), "zone-1")


def _run(task: tuple[Callable[[Any], Any], tuple[int, int, int]]) -> Any:
    work, sizes = task
    began_s = time.monotonic()
    result = work(sizes)
    print("{:>5} nodes, {:>6} partitions, {} copies".format(*sizes), f"{time.monotonic() - began_s:6.1f} s", flush=True)
    return result


def measure() -> Mapping[str, Any]:
    """All sizes, as plain values."""
    tasks: list[tuple[Callable[[Any], Any], tuple[int, int, int]]] = [
        (_size, (nodes, partitions, replicas))
        for nodes in NODES
        for partitions in PARTITIONS
        for replicas in REPLICAS
        if partitions >= nodes
    ]
    tasks += [(_zone_loss, (nodes, partitions, 2)) for nodes, partitions in ZONED]
    tasks.sort(key=lambda task: -task[1][0] * task[1][1])
    with multiprocessing.Pool(PROCESSES) as pool:
        results = list(pool.imap_unordered(_run, tasks, chunksize=1))
    found = sorted((asdict(one) | {"is_zoned": isinstance(one, ZoneLoss)} for one in results), key=_place)
    return {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "sizes": [one for one in found if not one.pop("is_zoned")],
        "zones": [one for one in found if "loss" in one],
    }


def _place(one: Mapping[str, Any]) -> tuple[int, int, int]:
    return one["nodes"], one["partitions"], one["replicas"]


def main() -> None:
    """Measure, unless only the plots are asked for, and draw."""
    parser = argparse.ArgumentParser(prog="make scale")
    parser.add_argument("--plots-only", action="store_true", help="draw what was measured before")
    arguments = parser.parse_args()
    DOCS.mkdir(parents=True, exist_ok=True)
    data = DOCS / "scale.json"
    if not arguments.plots_only:
        data.write_text(json.dumps(measure(), indent=1, default=float) + "\n")
    draw_all(json.loads(data.read_text()), DOCS)


if __name__ == "__main__":
    main()
