"""Run seeds: `run.py --seeds 200`, one seed: `run.py --seed 17`, a broken rule: `run.py --planted fsync_off`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from simulation.planted import PLANTED, scenario


def run_seed(seed: int, planted: str = "") -> tuple[int, str, dict[str, int]]:
    """Run one seed; returns it with the violation found ("" for none) and counts."""
    simulation, breaker = scenario(seed, planted)
    found = ""
    with breaker or contextlib.nullcontext():
        try:
            simulation.run()
        except AssertionError as error:
            found = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    counts = {**simulation.history.counts, "crashes": simulation.crashes, **simulation.network.counts}
    return seed, found, counts | {"checks": simulation.invariants.checks}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one only, in this process")
    parser.add_argument("--planted", choices=PLANTED, default="", help="break a rule on purpose")
    parser.add_argument("--until-found", action="store_true", help="succeed as soon as a seed goes red")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        _, found, counts = run_seed(arguments.seed, arguments.planted)
        print(found or "clean", counts)
        return 1 if found else 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.until_found:
        return _run_until_found(seeds, arguments.planted)
    return _run_many(seeds, arguments.planted)


def _run_until_found(seeds: range, planted: str) -> int:
    with ProcessPoolExecutor() as pool:
        for seed, found, _ in pool.map(run_seed, seeds, [planted] * len(seeds), chunksize=2):
            if found:
                print(f"{planted}: found by seed {seed}: {found.splitlines()[0]}")
                pool.shutdown(cancel_futures=True)
                return 0
    print(f"{planted}: not found in {len(seeds)} seeds: the simulation proves nothing about this rule")
    return 1


def _run_many(seeds: range, planted: str) -> int:
    started = time.perf_counter()
    failed = 0
    totals: dict[str, int] = {}
    with ProcessPoolExecutor() as pool:
        for seed, found, counts in pool.map(run_seed, seeds, [planted] * len(seeds), chunksize=4):
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
            if found:
                failed += 1
                again = f" --planted {planted}" if planted else ""
                print(f"seed {seed}: {found}  again: tests/simulation/run.py --seed {seed}{again}")
    print(f"{len(seeds) - failed} passed, {failed} failed")
    print(f"{time.perf_counter() - started:.1f} s", " ".join(f"{name}={count}" for name, count in totals.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
