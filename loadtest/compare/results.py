"""What was measured, as it stands in results.json: samples, and their median, minimum and maximum.

Guarantees: a measurement keeps every round; a median is of rounds, each figure by itself. Leaves to others: measuring,
and where the file is. Sans-IO.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from compare.matrix import Combo


class Sample(msgspec.Struct, frozen=True):
    """One round of one load on one system.

    Args:
        requests_per_s: those answered; one that failed counts too, so a run with errors is marked.
        cpu_s_per_10k: CPU seconds of all server processes for 10,000 requests.
        rss_anon_mb: the most that the sum of their anonymous memory came to, in 10^6 bytes.
    """

    requests_per_s: float
    errors: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_s_per_10k: float
    rss_anon_mb: float
    load_average: float


class Measurement(msgspec.Struct, frozen=True):
    """All rounds of one load on one system."""

    system: str
    op: str
    value_bytes: int
    connections: int
    ops_per_request: int
    rounds: list[Sample]
    median: Sample
    least: Sample
    most: Sample

    @property
    def errors(self) -> int:
        return sum(sample.errors for sample in self.rounds)


class Results(msgspec.Struct, frozen=True):
    """The whole file.

    Args:
        machine: what it ran on; `programs`: their versions; `settings`: seconds, rounds and the like.
        systems: how each is set up and what it promises, by name.
        own: figures of this cluster alone, each with a value per round.
    """

    date: str
    commit: str
    command: str
    machine: dict[str, str]
    programs: dict[str, str]
    settings: dict[str, Any]
    systems: dict[str, dict[str, str]]
    left_out: list[str]
    measurements: list[Measurement]
    own: dict[str, list[float]]

    def find(self, system: str, op: str, value_bytes: int, connections: int) -> Measurement | None:
        wanted = (system, op, value_bytes, connections)
        return next((one for one in self.measurements if _place(one) == wanted), None)


def _place(one: Measurement) -> tuple[str, str, int, int]:
    return one.system, one.op, one.value_bytes, one.connections


def measured(system: str, combo: Combo, rounds: Sequence[Sample]) -> Measurement:
    """Put the rounds of one load together; at least one."""
    return Measurement(
        *(system, combo.op, combo.value_bytes, combo.connections, combo.ops_per_request, list(rounds)),
        *(_each(rounds, choose) for choose in (statistics.median, min, max)),
    )


def _each(rounds: Sequence[Sample], choose: Callable[[Iterable[float]], float]) -> Sample:
    values: Mapping[str, float] = {
        name: choose([getattr(sample, name) for sample in rounds]) for name in Sample.__struct_fields__
    }
    return msgspec.convert({**values, "errors": int(values["errors"])}, Sample)


def encode(results: Results) -> str:
    """The file's text, one that a diff can be read of."""
    return json.dumps(msgspec.to_builtins(results), indent=1, ensure_ascii=False) + "\n"


def decode(text: str) -> Results:
    """Raises msgspec.ValidationError where it is no such file."""
    return msgspec.json.decode(text, type=Results)
