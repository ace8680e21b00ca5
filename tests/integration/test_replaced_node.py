"""A node that stays away is replaced, on whole clusters of processes, and is given copies anew when it is back."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from math import ceil
from typing import Any

from probe.copies import cluster_id_of_node, compare_copies
from probe.processes import Cluster, wait_until

Start = Callable[..., Cluster]

PARTITIONS = 16
KEYS = {f"k{number}": b"value %d" % number for number in range(100)}


def node(cluster: Cluster, name: str) -> dict[str, Any]:
    """What the cluster says of a node."""
    return next(one for one in cluster.status()["nodes"] if one["id"] == name)


def is_replaced(cluster: Cluster, name: str) -> bool:
    """Whether everything is healthy without that node."""
    status = cluster.status()
    return status["state"] == "healthy" and not any(name in one["replicas"] for one in status["partitions"])


def is_given_copies(cluster: Cluster, name: str) -> bool:
    """Whether the node holds copies again and nothing moves any more."""
    status = cluster.status()
    return status["state"] == "healthy" and any(name in one["replicas"] for one in status["partitions"])


def most_led(cluster: Cluster) -> int:
    return max(Counter(one["leader"] for one in cluster.status()["partitions"]).values())


def test_its_copies_and_its_leaderships_go_to_the_others_and_it_counts_again_when_it_is_back(
    start_cluster: Start,
) -> None:
    cluster = start_cluster(3, KVSTORE_PARTITIONS=str(PARTITIONS), KVSTORE_REPLACE_AFTER_S="3")
    for name in ("n1", "n2", "n3"):
        cluster.start_node(name)
    cluster.wait_ready()
    for key, value in KEYS.items():
        assert cluster.put(key, value).headers["x-kv-copies"] == "2"
    wait_until(lambda: node(cluster, "n3")["keys"] > 0)

    cluster.nodes["n3"].end(signal.SIGKILL)
    wait_until(lambda: is_replaced(cluster, "n3"), 60)
    assert cluster.put("more", b"later").headers["x-kv-copies"] == "2"
    wait_until(lambda: most_led(cluster) <= ceil(1.05 * PARTITIONS / 2), 60)

    cluster.start_node("n3").wait_ready()
    wait_until(lambda: is_given_copies(cluster, "n3"), 60)
    wait_until(lambda: sum(one["keys"] for one in cluster.status()["nodes"]) == 2 * (len(KEYS) + 1), 60)

    cluster.nodes["n1"].end(signal.SIGKILL)
    wait_until(lambda: is_replaced(cluster, "n1"), 60)
    for key, value in {**KEYS, "more": b"later"}.items():
        assert cluster.ask("GET", f"/v1/kv/{key}").body == value
    status = cluster.status()
    status["nodes"] = [one for one in status["nodes"] if one["state"] == "up"]
    known = cluster_id_of_node(cluster.data / status["nodes"][0]["id"])
    held = asyncio.run(compare_copies(status, known))
    assert sum(held.values()) == 2 * (len(KEYS) + 1)
