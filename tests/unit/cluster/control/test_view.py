"""What control shows: readiness and the state of the cluster."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.cluster_map import ClusterMap
from cluster.control.view import NodeStatus, cluster_view, readiness
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid
from kvstore.messages import CopyReport

A, B = Rid("a", b"A" * 16), Rid("b", b"B" * 16)
NODES = {node: NodeInfo(node, f"127.0.0.1:{port}", "z", 1.0, 1) for port, node in enumerate("ab", 7001)}
KEYSPACE = KeyspaceInfo("default", "consistent", (1, 2), 2, 1)
ENTRIES = {
    1: Entry(1, "default", 2, 1, A, (A, B), (A, B)),
    2: Entry(2, "default", 2, 1, B, (B, A), (B, A)),
}
CLUSTER = ClusterMap(b"cluster1", 9, NODES, {"default": KEYSPACE}, ENTRIES)


def status(up: str = "ab", serving: bool = True, epoch: int = 1) -> dict[str, NodeStatus]:
    def copies(leads: int) -> dict[int, CopyReport]:
        return {pid: CopyReport(pid, epoch, serving and pid == leads, 3, 100) for pid in (1, 2)}

    return {"a": NodeStatus("a" in up, copies(1)), "b": NodeStatus("b" in up, copies(2))}


def test_a_cluster_whose_leaders_all_serve_is_ready_and_healthy() -> None:
    assert readiness(CLUSTER, status(), 2).ready
    assert cluster_view(CLUSTER, status()).state == "healthy"


@pytest.mark.parametrize("bad", [status(up="a"), status(serving=False), status(epoch=2), {}])
def test_a_leader_that_is_away_or_not_serving_at_its_epoch_makes_it_unavailable(bad: dict[str, NodeStatus]) -> None:
    ready = readiness(CLUSTER, bad, 2)
    assert not ready.ready
    assert "no leader" in ready.reason
    assert cluster_view(CLUSTER, bad).state == "unavailable"


def test_partitions_are_counted_alike_while_one_that_was_merged_away_has_copies_and_that_one_is_not_waited_for() -> (
    None
):
    merged = ClusterMap(b"cluster1", 9, NODES, {"default": msgspec.structs.replace(KEYSPACE, pids=(1,))}, ENTRIES)
    only_b = {"a": NodeStatus(False, {}), "b": status()["b"]}
    assert readiness(merged, only_b, 2).reason == "1 of 2 partitions have no leader, partition 1 first"
    assert readiness(merged, {}, 2).reason == "2 of 2 partitions have no leader, partition 1 first"
    assert len(cluster_view(merged, {}).partitions) == 2
    only_a = {"a": status()["a"]}
    assert readiness(merged, only_a, 2).ready


def test_before_the_first_placement_the_reason_tells_how_many_nodes_are_missing() -> None:
    unplaced = ClusterMap(b"cluster1", 2, NODES, {"default": KEYSPACE}, {})
    assert readiness(unplaced, {"a": NodeStatus(True, {})}, 3).reason.endswith("1 of 3 nodes have joined")
    assert not readiness(ClusterMap.empty(b"cluster1"), {}, 3).ready
    assert cluster_view(unplaced, {}).state == "unavailable"


def test_a_copy_that_is_missing_or_out_of_sync_makes_it_degraded() -> None:
    led_by_a = {pid: msgspec.structs.replace(entry, leader=A) for pid, entry in ENTRIES.items()}
    serves_both = {pid: CopyReport(pid, 1, True, 3, 100) for pid in (1, 2)}
    cluster = map_with(led_by_a)
    assert cluster_view(cluster, {"a": NodeStatus(True, serves_both)}).state == "degraded"
    shrunk = {pid: msgspec.structs.replace(entry, in_sync=(A,)) for pid, entry in led_by_a.items()}
    both = {"a": NodeStatus(True, serves_both), "b": status()["b"]}
    assert cluster_view(map_with(shrunk), both).state == "degraded"
    assert cluster_view(cluster, both).state == "healthy"
    just_connected = {**both, "b": NodeStatus(True, {})}
    assert cluster_view(cluster, just_connected).state == "degraded"


def test_an_in_sync_copy_that_its_node_lost_makes_it_degraded() -> None:
    lost = status()
    lost["b"] = NodeStatus(True, lost["b"].copies, frozenset({(1, B.store)}))
    assert cluster_view(CLUSTER, lost).state == "degraded"


def test_a_copy_that_is_still_learning_is_shown_and_leaves_it_degraded() -> None:
    learning = {
        pid: msgspec.structs.replace(one, in_sync=one.in_sync[:1], replicas=one.replicas[:1])
        for pid, one in ENTRIES.items()
    }
    learning[1] = msgspec.structs.replace(learning[1], adding=(B,))
    learning[2] = msgspec.structs.replace(learning[2], adding=(A,))
    view = cluster_view(map_with(learning), status())
    assert view.state == "degraded"
    assert [(one.in_sync, one.replicas) for one in view.partitions] == [(("a",), ("a", "b")), (("b",), ("b", "a"))]
    assert [(node.leads, node.follows) for node in view.nodes] == [(1, 1), (1, 1)]


def map_with(entries: dict[int, Entry]) -> ClusterMap:
    return ClusterMap(b"cluster1", 9, NODES, {"default": KEYSPACE}, entries)


def test_the_view_has_the_fields_of_the_api() -> None:
    view: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(cluster_view(CLUSTER, status(up="a"))))
    assert set(view) == {"state", "map_version", "nodes", "partitions", "moves"}
    assert view["map_version"] == 9
    assert view["moves"] == []
    assert view["nodes"][1] == {
        "id": "b",
        "address": "127.0.0.1:7002",
        "zone": "z",
        "weight": 1.0,
        "state": "down",
        "leads": 1,
        "follows": 1,
        "keys": 6,
        "bytes": 200,
    }
    assert view["partitions"][0] == {
        "id": 1,
        "keyspace": "default",
        "epoch": 1,
        "leader": "a",
        "in_sync": ["a", "b"],
        "unclean_count": 0,
        "replicas": ["a", "b"],
    }
