"""How the figures of the benchmark of transactions stand beside their lines."""

from __future__ import annotations

import pytest
from hot_key import HotKeyTally
from txn_bench import APART, APART_RATE, CPU, FIGURES, KINDS, LATENCY, PUT, Line, Measured
from wrk_runs import Round

ROUND = Round(1000.0, 0, 2.0, 9.0)


def measured(apart: Round, cpu_us: float) -> Measured:
    rounds = {**dict.fromkeys(KINDS, ROUND), APART: apart}
    return Measured(rounds, rounds, {**dict.fromkeys(KINDS, 100e-6), APART: cpu_us * 1e-6}, HotKeyTally(2.0, 300))


@pytest.mark.parametrize(
    ("line", "values", "is_met"),
    [
        (Line("a", most=3), [9.0, 2.9, 3.0], True),
        (Line("a", most=3), [3.1, 2.9, 3.2], False),
        (Line("a", least=0.8), [0.8, 0.1, 0.9], True),
        (Line("a", least=0.8), [0.79, 0.1, 0.9], False),
    ],
)
def test_the_median_is_judged(line: Line, values: list[float], is_met: bool) -> None:
    assert ("met" in line.told(values)) is is_met
    assert ("short" in line.told(values)) is not is_met


def test_figures_are_ratios_within_a_round() -> None:
    one = measured(Round(1500.0, 2, 5.0, 9.0), cpu_us=300.0)
    figures = {line: figure(one) for line, figure in FIGURES}
    assert figures[LATENCY] == 2.5
    assert figures[CPU] == pytest.approx(1.5)
    assert figures[APART_RATE] == 1500.0
    assert one.failed == 4
    assert one.alone[PUT] == ROUND
