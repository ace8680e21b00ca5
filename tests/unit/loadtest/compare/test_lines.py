"""Lines are judged by medians, and none is left out."""

from __future__ import annotations

import pytest
from compare.lines import judge
from compare.results import Measurement, measured
from unit.loadtest.compare.measurements import BATCHES, GET_64, GET_LARGE, PUT_64, PUT_256, measurement, results, sample

LINES = 10


def good() -> list[Measurement]:
    """Every line is met, each just so."""
    return [
        measurement("kvstore", GET_64, 5000),
        measurement("kvstore", PUT_64, 1500),
        measurement("kvstore", PUT_256, 2000),
        measurement("etcd", GET_64, 1000),
        measurement("etcd", PUT_64, 1000),
        measurement("etcd", PUT_256, 1000),
        measurement("redis-everysec", GET_64, 5000),
        measurement("kvstore", BATCHES[0], 1200),
        measurement("kvstore", BATCHES[1], 250),
        measurement("kvstore", GET_LARGE, 300e6 / 65536),
    ]


def missed(measurements: list[Measurement]) -> list[str]:
    return [one.line.name for one in judge(results(*measurements)) if not one.is_met]


def test_figures_at_their_lines_are_met() -> None:
    assert missed(good()) == []


@pytest.mark.parametrize(
    ("place", "worse", "line"),
    [
        (0, measurement("kvstore", GET_64, 4990, 4990, 9000), "GET/s, of etcd's"),
        (6, measurement("redis-everysec", GET_64, 5001), "GET/s, of webdis + Redis's (everysec)"),
        (1, measurement("kvstore", PUT_64, 1499), "PUT/s at 64 connections, of etcd's"),
        (2, measurement("kvstore", PUT_256, 1999), "PUT/s at 256 connections, of etcd's"),
        (7, measurement("kvstore", BATCHES[0], 1199), "gets/s in batches of 100"),
        (8, measurement("kvstore", BATCHES[1], 249), "puts/s in batches of 100"),
        (3, measurement("etcd", GET_64, 1000, p99_ms=8.9), "p99 of GET at 64 connections, of etcd's"),
        (1, measurement("kvstore", PUT_64, 1500, p99_ms=9.1), "p99 of PUT at 64 connections, of etcd's"),
        (9, measurement("kvstore", GET_LARGE, 299e6 / 65536), "GET of 64 KiB at 64 connections"),
    ],
)
def test_a_figure_short_of_its_line_is_missed(place: int, worse: Measurement, line: str) -> None:
    measurements = good()
    measurements[place] = worse
    assert line in missed(measurements)


def test_the_worst_round_of_any_load_counts_for_memory() -> None:
    rounds = [sample(1, rss_anon_mb=100), sample(1, rss_anon_mb=401), sample(1, rss_anon_mb=100)]
    measurements = [*good(), measured("kvstore", BATCHES[0], rounds)]
    assert missed(measurements) == ["most anonymous memory of all processes, under any load"]


def test_a_figure_with_errors_is_missed_however_good() -> None:
    measurements = [*good()[1:], measured("kvstore", GET_64, [sample(90_000, errors=2)])]
    judged = {one.line.name: one for one in judge(results(*measurements))}
    assert judged["GET/s, of etcd's"].verdict == "missed (2 errors)"


def test_what_was_not_measured_is_told_and_not_met() -> None:
    judged = judge(results())
    assert len(judged) == LINES
    assert {one.verdict for one in judged} == {"not measured"}
    assert not any(one.is_met for one in judged)
