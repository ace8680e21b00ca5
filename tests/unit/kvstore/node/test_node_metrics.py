"""What a node counts comes out as series of Prometheus."""

from __future__ import annotations

from kvstore.node.metrics import NodeMetrics
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.storage.engine import Usage


def lines(metrics: NodeMetrics) -> set[str]:
    return set(metrics.text().decode().splitlines())


def new_metrics() -> tuple[Partitions, NodeMetrics]:
    partitions = Partitions(NodeState("n1", b"", 0, 1), lambda: bytes(16), 1 << 20)
    return partitions, NodeMetrics(partitions)


def test_batches_are_counted_by_their_time_and_by_their_rows() -> None:
    _, metrics = new_metrics()
    metrics.committed(0.003, 5)
    metrics.committed(9.0, 5000)
    assert lines(metrics) >= {
        'kvstore_commit_seconds_bucket{le="0.002"} 0.0',
        'kvstore_commit_seconds_bucket{le="0.005"} 1.0',
        'kvstore_commit_seconds_bucket{le="5.0"} 1.0',
        'kvstore_commit_seconds_bucket{le="+Inf"} 2.0',
        "kvstore_commit_seconds_sum 9.003",
        'kvstore_node_batch_rows_bucket{le="4"} 0.0',
        'kvstore_node_batch_rows_bucket{le="8"} 1.0',
        'kvstore_node_batch_rows_bucket{le="+Inf"} 2.0',
        "kvstore_node_batch_rows_sum 5005.0",
    }


def test_the_pages_of_the_store_are_told_as_used_free_and_allowed() -> None:
    partitions, metrics = new_metrics()
    partitions.usage = Usage(used=8192, limit=100_000, free=4096)
    assert lines(metrics) >= {
        "kvstore_store_used_bytes 8192.0",
        "kvstore_store_free_bytes 4096.0",
        "kvstore_store_limit_bytes 100000.0",
    }


def test_what_waits_is_told() -> None:
    _, metrics = new_metrics()
    metrics.queued += 3
    assert "kvstore_node_queued 3.0" in lines(metrics)


def test_writes_that_came_before_are_counted() -> None:
    partitions, metrics = new_metrics()
    partitions.leaders.stored_results += 2
    assert "kvstore_node_stored_results_total 2.0" in lines(metrics)


def test_chunks_are_counted_as_data_and_as_what_was_sent() -> None:
    _, metrics = new_metrics()
    metrics.sent_chunk(100, 40)
    metrics.sent_chunk(10, 10)
    assert lines(metrics) >= {"kvstore_node_chunk_bytes_total 110.0", "kvstore_node_chunk_wire_bytes_total 50.0"}
