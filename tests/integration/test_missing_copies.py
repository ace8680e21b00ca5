"""Copies that are missing, on whole clusters of processes: nodes that join late, and one whose disk was wiped."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil

from probe.copies import cluster_id_of_node, compare_copies
from probe.processes import Cluster, wait_until

Start = Callable[..., Cluster]

KEYS = {f"k{number}": b"value %d" % number for number in range(200)}


def is_healthy(cluster: Cluster) -> bool:
    return cluster.status()["state"] == "healthy"


def leaders(cluster: Cluster) -> Mapping[str, int]:
    """How many partitions each node leads."""
    return Counter(partition["leader"] for partition in cluster.status()["partitions"])


def assert_whole(cluster: Cluster, keys: Mapping[str, bytes]) -> None:
    """Every key reads as it was written, and the copies of each partition are equal."""
    for key, value in keys.items():
        assert cluster.ask("GET", f"/v1/kv/{key}").body == value
    status = cluster.status()
    known = cluster_id_of_node(cluster.data / status["nodes"][0]["id"])
    held = asyncio.run(compare_copies(status, known))
    assert sum(held.values()) == 2 * len(keys)


def test_nodes_that_join_late_get_the_copies_that_are_missing(start_cluster: Start) -> None:
    cluster = start_cluster(1, KVSTORE_PARTITIONS="8")
    cluster.start_node("n1")
    cluster.wait_ready()
    for key, value in KEYS.items():
        assert cluster.put(key, value).headers["x-kv-copies"] == "1"
    assert cluster.status()["state"] == "degraded"

    cluster.start_node("n2")
    wait_until(lambda: is_healthy(cluster))
    assert all(sorted(partition["in_sync"]) == ["n1", "n2"] for partition in cluster.status()["partitions"])
    assert cluster.put("more", b"later").headers["x-kv-copies"] == "2"

    cluster.start_node("n3").wait_ready()
    wait_until(lambda: len(cluster.status()["nodes"]) == 3)
    wait_until(lambda: "n3" in leaders(cluster) and not cluster.status()["moves"] and is_healthy(cluster), 60)
    assert max(leaders(cluster).values()) <= ceil(1.05 * 4)
    assert_whole(cluster, {**KEYS, "more": b"later"})


def test_a_node_whose_disk_was_wiped_gets_new_copies_of_what_it_held(start_cluster: Start) -> None:
    cluster = start_cluster(1, KVSTORE_PARTITIONS="8")
    cluster.start_node("n1")
    cluster.wait_ready()
    cluster.start_node("n2")
    wait_until(lambda: is_healthy(cluster))
    for key, value in KEYS.items():
        assert cluster.put(key, value).headers["x-kv-copies"] == "2"

    cluster.nodes["n2"].end(signal.SIGKILL)
    shutil.rmtree(cluster.data / "n2")
    cluster.start_node("n2").wait_ready()
    wait_until(lambda: is_healthy(cluster))
    assert cluster.put("more", b"later").headers["x-kv-copies"] == "2"
    assert_whole(cluster, {**KEYS, "more": b"later"})
