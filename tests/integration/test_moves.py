"""Nodes that join, drain and leave whole clusters of processes, while clients go on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable
from math import ceil
from typing import Any

import pytest
from probe.copies import cluster_id_of_node, compare_copies
from probe.processes import Cluster, ask, wait_until
from probe.up import kvstore

Start = Callable[..., Cluster]

PARTITIONS = 12
KEYS = {f"k{number}": b"value %d" % number for number in range(200)}
JSON = {"Content-Type": "application/json"}


def started(start_cluster: Start, *nodes: str, **environment: str) -> Cluster:
    """A cluster of these nodes that holds `KEYS`."""
    cluster = start_cluster(len(nodes), KVSTORE_PARTITIONS=str(PARTITIONS), **environment)
    for name in nodes:
        cluster.start_node(name)
    cluster.wait_ready()
    for key, value in KEYS.items():
        assert cluster.put(key, value).status in (201, 204)
    return cluster


def copies(cluster: Cluster) -> Counter[str]:
    return Counter(node for one in cluster.status()["partitions"] for node in one["replicas"])


def leads(cluster: Cluster) -> Counter[str]:
    return Counter(one["leader"] for one in cluster.status()["partitions"])


def is_healthy(cluster: Cluster) -> bool:
    return cluster.status()["state"] == "healthy"


def is_even(cluster: Cluster, nodes: int) -> bool:
    """Whether everything is healthy, and nobody holds or leads more than 5 % above its share."""
    share = PARTITIONS / nodes
    held, led = copies(cluster), leads(cluster)
    is_balanced = max(held.values()) <= ceil(1.05 * 2 * share) and max(led.values()) <= ceil(1.05 * share)
    return is_healthy(cluster) and len(held) == nodes and is_balanced


def operate(cluster: Cluster, method: str, path: str, document: Any = None) -> Any:
    """A request below `/v1/cluster/`; returns the status and the answer."""
    body = None if document is None else json.dumps(document).encode()
    answer = ask(f"{cluster.url}/v1/cluster/{path}", method, body, JSON if body else None)
    return answer.status, json.loads(answer.body)


def assert_equal_copies(cluster: Cluster, keys: int) -> None:
    status = cluster.status()
    known = cluster_id_of_node(cluster.data / status["nodes"][0]["id"])
    held = asyncio.run(compare_copies(status, known))
    assert sum(held.values()) == 2 * keys


class Load:
    """Clients that write, read and delete keys of their own until they are told to stop; no request may fail."""

    def __init__(self, cluster: Cluster) -> None:
        self.requests = 0
        self.failures: list[str] = []
        self._url = cluster.url
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        turn = 0
        while not self._is_over.is_set():
            turn += 1
            key, value = f"load-{number}-{turn % 50}", b"%d" % turn
            self._expect(key, "PUT", value, {201, 204}, b"")
            self._expect(key, "GET", None, {200}, value)
            if turn % 5 == 0:
                self._expect(key, "DELETE", None, {204}, b"")
                self._expect(key, "GET", None, {404}, None)

    def _expect(self, key: str, method: str, body: bytes | None, statuses: set[int], expected: bytes | None) -> None:
        answer = ask(f"{self._url}/v1/kv/{key}", method, body)
        self.requests += 1
        if answer.status not in statuses or (expected is not None and answer.body != expected):
            self.failures.append(f"{method} {key}: {answer.status} {answer.body[:200]!r}")


def test_a_node_joins_and_leaves_again_under_load_and_no_request_fails(start_cluster: Start) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3")
    with Load(cluster) as load:
        cluster.start_node("n4").wait_ready()
        wait_until(lambda: is_even(cluster, 4), 90)
        joined = load.requests
        done = [one for one in cluster.status()["partitions"] if "n4" in one["replicas"]]
        assert 0 < len(done) <= ceil(1.10 * PARTITIONS * 2 / 4)

        assert operate(cluster, "DELETE", "nodes/n4")[0] == 202
        assert cluster.nodes["n4"].wait() == 0
        wait_until(lambda: is_even(cluster, 3), 60)
    assert not load.failures
    assert min(joined, load.requests - joined) > 50
    assert cluster.nodes["n4"].complaints == ["kvstore: node n4 was removed from its cluster and ends"]
    assert "n4" not in {node["id"] for node in cluster.status()["nodes"]}
    for key, value in KEYS.items():
        assert cluster.ask("GET", f"/v1/kv/{key}").body == value

    again = cluster.start_node("n4")
    assert again.wait() == 0
    assert len(again.complaints) == 1
    shutil.rmtree(cluster.data / "n4")
    cluster.start_node("n4").wait_ready()
    wait_until(lambda: is_even(cluster, 4), 90)
    for key, value in KEYS.items():
        assert cluster.ask("GET", f"/v1/kv/{key}").body == value


@pytest.mark.parametrize("workers", ["1", "2"])
def test_moves_go_on_where_they_stood_after_the_gateway_the_source_and_the_target_were_killed(
    start_cluster: Start, workers: str
) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3", KVSTORE_WORKERS=workers)
    cluster.start_node("n4").wait_ready()
    for victim in ("gateway", "n4", "n1"):
        wait_until(lambda: any(one["step"] != "planned" for one in cluster.status()["moves"]), 30)
        if victim == "gateway":
            cluster.gateway.end(signal.SIGKILL)
            cluster.start_gateway()
            wait_until(lambda: len(cluster.status()["partitions"]) == PARTITIONS)
        else:
            cluster.nodes[victim].end(signal.SIGKILL)
            cluster.start_node(victim).wait_ready()
    wait_until(lambda: is_even(cluster, 4), 90)
    for key, value in KEYS.items():
        assert cluster.ask("GET", f"/v1/kv/{key}").body == value
    assert_equal_copies(cluster, len(KEYS))


def test_a_move_that_is_paused_is_undone_and_another_plan_is_started_by_hand(start_cluster: Start) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3", KVSTORE_MANUAL_REBALANCE="1")
    before = {one["id"]: set(one["replicas"]) for one in cluster.status()["partitions"]}
    cluster.start_node("n4").wait_ready()
    assert operate(cluster, "POST", "rebalance/pause")[1]["state"] == "paused"
    _, plan = operate(cluster, "POST", "plan", {})
    assert sum(one["keys"] for one in plan["moves"]) == plan["keys"]
    assert operate(cluster, "POST", "rebalance", {"plan": plan["id"]})[0] == 200
    assert operate(cluster, "POST", "rebalance", {"plan": plan["id"]})[0] == 409
    first = operate(cluster, "GET", "rebalance")[1]["moves"][0]
    assert (first["step"], first["to"]) == ("planned", "n4")
    for move in operate(cluster, "GET", "rebalance")[1]["moves"]:
        assert operate(cluster, "DELETE", f"rebalance/moves/{move['id']}")[0] == 200
    wait_until(lambda: not cluster.status()["moves"])
    assert {one["id"]: set(one["replicas"]) for one in cluster.status()["partitions"]} == before

    assert operate(cluster, "PUT", "rebalance", {"max_bytes_per_second": 1000000})[0] == 200
    assert operate(cluster, "POST", "rebalance/resume")[1]["max_bytes_per_second"] == 1000000
    environment = {"KVSTORE_GATEWAY": cluster.url}
    made = json.loads(kvstore("plan", "--json", **environment).stdout)
    shown = kvstore("rebalance", "--start", made["id"], "--watch", **environment)
    assert shown.returncode == 0, shown.stderr
    assert b"all moves" in shown.stdout
    wait_until(lambda: is_even(cluster, 4), 60)


def test_each_node_in_turn_is_drained_and_restarted_and_no_request_fails(start_cluster: Start) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3")
    wait_until(lambda: is_healthy(cluster))
    environment = {"KVSTORE_GATEWAY": cluster.url}
    with Load(cluster) as load:
        for node in ("n1", "n2"):
            assert kvstore("drain", node, **environment).returncode == 0
            assert not leads(cluster)[node]
            assert cluster.nodes[node].end(signal.SIGTERM) == 0
            cluster.start_node(node).wait_ready()
            wait_until(lambda: is_healthy(cluster), 30)
            assert kvstore("undrain", node, **environment).returncode == 0
    assert not load.failures
    assert load.requests > 50


def test_a_dead_node_is_removed_by_force_and_its_copies_are_made_anew(start_cluster: Start) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3")
    assert operate(cluster, "DELETE", "nodes/n3?force=true")[0] == 409
    cluster.nodes["n3"].end(signal.SIGKILL)
    wait_until(lambda: "down" in {node["state"] for node in cluster.status()["nodes"]})
    environment = {"KVSTORE_GATEWAY": cluster.url}
    wait_until(lambda: all(one["leader"] != "n3" for one in cluster.status()["partitions"]), 30)
    assert kvstore("nodes", "remove", "n3", "--force", "--timeout", "60", **environment).returncode == 0
    assert operate(cluster, "DELETE", "nodes/n2")[0] == 409
    wait_until(lambda: is_even(cluster, 2), 60)
    again = cluster.start_node("n3")
    assert again.wait() == 0
    assert again.out == []
    assert again.complaints == ["kvstore: node n3 was removed from its cluster and ends"]
    assert_equal_copies(cluster, len(KEYS))


def test_a_node_that_stands_still_when_it_is_given_up_ends_once_it_goes_on(start_cluster: Start) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3", KVSTORE_REPLACE_AFTER_S="8")
    wait_until(lambda: is_healthy(cluster))
    assert operate(cluster, "DELETE", "nodes/n3")[0] == 202
    node = cluster.nodes["n3"]
    # It still holds copies: so nothing that it was sent before tells it.
    assert copies(cluster)["n3"]
    os.kill(node.pid, signal.SIGSTOP)
    wait_until(lambda: "n3" not in {one["id"] for one in cluster.status()["nodes"]}, 90)
    assert node.is_running
    os.kill(node.pid, signal.SIGCONT)
    assert node.wait() == 0
    assert node.complaints == ["kvstore: node n3 was removed from its cluster and ends"]
    assert is_even(cluster, 2)


@pytest.mark.parametrize("environment", [{}, {"KVSTORE_MANUAL_REBALANCE": "true"}], ids=["by_itself", "manual"])
def test_wait_until_healthy_waits_for_moves_that_are_about_to_be_planned(
    start_cluster: Start, environment: dict[str, str]
) -> None:
    cluster = started(start_cluster, "n1", "n2", "n3", **environment)
    cluster.start_node("n4")
    waited = kvstore("wait", "--nodes", "4", "--healthy", "--timeout", "60", KVSTORE_GATEWAY=cluster.url)
    assert waited.returncode == 0, waited.stderr
    assert is_healthy(cluster)
    assert bool(copies(cluster)["n4"]) == (not environment)
