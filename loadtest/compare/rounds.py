"""The rounds: every system in turn, alone on the machine, then all of them again.

Guarantees: only one system runs at a time, for an idle etcd has heartbeats, and one that is stopped by a signal loses
its leader; each is started on the data that it had. In every round another one is first. Before the first load of a
start there is a warm-up that does not count. A value is read back after each block. Leaves to others: what the systems
are, and what becomes of the samples.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from processes import SumWatch, cpu_s, tree
from wrk_runs import Load, run_wrk

from compare.filling import check_value, fill, lay_down, lay_down_batches
from compare.matrix import READ_SHARE, Combo, combos_of
from compare.own import Own
from compare.results import Measurement, Sample, measured
from compare.system import Running, System

MB_OF_MIB = (1 << 20) / 1e6
WARM_UP_S = 1


@dataclass(frozen=True)
class Settings:
    """How long, how often, and where."""

    seconds: int
    rounds: int
    quick: bool


@dataclass
class Rounds:
    """All rounds of `systems`; data and requests below `folder`. `tell` is given a line for each sample."""

    systems: Sequence[System]
    settings: Settings
    folder: Path
    tell: Callable[[str], None]
    _samples: dict[tuple[str, Combo], list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> list[Measurement]:
        """Measure everything.

        Raises:
            OperatorError: a system does not start, is not filled, or answers something else than was put.
        """
        combos = {system.name: combos_of(system.name, self.settings.quick) for system in self.systems}
        for value_bytes in sorted({combo.value_bytes for some in combos.values() for combo in some}):
            for number in range(self.settings.rounds):
                for system in in_turn(self.systems, number):
                    of_size = [combo for combo in combos[system.name] if combo.value_bytes == value_bytes]
                    self._block(system, value_bytes, number, of_size)
        return [measured(name, combo, rounds) for (name, combo), rounds in self._samples.items()]

    def _block(self, system: System, value_bytes: int, number: int, combos: Sequence[Combo]) -> None:
        with system.run(self.folder / system.name) as running:
            if number == 0:
                fill(system, running, value_bytes)
            self._wrk(system, running, combos[0], WARM_UP_S, number)
            for combo in combos:
                sample = self._wrk(system, running, combo, self.settings.seconds, number + 1)
                self._samples[system.name, combo].append(sample)
                self.tell(told(number + 1, system.name, combo, sample))
            check_value(system, running, value_bytes)

    def _wrk(self, system: System, running: Running, combo: Combo, seconds: int, seed: int) -> Sample:
        if combo.is_batch:
            assert isinstance(system, Own), "nobody else has batches"
            files = lay_down_batches(system, combo.value_bytes, self.folder)
        else:
            files = lay_down(system, combo.value_bytes, self.folder)
        load = Load(combo.op, "requests.lua", (*map(str, files), str(READ_SHARE[combo.op])))
        before_s = cpu_s(tree(running.pids))
        with SumWatch(running.pids) as memory:
            result = run_wrk(running.url, load, combo.connections, seconds, seed)
        used_s = cpu_s(tree(running.pids)) - before_s
        return Sample(
            requests_per_s=result.requests_per_s,
            errors=result.failed,
            p50_ms=result.p50_ms,
            p99_ms=result.p99_ms,
            p999_ms=result.p999_ms,
            cpu_s_per_10k=used_s * 10_000 / max(1, result.requests),
            rss_anon_mb=memory.most_mib * MB_OF_MIB,
            load_average=os.getloadavg()[0],
        )


def in_turn(systems: Sequence[System], number: int) -> Sequence[System]:
    """The order of a round: each system comes first as often as any other."""
    first = number % len(systems)
    return [*systems[first:], *systems[:first]]


def told(number: int, name: str, combo: Combo, sample: Sample) -> str:
    errors = f"  {sample.errors} ERRORS" if sample.errors else ""
    return (
        f"{number:>5}  {name:<14} {combo.op:<18} {combo.value_bytes:>6} {combo.connections:>5} "
        f"{sample.requests_per_s:>10.0f} {sample.p50_ms:>8.2f} {sample.p99_ms:>8.2f} {sample.p999_ms:>8.2f} "
        f"{sample.cpu_s_per_10k:>8.2f} {sample.rss_anon_mb:>7.0f} {sample.load_average:>6.2f}{errors}"
    )


HEADING = (
    f"round  {'system':<14} {'op':<18} {'bytes':>6} {'conns':>5} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} "
    f"{'p99.9 ms':>8} {'CPU/10k':>8} {'RSS MB':>7} {'load':>6}"
)
