"""A transaction whose deciding partition is gone for good: an operator sees it, and ends it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from probe.processes import Cluster, wait_until
from probe.up import kvstore


def start(start_cluster: Callable[..., Cluster]) -> Cluster:
    """Two nodes, and one copy of everything."""
    cluster = start_cluster(2, KVSTORE_PARTITIONS="4", KVSTORE_REPLICAS="1")
    for name in ("n1", "n2"):
        cluster.start_node(name)
    return cluster.wait_ready()


def keys(cluster: Cluster, decides: str) -> tuple[str, str]:
    """A key whose partition that node leads, and a larger one that the other node leads."""
    first = ""
    for number in range(100):
        key = f"k{number:02}"
        leads = json.loads(cluster.ask("GET", f"/v1/locate/{key}").body)["leader"]
        if not first and leads == decides:
            first = key
        elif first and leads != decides:
            return first, key
    raise AssertionError("one node leads everything")


def incr_both(pair: tuple[str, str]) -> bytes:
    return json.dumps({"then": [{"op": "incr", "key": key} for key in pair]}).encode()


@pytest.mark.parametrize(
    ("options", "value"),
    [(["--outcome", "commit", "--branch", "then"], b"1"), (["--outcome", "abort"], None)],
    ids=["commit", "abort"],
)
def test_an_operator_ends_what_a_lost_partition_would_have_decided(
    start_cluster: Callable[..., Cluster], options: list[str], value: bytes | None
) -> None:
    cluster = start(start_cluster)
    first, second = keys(cluster, decides="n2")
    lost = cluster.nodes["n2"]
    os.kill(lost.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cluster.ask, "POST", "/v1/txn", incr_both((first, second)))
        wait_until(lambda: len(prepared(cluster)) == 1)
        lost.end(signal.SIGKILL)
        assert asked.result().status in (503, 504)
    (one,) = prepared(cluster)
    assert one["keys"] == [{"key": second}]
    assert cluster.ask("GET", f"/v1/kv/{second}").status == 503
    undecided = kvstore("txn", "resolve", one["txn"], KVSTORE_GATEWAY=cluster.url)
    assert undecided.returncode == 3
    forced = kvstore("txn", "resolve", one["txn"], *options, KVSTORE_GATEWAY=cluster.url)
    assert json.loads(forced.stdout) == {"partitions": [one["partition"]], "missing": ["n2"]}
    assert forced.returncode == 3, "the lost node may hold more"
    answer = cluster.ask("GET", f"/v1/kv/{second}")
    assert (answer.body if answer.status == 200 else None) == value
    (line,) = [json.loads(line) for line in cluster.gateway.err if "transaction_resolved_by_operator" in line]
    assert (line["level"], line["txn"], line["partitions"]) == ("warning", one["txn"], [one["partition"]])
    assert not prepared(cluster)


def prepared(cluster: Cluster) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = json.loads(cluster.ask("GET", "/v1/cluster/transactions").body)["prepared"]
    return listed


def test_a_transaction_that_needs_a_partition_without_leader_changes_nothing(
    start_cluster: Callable[..., Cluster],
) -> None:
    cluster = start(start_cluster)
    first, second = keys(cluster, decides="n1")
    cluster.nodes["n2"].end(signal.SIGKILL)
    answer = cluster.ask("POST", "/v1/txn", incr_both((first, second)))
    assert (answer.status, answer.code) == (503, "no_leader")
    assert not prepared(cluster)
    assert cluster.ask("GET", f"/v1/kv/{first}").status == 404
    assert cluster.ask("PUT", f"/v1/kv/{first}", b"not locked").status == 201
