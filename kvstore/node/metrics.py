"""What a node measures, in the format of Prometheus.

Guarantees: counting on the data path is an addition to a plain number; everything else is worked out when somebody
asks. Leaves to others: serving the text (`http`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kvstore.loop_lag import LoopLag
from kvstore.partition import Partition
from kvstore.partitions import Partitions

BATCH_BUCKETS_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
COMMIT_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


class NodeMetrics(Collector):
    """Args: partitions: of the node that is measured. Its event loop is measured while `lag` is."""

    def __init__(self, partitions: Partitions) -> None:
        self.reads = 0
        self.quorum_reads = 0
        self.stale_reads = 0
        self.scanned = 0
        self.writes = 0
        self.acks = 0
        self.alarms = 0
        self.queued = 0
        self.chunk_bytes = 0
        self.chunk_wire_bytes = 0
        self.lag = LoopLag(lambda lag_s: partitions.filling.pace.note_lag(lag_s * 1000))
        self._partitions = partitions
        self._commits = [0] * (len(COMMIT_BUCKETS_S) + 1)
        self._commit_s = 0.0
        self._batches = [0] * (len(BATCH_BUCKETS_ROWS) + 1)
        self._batch_rows = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def committed(self, seconds: float, rows: int) -> None:
        """A write batch of so many rows took that long, its fdatasync included."""
        self._commits[bisect_left(COMMIT_BUCKETS_S, seconds)] += 1
        self._commit_s += seconds
        self._batches[bisect_left(BATCH_BUCKETS_ROWS, rows)] += 1
        self._batch_rows += rows

    def sent_chunk(self, size_bytes: int, wire_bytes: int) -> None:
        """A piece of data left for a copy that is filled elsewhere, as so many bytes."""
        self.chunk_bytes += size_bytes
        self.chunk_wire_bytes += wire_bytes

    def text(self) -> bytes:
        """The series as they are now."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        copies = list(self._partitions)
        usage = self._partitions.usage
        lag = sum(partition.copy.log.end - partition.copy.commit_seq for partition in copies)
        led = sum(report.serving for report in self._partitions.report().copies)
        yield CounterMetricFamily("kvstore_node_reads", "Keys asked for", self.reads)
        yield self._by_consistency()
        yield CounterMetricFamily("kvstore_node_scanned_keys", "Keys in pages of scans", self.scanned)
        yield CounterMetricFamily("kvstore_node_writes", "Writes taken", self.writes)
        yield CounterMetricFamily(
            "kvstore_node_stored_results",
            "Writes that came before and were not carried out again",
            self._partitions.leaders.stored_results,
        )
        yield CounterMetricFamily("kvstore_node_acks", "Acknowledgements sent to leaders", self.acks)
        yield CounterMetricFamily("kvstore_alarms", "Copies that stopped themselves, or differ", self.alarms)
        yield GaugeMetricFamily("kvstore_store_used_bytes", "Live pages of the store", usage.used)
        yield GaugeMetricFamily("kvstore_store_free_bytes", "Pages of the store's file to be used again", usage.free)
        yield GaugeMetricFamily("kvstore_store_limit_bytes", "Where writes are refused", usage.limit)
        yield GaugeMetricFamily("kvstore_node_queued", "Reads and writes that wait for a batch or a copy", self.queued)
        yield GaugeMetricFamily(
            "kvstore_node_loop_lag_seconds", "Worst lag of the event loop in 20 s", self.lag.worst_s
        )
        yield GaugeMetricFamily("kvstore_log_lag_records", "Log records not yet committed", lag)
        yield GaugeMetricFamily("kvstore_partitions_led", "Partitions this node serves", led)
        yield GaugeMetricFamily("kvstore_copies", "Copies of partitions on this node", len(copies))
        yield CounterMetricFamily("kvstore_node_backfills", "Copies that began anew", self._partitions.backfills)
        yield from self._of_filling()
        yield from self._of_txns()
        yield from _of_followers(copies)
        yield HistogramMetricFamily(
            "kvstore_commit_seconds",
            "Time of one write batch, its fdatasync included",
            _buckets(COMMIT_BUCKETS_S, self._commits),
            self._commit_s,
        )
        yield HistogramMetricFamily(
            "kvstore_node_batch_rows",
            "Rows that one write batch changed",
            _buckets(BATCH_BUCKETS_ROWS, self._batches),
            self._batch_rows,
        )

    def _of_filling(self) -> Iterator[Metric]:
        """The two ways of data that fills copies."""
        filling = self._partitions.filling
        yield GaugeMetricFamily(
            "kvstore_node_backfill_bytes_per_second",
            "How fast the node lets copies be filled, while any are",
            filling.pace.bytes_per_s,
        )
        yield CounterMetricFamily(
            "kvstore_node_backfill_sent_bytes", "Data sent to copies being filled elsewhere", filling.sent_bytes
        )
        yield CounterMetricFamily(
            "kvstore_node_backfill_taken_bytes", "Data that copies of this node were filled with", filling.taken_bytes
        )
        yield CounterMetricFamily(
            "kvstore_node_chunk_bytes", "Of the data sent to copies, what went in chunks", self.chunk_bytes
        )
        yield CounterMetricFamily(
            "kvstore_node_chunk_wire_bytes", "The same as it was sent, compressed or not", self.chunk_wire_bytes
        )

    def _of_txns(self) -> Iterator[Metric]:
        """Transactions in doubt, and how those that this node decided were aborted."""
        ages_ms = self._partitions.doubts.ages_ms()
        yield GaugeMetricFamily(
            "kvstore_txn_prepared", "Transactions prepared and not decided, as led here", len(ages_ms)
        )
        yield GaugeMetricFamily(
            "kvstore_txn_oldest_prepared_seconds", "Age of the oldest of them", max(ages_ms, default=0) / 1000
        )
        aborts = CounterMetricFamily("kvstore_txn_aborts", "Transactions decided to be aborted", labels=("reason",))
        for code, count in self._partitions.leaders.txn_aborts.items():
            aborts.add_metric((code,), count)
        yield aborts

    def _by_consistency(self) -> Metric:
        asked = CounterMetricFamily(
            "kvstore_node_reads_by_consistency",
            "Keys asked for, by what was asked of the answer",
            labels=("consistency",),
        )
        asked.add_metric(("strong",), self.reads - self.quorum_reads - self.stale_reads)
        asked.add_metric(("quorum",), self.quorum_reads)
        asked.add_metric(("stale",), self.stale_reads)
        return asked


def _of_followers(copies: Sequence[Partition]) -> Iterator[Metric]:
    """How far behind the followers of each partition led here are, and what the copies filled here still get."""
    lag = GaugeMetricFamily(
        "kvstore_node_log_lag_records", "Log records a copy has not acked", labels=("partition", "follower")
    )
    in_sync = GaugeMetricFamily("kvstore_node_in_sync", "Copies in sync, by partition led here", labels=("partition",))
    catchup = GaugeMetricFamily(
        "kvstore_node_catchup_bytes", "Bytes that a copy being backfilled has", labels=("partition", "follower")
    )
    for partition in copies:
        pid, copy, leader = str(partition.pid), partition.copy, partition.leader
        if copy.is_backfilling:
            catchup.add_metric((pid, copy.name.rid.node), copy.contents.size_bytes)
        if leader is not None:
            in_sync.add_metric((pid,), len(leader.followers.entry.in_sync))
            for node, peer in leader.followers:
                lag.add_metric((pid, node), copy.log.end - peer.acked)
    yield from (lag, in_sync, catchup)


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    return list(zip([*map(str, bounds), "+Inf"], accumulate(counts), strict=True))
