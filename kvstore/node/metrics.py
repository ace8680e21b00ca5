"""What a node measures, in the format of Prometheus.

Guarantees: every series is bound once at start; reading them costs nothing on the data path. Leaves to others: serving
the text (`http`).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kvstore.partitions import Partitions

FSYNC_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5)


class NodeMetrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.fsync_s = Histogram(
            "kvstore_commit_seconds",
            "Time of one write batch, its fdatasync included",
            buckets=FSYNC_BUCKETS_S,
            registry=self._registry,
        )
        self.reads = Counter("kvstore_node_reads", "Keys asked for", registry=self._registry)
        self.writes = Counter("kvstore_node_writes", "Writes taken", registry=self._registry)
        self.acks = Counter("kvstore_node_acks", "Acknowledgements sent to leaders", registry=self._registry)
        self.alarms = Counter("kvstore_alarms", "Partitions that stopped themselves", registry=self._registry)
        self._used = Gauge("kvstore_store_used_bytes", "Live pages of the store", registry=self._registry)
        self._limit = Gauge("kvstore_store_limit_bytes", "Where writes are refused", registry=self._registry)
        self._lag = Gauge("kvstore_log_lag_records", "Log records not yet committed", registry=self._registry)
        self._leads = Gauge("kvstore_partitions_led", "Partitions this node serves", registry=self._registry)
        self._copies = Gauge("kvstore_copies", "Copies of partitions on this node", registry=self._registry)

    def text(self, partitions: Partitions) -> bytes:
        """The series as they are now."""
        copies = list(partitions)
        self._used.set(partitions.usage.used)
        self._limit.set(partitions.usage.limit)
        self._lag.set(sum(partition.copy.log.end - partition.copy.commit_seq for partition in copies))
        self._leads.set(sum(report.serving for report in partitions.report()))
        self._copies.set(len(copies))
        return generate_latest(self._registry)
