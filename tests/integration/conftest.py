"""Clusters of real processes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe.processes import Cluster


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Start a gateway (see `Cluster`) on a directory of this test; whatever is left at the end is killed."""
    started: list[Cluster] = []

    def start(initial_nodes: int, **environment: str) -> Cluster:
        started.append(Cluster(tmp_path / f"cluster{len(started)}", initial_nodes, **environment))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()
