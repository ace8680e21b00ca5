"""`make bench`: this cluster, etcd and Redis behind webdis under the same load, and the report on it.

Guarantees: what is missing is told in one line, before anything starts, and ends it with 1, as a system that does not
start does; the results are written before the report is made of them. Leaves to others: measuring and rendering.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from compare.etcd import Etcd
from compare.lines import judge
from compare.machine import ROOT, commit, machine, versions
from compare.matrix import LEFT_OUT
from compare.own import Own
from compare.own_figures import Amounts, Figures, own_figures
from compare.report import number, report
from compare.results import Results, decode, encode
from compare.rounds import HEADING, Rounds, Settings
from compare.system import Program, System, missing
from compare.webdis import Webdis
from kvstore.errors import OperatorError

WRK = Program("wrk", "wrk")
SETPRIV = Program("setpriv", "util-linux")
FIGURES = "own"
DEFAULT_OUT = ROOT / "docs" / "benchmarks"


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="The same load on several systems, side by side.")
    parser.add_argument("--quick", action="store_true", help="a few loads, one short round: to see that it works")
    parser.add_argument("--seconds", type=int, help="of each load in each round (default 4; 1 with --quick)")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (default 3; 1 with --quick)")
    parser.add_argument(
        "--only", default="", help=f"systems to measure, by commas; {FIGURES}: the figures of this cluster alone"
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="directory of results.json, README.md and pictures"
    )
    parser.add_argument("--workers", type=int, help="gateway processes of this cluster (`kvstore up --workers`)")
    parser.add_argument("--cpus", default="", help="CPUs for everything, by commas (default: all)")
    parser.add_argument(
        "--data", type=Path, help="where the systems have their data (default: a new directory of the system)"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing: make the report of results.json anew")
    return parser.parse_args(arguments)


def chosen(only: str, workers: int | None) -> tuple[list[System], bool]:
    """The systems that are measured, and whether the figures of this cluster alone are.

    Raises:
        OperatorError: `only` names something else.
    """
    systems: list[System] = [Own(workers), Etcd(), Webdis("everysec"), Webdis("always")]
    wanted = {name for name in only.split(",") if name}
    unknown = wanted - {system.name for system in systems} - {FIGURES}
    if unknown:
        names = ", ".join([*(system.name for system in systems), FIGURES])
        raise OperatorError(f"--only takes {names}; not {', '.join(sorted(unknown))}")
    return [one for one in systems if not wanted or one.name in wanted], not wanted or FIGURES in wanted


def settings_of(options: argparse.Namespace) -> Settings:
    return Settings(
        seconds=options.seconds or (1 if options.quick else 4),
        rounds=options.rounds or (1 if options.quick else 3),
        quick=options.quick,
    )


def measure(options: argparse.Namespace, systems: Sequence[System]) -> Results:
    """All systems under all loads.

    Raises:
        OperatorError: a program is missing, or something cannot be measured.
    """
    programs = [WRK, SETPRIV, *(program for system in systems for program in system.programs)]
    if lacks := missing(programs):
        raise OperatorError(lacks)
    if options.cpus:
        # All processes that are started inherit it: so servers and wrk are pinned alike.
        os.sched_setaffinity(0, [int(cpu) for cpu in options.cpus.split(",")])
    settings = settings_of(options)
    started = datetime.now(UTC)
    print(HEADING)
    with tempfile.TemporaryDirectory(prefix="kvstore-bench-", dir=options.data) as name:
        folder = Path(name)
        facts = machine(folder)
        measurements = Rounds(systems, settings, folder, _tell).run()
    return Results(
        date=started.strftime("%Y-%m-%d %H:%M UTC"),
        commit=commit(),
        command=command_of(sys.argv[1:]),
        machine=facts,
        programs=versions(program.package for program in programs),
        settings={"seconds of each load": settings.seconds, "rounds": settings.rounds},
        systems={system.name: {"setup": system.setup, **asdict(system.promise)} for system in systems},
        left_out=["all but a few loads: --quick"] if options.quick else list(LEFT_OUT),
        measurements=measurements,
        own={},
    )


def command_of(arguments: Sequence[str]) -> str:
    """What to type for the same again."""
    return f"make bench BENCH={shlex.quote(shlex.join(arguments))}" if arguments else "make bench"


def figures(settings: Settings) -> Figures:
    """Those of this cluster alone; raises OperatorError where one cannot be had."""
    few, many = Amounts(1, 20_000, 10_000), Amounts(settings.rounds, 300_000, 200_000)
    return own_figures(few if settings.quick else many, _tell)


def _tell(line: str) -> None:
    print(line, flush=True)


def render(results: Results, folder: Path) -> None:
    """Pictures and page beside results.json."""
    # Tests of the options run where matplotlib is not installed.
    from compare.plots import draw

    pictures = draw(results, folder) if results.measurements else []
    (folder / "README.md").write_text(report(results, pictures), encoding="utf-8")


def main() -> int:
    """The command: returns 1, with a line on standard error, when something cannot be measured or had errors."""
    options = options_of()
    file = options.out / "results.json"
    try:
        if options.render:
            results = decode(file.read_text(encoding="utf-8"))
        else:
            systems, has_figures = chosen(options.only, options.workers)
            results = measure(options, systems)
            options.out.mkdir(parents=True, exist_ok=True)
            file.write_text(encode(results), encoding="utf-8")
            if has_figures:
                results = msgspec.structs.replace(results, own=figures(settings_of(options)))
                file.write_text(encode(results), encoding="utf-8")
    except (OperatorError, OSError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    render(results, options.out)
    for one in judge(results):
        figure = "" if one.figure is None else number(one.figure)
        print(f"{one.line.name:<56} {one.line.bound:>12} {figure:>10}  {one.verdict}")
    print(f"report: {options.out / 'README.md'}")
    return 1 if any(one.errors for one in results.measurements) else 0


if __name__ == "__main__":
    sys.exit(main())
