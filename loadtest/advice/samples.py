"""Samples of real keys: paths of files, ids that rise with time, and such ids behind a sensor's name.

Guarantees: on one machine the same keys in the same order each time; ids are those that a gateway would give at these
times. Leaves to others: what is to be seen in them.
"""

from __future__ import annotations

import random
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from cluster.control.messages import IdWindow
from cluster.gateway.ids import EPOCH_MS, IdMaker

IDS = 100_000
SENSORS = 100
WORKER = 7
# 2026-01-01T00:00:00Z
FROM_MS = 1_767_225_600_000 - EPOCH_MS
# Some 1,000 a second.
GAPS_MS = (0, 0, 1, 1, 3)
NOT_OF_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}


def library_paths() -> list[str]:
    """The files of the standard library of this Python, as paths in it, in an order by chance: as they are used."""
    root = Path(sysconfig.get_path("stdlib"))
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    paths = sorted(str(path) for path in files if not NOT_OF_THE_LIBRARY & set(path.parts))
    random.Random(1).shuffle(paths)
    return paths


def ids(count: int = IDS) -> list[str]:
    """Ids of one gateway, one at a time."""
    maker, rng, now_ms = IdMaker(WORKER), random.Random(1), FROM_MS
    maker.take(IdWindow(WORKER, FROM_MS, FROM_MS + count * max(GAPS_MS) + 1))
    made: list[str] = []
    for _ in range(count):
        now_ms += rng.choice(GAPS_MS)
        made += map(str, maker.draw(1, now_ms) or ())
    return made


def sensor_ids(made: Sequence[str]) -> list[str]:
    """The same ids, each of one of many sensors."""
    rng = random.Random(2)
    return [f"sensor{rng.randrange(SENSORS):02}/{one}" for one in made]
