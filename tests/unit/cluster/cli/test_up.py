"""What `kvstore up` decides by itself."""

from __future__ import annotations

import pytest

from cluster.cli.up import default_partitions, default_workers


@pytest.mark.parametrize(
    ("cpus", "workers"), [(1, 1), (2, 1), (3, 1), (4, 1), (7, 1), (8, 2), (16, 4), (32, 8), (128, 8)]
)
def test_a_gateway_has_a_worker_for_every_four_cpus_within_bounds(cpus: int, workers: int) -> None:
    assert default_workers(cpus) == workers


@pytest.mark.parametrize(("nodes", "partitions"), [(1, 12), (2, 12), (3, 12), (4, 16), (64, 256)])
def test_each_node_has_four_partitions_to_lead_and_there_are_twelve_at_least(nodes: int, partitions: int) -> None:
    assert default_partitions(nodes) == partitions
