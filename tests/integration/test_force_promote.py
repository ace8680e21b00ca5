"""A partition whose only in-sync copy is dead, on whole clusters of processes: it waits, until an operator decides."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

from probe.processes import KVSTORE, Cluster, wait_until

Start = Callable[..., Cluster]


def force_promote(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as an operator types it."""
    return subprocess.run(
        [*KVSTORE, "force-promote", *arguments],
        env={**os.environ, "KVSTORE_GATEWAY": cluster.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def in_sync(cluster: Cluster) -> list[list[str]]:
    return [one["in_sync"] for one in cluster.status()["partitions"]]


def node_state(cluster: Cluster, name: str) -> str:
    return next(str(one["state"]) for one in cluster.status()["nodes"] if one["id"] == name)


def test_only_the_word_that_the_last_node_is_stopped_lets_the_other_copy_lead_and_it_comes_back_empty(
    start_cluster: Start,
) -> None:
    cluster = start_cluster(2, KVSTORE_PARTITIONS="4")
    for name in ("n1", "n2"):
        cluster.start_node(name)
    cluster.wait_ready()
    for key in ("a", "b", "c"):
        assert cluster.put(key, b"both").headers["x-kv-copies"] == "2"
    cluster.nodes["n2"].end(signal.SIGKILL)
    wait_until(lambda: in_sync(cluster) == [["n1"]] * 4)
    assert cluster.put("a", b"n1 alone").headers["x-kv-copies"] == "1"
    assert force_promote(cluster, "--all-of", "n1", "--confirmed-stopped", "n1").returncode == 1

    cluster.nodes["n1"].end(signal.SIGKILL)
    cluster.start_node("n2").wait_ready()
    wait_until(lambda: (node_state(cluster, "n1"), node_state(cluster, "n2")) == ("down", "up"))
    assert cluster.ask("GET", "/v1/kv/a").code == "no_leader"
    assert cluster.ask("PUT", "/v1/kv/a", b"x").code == "no_leader"
    pid = cluster.status()["partitions"][0]["id"]
    unnamed = force_promote(cluster, str(pid), "--confirmed-stopped", "n2")
    assert (unnamed.returncode, "n1 has an in-sync copy" in unnamed.stderr) == (1, True)
    assert all(one["unclean_count"] == 0 for one in cluster.status()["partitions"])

    wait_until(lambda: force_promote(cluster, str(pid), "--confirmed-stopped", "n1").returncode == 0)
    assert force_promote(cluster, "--all-of", "n1", "--confirmed-stopped", "n1").returncode == 0
    cluster.nodes.pop("n1")
    cluster.wait_ready()
    assert all(one["unclean_count"] == 1 for one in cluster.status()["partitions"])
    assert any("force_promoted" in line for line in cluster.gateway.err)
    for key in ("a", "b", "c"):
        assert cluster.ask("GET", f"/v1/kv/{key}").body == b"both"
    assert cluster.put("b", b"n2 alone").status == 204

    cluster.start_node("n1").wait_ready()
    wait_until(lambda: cluster.status()["state"] == "healthy", 60)
    assert cluster.put("c", b"both again").headers["x-kv-copies"] == "2"
    assert not [line for name in ("n1", "n2") for line in cluster.nodes[name].err if '"alarm"' in line]
    assert [cluster.ask("GET", f"/v1/kv/{key}").body for key in ("a", "b", "c")] == [
        b"both",
        b"n2 alone",
        b"both again",
    ]
    assert all(one["unclean_count"] == 1 for one in cluster.status()["partitions"])
