"""What a gateway counts: requests and their latency, by operation and outcome.

Guarantees: counting a request is a dictionary lookup and a few additions; the text for Prometheus is made when it is
asked for. Labels come from fixed words only. Leaves to others: what nodes count (each node serves its own).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class _Series:
    """The latencies of one operation with one outcome; `counts` has one more place than there are bounds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0


class Metrics(Collector):
    """The counters of one process, in a registry of its own."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], _Series] = {}
        self._gauges: list[tuple[str, str, str, Callable[[], Mapping[str, float]]]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one request."""
        series = self._series.get((operation, outcome))
        if series is None:
            series = self._series[operation, outcome] = _Series()
        series.counts[bisect_left(BOUNDS_S, seconds)] += 1
        series.sum_s += seconds

    def add_gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show the value that `read` returns when the text is made."""
        self._gauges.append((name, text, "", lambda: {"": read()}))

    def add_gauges(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]]) -> None:
        """Show the values that `read` returns, by the value of `label`, when the text is made."""
        self._gauges.append((name, text, label, read))

    def render(self) -> bytes:
        """The text of everything counted so far."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        latency = HistogramMetricFamily(
            "kvstore_gateway_request_seconds",
            "Requests and the seconds from their head to their answer.",
            labels=("operation", "outcome"),
        )
        for (operation, outcome), series in sorted(self._series.items()):
            total, buckets = 0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), series.counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            latency.add_metric((operation, outcome), buckets, series.sum_s)
        yield latency
        for name, text, label, read in self._gauges:
            gauge = GaugeMetricFamily(name, text, labels=(label,) if label else ())
            for labelled, value in read().items():
                gauge.add_metric((labelled,) if label else (), value)
            yield gauge
