"""Results of a run that never was, as tests of the report and of the lines want them."""

from __future__ import annotations

from compare.matrix import BATCH_GET, BATCH_PUT, GET, PUT, Combo
from compare.results import Measurement, Results, Sample, measured


def sample(requests_per_s: float, errors: int = 0, p99_ms: float = 9.0, rss_anon_mb: float = 100.0) -> Sample:
    return Sample(requests_per_s, errors, 2.0, p99_ms, 20.0, 0.5, rss_anon_mb, 1.5)


def measurement(system: str, combo: Combo, *rates: float, p99_ms: float = 9.0) -> Measurement:
    return measured(system, combo, [sample(rate, p99_ms=p99_ms) for rate in rates])


GET_64, PUT_64, PUT_256 = Combo(100, GET, 64), Combo(100, PUT, 64), Combo(100, PUT, 256)
GET_LARGE = Combo(65536, GET, 64)
BATCHES = Combo(100, BATCH_GET, 64), Combo(100, BATCH_PUT, 64)
PROMISE = {"copies": "2", "fsync": "both", "reads": "linearizable", "crash": "nothing", "atomic": "any keys"}


def results(*measurements: Measurement, own: dict[str, list[float]] | None = None) -> Results:
    return Results(
        date="2026-01-01 00:00 UTC",
        commit="abc",
        command="make bench",
        machine={"CPU": "a processor"},
        programs={"wrk": "4.1"},
        settings={"rounds": 3},
        systems={one.system: {"setup": "as it comes", **PROMISE} for one in measurements},
        left_out=["much"],
        measurements=list(measurements),
        own=own or {},
    )
