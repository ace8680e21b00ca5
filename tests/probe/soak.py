"""Nemeses in pairs under all workloads, in a random order from a seed: `soak.py --minutes 40`.

With `--only NAME,NAME` there are only these nemeses, with `--single` one at a time instead of two. With `--keyspaces
range,directory` the workloads are spread over the default keyspace and these, partitions are split and merged all the
time, and one nemesis more moves tenants.

Phases of some minutes each have a cluster of their own: one gateway with an embedded map, or two on etcd, where that is
installed; with networks that are cut, where there can be any, or with proxies. At the end of each phase everything is
read back and judged. A run that had too little load is void, one of all nemeses that had too few failovers, and one in
whose keyspaces nothing was split, merged or moved, as each of them is there for. The last line is `N faults passed, N
failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.keyspace import KEYSPACES
from probe.nemeses.catalogue import NEMESES
from probe.network import Network, why_no_network
from probe.rig import Layout, why_not
from probe.trial import Measured, Void, run_trial

PHASE_S = 240.0
FAILOVERS_MIN = 3
FAILOVERS_PER_S = 300.0
# What has to happen in a keyspace of that strategy, or nothing is shown of it.
WANTED: dict[str, tuple[str, ...]] = {"range": ("splits", "merges"), "directory": ("tenant_moves",)}
LAYOUTS = (
    *(Layout(links="network"), Layout(gateways=2, links="network")),
    *(Layout(links="proxies"), Layout(gateways=2, links="proxies")),
)


class Unfit(ValueError):
    """The nemeses that were asked for do not exist, or cannot be here."""


@dataclass(frozen=True)
class Choice:
    """Which nemeses there are, how many at a time, and which keyspaces beside the default one."""

    names: tuple[str, ...] = tuple(NEMESES)
    at_once: int = 2
    keyspaces: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether no nemesis is left out."""
        return len(self.names) == len(NEMESES)

    def groups(self, layout: Layout) -> list[tuple[str, ...]]:
        """Those that can be at one time where this is the layout."""
        fitting = [name for name in self.names if NEMESES[name].fits(layout)]
        return list(itertools.combinations(fitting, self.at_once))


def choose(only: str, is_single: bool, keyspaces: str = "") -> Choice:
    """Raises `Unfit` where a name is none."""
    names = _named("nemesis", only, NEMESES) if only else tuple(NEMESES)
    others = _named("keyspace", keyspaces, KEYSPACES) if keyspaces else ()
    return Choice(names, 1 if is_single else 2, others)


def _named(what: str, text: str, known: Collection[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Unfit(f"no such {what}: {', '.join(map(repr, unknown))}; there are {', '.join(known)}")
    return names


def possible_layouts(choice: Choice) -> list[Layout]:
    """Those that this machine can have and the nemeses can be in; says what it cannot have.

    Raises:
        Unfit: there is none.
    """
    found = []
    no_network = why_no_network()
    for plain in LAYOUTS:
        layout = replace(plain, keyspaces=choice.keyspaces)
        reason = why_not(layout) or (no_network if layout.links == "network" else "")
        if reason:
            print(f"left out: {layout}: {reason}", flush=True)
        elif choice.groups(layout):
            found.append(layout)
    if not found:
        raise Unfit(f"nowhere here can {', '.join(choice.names)} be {choice.at_once} at a time")
    return found


def groups(
    layout: Layout, choice: Choice, rng: random.Random, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[tuple[str, ...]]:
    """Groups of nemeses in a random order, all before any comes again, until the time is over."""
    end = clock() + seconds
    while True:
        all_groups = choice.groups(layout)
        rng.shuffle(all_groups)
        for group in all_groups:
            if clock() > end:
                return
            yield group


def soak(seconds: float, seed: int, data: Path, layouts: list[Layout], choice: Choice) -> Measured:
    """Phase after phase; raises what is wrong."""
    rng = random.Random(seed)
    total = Measured()
    end = time.monotonic() + seconds
    for number, layout in enumerate(itertools.cycle(layouts), 1):
        left_s = end - time.monotonic()
        if left_s <= 0:
            return total
        print(f"phase {number}: {layout}", flush=True)
        folder = data / str(number)
        folder.mkdir()
        with Network() if layout.links == "network" else contextlib.nullcontext() as network:
            faults = groups(layout, choice, rng, min(left_s, PHASE_S))
            total.add(asyncio.run(run_trial(folder, layout, network, rng.getrandbits(32), faults)))
        shutil.rmtree(folder)
    return total


def check(total: Measured, choice: Choice) -> None:
    """Raises `Void` where the whole proves nothing."""
    total.check()
    wanted = dict(WANTED) | ({} if "move_tenant" in choice.names else {"directory": ()})
    idle = [name for keyspace in choice.keyspaces for name in wanted.get(keyspace, ()) if not getattr(total, name)]
    if idle:
        raise Void(f"no {', no '.join(name.replace('_', ' ') for name in idle)}")
    if choice.is_all and total.failovers * FAILOVERS_PER_S < FAILOVERS_MIN * total.seconds:
        raise Void(
            f"{total.failovers} failovers in {total.seconds:.0f} s, {FAILOVERS_MIN} are needed in each 5 minutes"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES", "40")))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of nemeses, victims and moments")
    parser.add_argument("--only", default="", help="names of nemeses, separated by commas, instead of all")
    parser.add_argument("--single", action="store_true", help="one nemesis at a time instead of two")
    parser.add_argument(
        "--keyspaces", default="", help="strategies, separated by commas, of keyspaces beside the default"
    )
    arguments = parser.parse_args()
    try:
        choice = choose(arguments.only, arguments.single, arguments.keyspaces)
        layouts = possible_layouts(choice)
    except Unfit as error:
        print(error, file=sys.stderr)
        return 2
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-soak-"))
    try:
        total = soak(arguments.minutes * 60, arguments.seed, data, layouts, choice)
        print(f"in all: {total}", flush=True)
        check(total, choice)
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; the data stays in {data}", flush=True)
        print("0 faults passed, 1 failed")
        return 1
    shutil.rmtree(data)
    print(f"{total.faults} faults passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
