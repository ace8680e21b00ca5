"""What a node measures, in the format of Prometheus.

Guarantees: counting on the data path is an addition to a plain number; everything else is worked out when somebody
asks. Leaves to others: serving the text (`http`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kvstore.partitions import Partitions

COMMIT_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


class NodeMetrics(Collector):
    """Args: partitions: of the node that is measured."""

    def __init__(self, partitions: Partitions) -> None:
        self.reads = 0
        self.writes = 0
        self.acks = 0
        self.alarms = 0
        self._partitions = partitions
        self._commits = [0] * (len(COMMIT_BUCKETS_S) + 1)
        self._commit_s = 0.0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def committed(self, seconds: float) -> None:
        """A write batch took that long, its fdatasync included."""
        self._commits[bisect_left(COMMIT_BUCKETS_S, seconds)] += 1
        self._commit_s += seconds

    def text(self) -> bytes:
        """The series as they are now."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        copies = list(self._partitions)
        usage = self._partitions.usage
        lag = sum(partition.copy.log.end - partition.copy.commit_seq for partition in copies)
        led = sum(report.serving for report in self._partitions.report())
        yield CounterMetricFamily("kvstore_node_reads", "Keys asked for", self.reads)
        yield CounterMetricFamily("kvstore_node_writes", "Writes taken", self.writes)
        yield CounterMetricFamily("kvstore_node_acks", "Acknowledgements sent to leaders", self.acks)
        yield CounterMetricFamily("kvstore_alarms", "Partitions that stopped themselves", self.alarms)
        yield GaugeMetricFamily("kvstore_store_used_bytes", "Live pages of the store", usage.used)
        yield GaugeMetricFamily("kvstore_store_limit_bytes", "Where writes are refused", usage.limit)
        yield GaugeMetricFamily("kvstore_log_lag_records", "Log records not yet committed", lag)
        yield GaugeMetricFamily("kvstore_partitions_led", "Partitions this node serves", led)
        yield GaugeMetricFamily("kvstore_copies", "Copies of partitions on this node", len(copies))
        yield self._commit_histogram()

    def _commit_histogram(self) -> Metric:
        buckets: list[tuple[str, float]] = []
        count = 0
        for bound, commits in zip([*map(str, COMMIT_BUCKETS_S), "+Inf"], self._commits, strict=True):
            count += commits
            buckets.append((bound, count))
        return HistogramMetricFamily(
            "kvstore_commit_seconds", "Time of one write batch, its fdatasync included", buckets, self._commit_s
        )
