"""Run seeds: `run.py --seeds 200`, one seed: `run.py --seed 17`; each with `--controls` for two real controls on one
map store, or with `--script NAME` for a story in the place of chance. `run.py --planted NAME --until-found` breaks a
rule and looks for the seed that shows it, without a name for each rule in turn."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from simulation.controls import ControlledScenario
from simulation.forced import Forced
from simulation.moves import Moves
from simulation.moving_keys import MovingKeys
from simulation.planted import PLANTED, breaker
from simulation.scenario import Scenario
from simulation.scripts import CutOffLeader, OldRows
from simulation.transfers import HandedOver, Transfers
from simulation.txn_crashes import InDoubt, TxnCrashes

SCRIPTS: Mapping[str, type[Scenario]] = {
    "cut_off_leader": CutOffLeader,
    "old_rows": OldRows,
    "forced": Forced,
    "moves": Moves,
    "moving_keys": MovingKeys,
    "transfers": Transfers,
    "handed_over": HandedOver,
    "txn_crashes": TxnCrashes,
    "in_doubt": InDoubt,
}
FIND_AT_ONCE = 2
LINE_LENGTH_MAX = 160


def run_seed(seed: int, planted: str = "", controls: bool = False, script: str = "") -> tuple[int, str, dict[str, int]]:
    """Run one seed; returns it with the violation found ("" for none) and counts."""
    kind = ControlledScenario if controls else SCRIPTS[script] if script else Scenario
    found = ""
    with breaker(planted):
        simulation = kind(seed)
        try:
            simulation.run()
        except AssertionError as error:
            found = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}"
    counts = {
        **simulation.history.counts,
        "crashes": simulation.crashes,
        "wipes": simulation.wipes,
        "failovers": simulation.control.failovers,
        **simulation.network.counts,
    }
    return seed, found, counts | {"checks": simulation.invariants.checks}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one only, in this process")
    parser.add_argument("--planted", choices=PLANTED, default="", help="break a rule on purpose")
    parser.add_argument("--until-found", action="store_true", help="succeed if a seed goes red for each broken rule")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--controls", action="store_true", help="with two real controls on one map store")
    kind.add_argument("--script", choices=SCRIPTS, default="", help="with this story in the place of chance")
    arguments = parser.parse_args()
    how = arguments.planted, arguments.controls, arguments.script
    if arguments.seed is not None:
        _, found, counts = run_seed(arguments.seed, *how)
        print(found or "clean", counts)
        return 1 if found else 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    if arguments.until_found:
        return _find_all([arguments.planted] if arguments.planted else list(PLANTED), seeds)
    return _run_many(seeds, *how)


def _find_all(names: list[str], seeds: range) -> int:
    with ProcessPoolExecutor(FIND_AT_ONCE) as pool:
        missed = 0
        for seed, line in pool.map(find, names, [seeds] * len(names)):
            print(line, flush=True)
            missed += seed is None
    return 1 if missed else 0


def find(planted: str, seeds: range) -> tuple[int | None, str]:
    """Look for a seed that shows the broken rule; returns it, and a line about it."""
    script, started = PLANTED[planted].script, time.perf_counter()
    by = script or "chance"
    for seed in seeds:
        _, found, _ = run_seed(seed, planted, script=script)
        if found:
            seconds = time.perf_counter() - started
            line = f"{planted}: found by seed {seed} of {by} after {seconds:.1f} s: {found.splitlines()[0]}"
            return seed, line[:LINE_LENGTH_MAX]
    return None, f"{planted}: not found in {len(seeds)} seeds of {by}: the simulation proves nothing about this rule"


def _run_many(seeds: range, planted: str, controls: bool, script: str) -> int:
    started = time.perf_counter()
    failed = 0
    totals: dict[str, int] = {}
    again = "".join(
        (
            f" --planted {planted}" if planted else "",
            " --controls" if controls else "",
            f" --script {script}" if script else "",
        )
    )
    with ProcessPoolExecutor() as pool:
        many = len(seeds)
        for seed, found, counts in pool.map(
            run_seed, seeds, [planted] * many, [controls] * many, [script] * many, chunksize=4
        ):
            for name, count in counts.items():
                totals[name] = totals.get(name, 0) + count
            if found:
                failed += 1
                print(f"seed {seed}: {found}  again: tests/simulation/run.py --seed {seed}{again}")
    print(f"{len(seeds) - failed} passed, {failed} failed")
    print(f"{time.perf_counter() - started:.1f} s", " ".join(f"{name}={count}" for name, count in totals.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
