"""What `kvstore up` decides by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.cli.up import default_partitions, default_workers, names_to_start
from kvstore.errors import OperatorError


@pytest.mark.parametrize(
    ("cpus", "workers"), [(1, 1), (2, 1), (3, 1), (4, 1), (7, 1), (8, 2), (16, 4), (32, 8), (128, 8)]
)
def test_a_gateway_has_a_worker_for_every_four_cpus_within_bounds(cpus: int, workers: int) -> None:
    assert default_workers(cpus) == workers


@pytest.mark.parametrize(("nodes", "partitions"), [(1, 12), (2, 12), (3, 12), (4, 16), (64, 256)])
def test_each_node_has_four_partitions_to_lead_and_there_are_twelve_at_least(nodes: int, partitions: int) -> None:
    assert default_partitions(nodes) == partitions


@pytest.mark.parametrize(
    ("held", "nodes", "started"),
    [
        ([], 3, ["n1", "n2", "n3"]),
        (["n1", "n2", "n3"], 3, ["n1", "n2", "n3"]),
        (["n1", "n3"], 2, ["n1", "n3"]),
        (["n3", "n10"], 2, ["n3", "n10"]),
        (["n1", "n3"], 3, ["n1", "n2", "n3"]),
        (["n64"], 3, ["n1", "n2", "n64"]),
    ],
)
def test_the_nodes_whose_data_is_there_are_started_and_new_ones_up_to_the_number(
    tmp_path: Path, held: list[str], nodes: int, started: list[str]
) -> None:
    for name in (*held, "gateway"):
        (tmp_path / name).mkdir()
    assert names_to_start(tmp_path, nodes) == started


def test_data_of_more_nodes_than_the_number_is_refused(tmp_path: Path) -> None:
    for name in ("n1", "n3"):
        (tmp_path / name).mkdir()
    with pytest.raises(OperatorError, match="holds the data of 2 nodes, --nodes is 1"):
        names_to_start(tmp_path, 1)
