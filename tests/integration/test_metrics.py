"""What a scrape of real processes holds: every series that the dashboard shows, and what writes do to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from probe.processes import Cluster, ask
from prometheus_client.parser import text_string_to_metric_families

DASHBOARD = Path(__file__).parents[2] / "monitoring" / "grafana" / "dashboards" / "kvstore.json"
# Of a copy that is being filled, which there is none of here.
RARE = {"kvstore_node_catchup_bytes"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), 2, KVSTORE_PARTITIONS="4")
    try:
        for name in ("n1", "n2"):
            cluster.start_node(name)
        cluster.wait_ready()
        for number in range(20):
            assert cluster.put(f"k{number}", b"x").status == 201
        yield cluster
    finally:
        cluster.close()


def scrape(address: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples at an address, by name: labels and value of each."""
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(ask(f"http://{address}/metrics", "GET").body.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_every_series_of_the_dashboard_is_in_a_scrape(cluster: Cluster) -> None:
    names = set(scrape(cluster.gateway.address)) | set(scrape(cluster.nodes["n1"].address))
    shown = re.findall(r"\bkvstore_\w+", "\n".join(expressions(json.loads(DASHBOARD.read_text())["panels"])))
    assert len(shown) > 20
    assert not set(shown) - names - RARE


def test_every_label_that_the_dashboard_groups_by_is_in_a_scrape(cluster: Cluster) -> None:
    of_gateway = scrape(cluster.gateway.address)["kvstore_gateway_request_seconds_count"]
    assert {"operation", "outcome"} <= set(of_gateway[0][0])


def test_writes_show_as_batches_with_rows(cluster: Cluster) -> None:
    scrapes = [scrape(node.address) for node in cluster.nodes.values()]
    assert sum(one["kvstore_node_writes_total"][0][1] for one in scrapes) >= 20
    for one in scrapes:
        batches = one["kvstore_node_batch_rows_count"][0][1]
        assert batches == one["kvstore_commit_seconds_count"][0][1] > 0
        assert one["kvstore_node_batch_rows_sum"][0][1] >= batches
        assert one["kvstore_store_used_bytes"][0][1] > 0


def test_nothing_waits_when_everybody_has_an_answer(cluster: Cluster) -> None:
    assert [scrape(node.address)["kvstore_node_queued"][0][1] for node in cluster.nodes.values()] == [0, 0]


def test_the_breaker_before_each_node_is_shown(cluster: Cluster) -> None:
    shown = scrape(cluster.gateway.address)["kvstore_gateway_breaker_open"]
    assert {labels["node"]: value for labels, value in shown} == {"n1": 0.0, "n2": 0.0}


def test_each_loop_tells_its_lag(cluster: Cluster) -> None:
    assert scrape(cluster.gateway.address)["kvstore_gateway_loop_lag_seconds"][0][1] >= 0
    assert scrape(cluster.nodes["n1"].address)["kvstore_node_loop_lag_seconds"][0][1] >= 0
