"""What a gateway's process counts: requests and their latency, by operation and outcome.

Guarantees: counting a request is a dictionary lookup and a few additions; the text for Prometheus is made when it is
asked for. Labels come from fixed words only. Leaves to others: what nodes count (each node serves its own), adding up
what several processes of a gateway count (`counts`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cluster.gateway.counts import BOUNDS_S, PLACES, Counts, Family, Fold, Gauge, Latencies, Sample

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAG = "kvstore_gateway_loop_lag_seconds", "Worst lag of the event loop in 20 s."
STORE_UP = (
    "kvstore_gateway_map_store_up",
    "1 while the map store answers; else there is no failover and no change.",
)


class _Series:
    """The latencies of one operation with one outcome; `counts` has one more place than there are bounds."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * PLACES
        self.sum_s = 0.0


class Metrics(Collector):
    """The counters of one process, in a registry of its own."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], _Series] = {}
        self._gauges: list[tuple[str, str, str, Fold, Callable[[], Mapping[str, float]]]] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._of_process: tuple[Collector, ...] = (
            ProcessCollector(registry=self._registry),
            PlatformCollector(registry=self._registry),
            GCCollector(registry=self._registry),
        )

    def observe(self, operation: str, outcome: str, seconds: float) -> None:
        """Count one request."""
        series = self._series_of(operation, outcome)
        series.counts[bisect_left(BOUNDS_S, seconds)] += 1
        series.sum_s += seconds

    def observe_all(self, operation: str, outcome: str, seconds: Sequence[float]) -> None:
        """Count requests, at least one, that were answered together; mostly they took about as long as each other."""
        series = self._series_of(operation, outcome)
        place = bisect_left(BOUNDS_S, min(seconds))
        if bisect_left(BOUNDS_S, max(seconds)) == place:
            series.counts[place] += len(seconds)
        else:
            for one in seconds:
                series.counts[bisect_left(BOUNDS_S, one)] += 1
        series.sum_s += sum(seconds)

    def _series_of(self, operation: str, outcome: str) -> _Series:
        series = self._series.get((operation, outcome))
        if series is None:
            series = self._series[operation, outcome] = _Series()
        return series

    def add_gauge(self, name: str, text: str, read: Callable[[], float], fold: Fold = Fold.SUM) -> None:
        """Show the value that `read` returns when the text is made."""
        self._gauges.append((name, text, "", fold, lambda: {"": read()}))

    def add_gauges(
        self, name: str, text: str, label: str, read: Callable[[], Mapping[str, float]], fold: Fold = Fold.SUM
    ) -> None:
        """Show the values that `read` returns, by the value of `label`, when the text is made."""
        self._gauges.append((name, text, label, fold, read))

    def counts(self, process: str) -> Counts:
        """Everything counted so far, by the process of that name."""
        of_process = tuple(_family(metric) for collector in self._of_process for metric in collector.collect())
        return Counts(self._latencies(), self._read_gauges(), {process: of_process})

    async def text(self) -> bytes:
        """What is shown to who asks for metrics."""
        return self.render()

    def render(self) -> bytes:
        """The text of everything counted so far."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        yield from _told(self._latencies(), self._read_gauges())

    def _latencies(self) -> tuple[Latencies, ...]:
        return tuple(
            Latencies(operation, outcome, tuple(series.counts), series.sum_s)
            for (operation, outcome), series in self._series.items()
        )

    def _read_gauges(self) -> tuple[Gauge, ...]:
        return tuple(Gauge(name, text, label, fold, dict(read())) for name, text, label, fold, read in self._gauges)


def render_all(counts: Counts) -> bytes:
    """The text of what several processes counted; what each tells of itself by the label `worker`."""
    registry = CollectorRegistry()
    registry.register(_Whole(counts))
    return generate_latest(registry)


class _Whole(Collector):
    """Counts that stand."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        yield from _told(self._counts.latencies, self._counts.gauges)
        metrics: dict[str, Metric] = {}
        for process, families in sorted(self._counts.processes.items()):
            for family in families:
                if family.name not in metrics:
                    metrics[family.name] = Metric(family.name, family.text, family.kind)
                for sample in family.samples:
                    labels = {"worker": process, **sample.labels}
                    metrics[family.name].add_sample(sample.name, labels, sample.value)
        yield from metrics.values()


def _family(metric: Metric) -> Family:
    samples = tuple(Sample(one.name, dict(one.labels), one.value) for one in metric.samples)
    return Family(metric.name, metric.documentation, metric.type, samples)


def _told(latencies: Iterable[Latencies], gauges: Iterable[Gauge]) -> Iterator[Metric]:
    histogram = HistogramMetricFamily(
        "kvstore_gateway_request_seconds",
        "Requests and the seconds from their head to their answer.",
        labels=("operation", "outcome"),
    )
    for one in sorted(latencies, key=lambda one: (one.operation, one.outcome)):
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), one.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        histogram.add_metric((one.operation, one.outcome), buckets, one.sum_s)
    yield histogram
    for gauge in gauges:
        family = GaugeMetricFamily(gauge.name, gauge.text, labels=(gauge.label,) if gauge.label else ())
        for labelled, value in gauge.values.items():
            family.add_metric((labelled,) if gauge.label else (), value)
        yield family
