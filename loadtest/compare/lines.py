"""The lines: figures that are to hold, beside what was measured.

Guarantees: each line is told, met or not, also where this run did not measure it; a line whose measurements have errors
is not met. Leaves to others: measuring. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compare.matrix import BATCH_GET, BATCH_PUT, GET, PUT
from compare.results import Measurement, Results

OWN, ETCD, REDIS = "kvstore", "etcd", "redis-everysec"
LARGE = 65536


@dataclass(frozen=True)
class Line:
    """What is to hold of a figure: at least `least`, or at most `most`."""

    name: str
    least: float | None = None
    most: float | None = None
    unit: str = ""

    @property
    def bound(self) -> str:
        return f"≥ {self.least:,g}{self.unit}" if self.least is not None else f"≤ {self.most:,g}{self.unit}"


@dataclass(frozen=True)
class Judged:
    """A line with its figure; None where it was not measured."""

    line: Line
    figure: float | None
    errors: int = 0

    @property
    def is_met(self) -> bool:
        if self.figure is None or self.errors:
            return False
        if self.line.least is not None:
            return self.figure >= self.line.least
        return self.line.most is not None and self.figure <= self.line.most

    @property
    def verdict(self) -> str:
        if self.figure is None:
            return "not measured"
        if self.errors:
            return f"missed ({self.errors} errors)"
        return "met" if self.is_met else "missed"


def judge(results: Results) -> list[Judged]:
    """Every line, in the order of the report."""
    return [
        _ratio(results, Line("GET/s, of etcd's", least=5), ETCD, GET, 64),
        _ratio(results, Line("GET/s, of webdis + Redis's (everysec)", least=1), REDIS, GET, 64),
        _ratio(results, Line("PUT/s at 64 connections, of etcd's", least=1.5), ETCD, PUT, 64),
        _ratio(results, Line("PUT/s at 256 connections, of etcd's", least=2), ETCD, PUT, 256),
        _rate(results, Line("gets/s in batches of 100", least=120_000), BATCH_GET),
        _rate(results, Line("puts/s in batches of 100", least=25_000), BATCH_PUT),
        _p99(results, Line("p99 of GET at 64 connections, of etcd's", most=1), GET),
        _p99(results, Line("p99 of PUT at 64 connections, of etcd's", most=1), PUT),
        _memory(results, Line("most anonymous memory of all processes, under any load", most=400, unit=" MB")),
        _bandwidth(results, Line("GET of 64 KiB at 64 connections", least=300, unit=" MB/s")),
    ]


def _judged(line: Line, found: Sequence[Measurement | None], figure: float | None) -> Judged:
    return Judged(line, figure, sum(one.errors for one in found if one is not None))


def _ratio(results: Results, line: Line, other: str, op: str, connections: int) -> Judged:
    own, theirs = results.find(OWN, op, 100, connections), results.find(other, op, 100, connections)
    if own is None or theirs is None:
        return Judged(line, None)
    return _judged(line, [own, theirs], own.median.requests_per_s / theirs.median.requests_per_s)


def _p99(results: Results, line: Line, op: str) -> Judged:
    own, theirs = results.find(OWN, op, 100, 64), results.find(ETCD, op, 100, 64)
    if own is None or theirs is None:
        return Judged(line, None)
    return _judged(line, [own, theirs], own.median.p99_ms / theirs.median.p99_ms)


def _rate(results: Results, line: Line, op: str) -> Judged:
    own = results.find(OWN, op, 100, 64)
    return _judged(line, [own], None if own is None else own.median.requests_per_s * own.ops_per_request)


def _memory(results: Results, line: Line) -> Judged:
    """Of all loads, and of the rounds of each the worst: a limit on memory is none on its median."""
    own = [one for one in results.measurements if one.system == OWN]
    return Judged(line, max((one.most.rss_anon_mb for one in own), default=None))


def _bandwidth(results: Results, line: Line) -> Judged:
    own = results.find(OWN, GET, LARGE, 64)
    return _judged(line, [own], None if own is None else own.median.requests_per_s * LARGE / 1e6)
