"""A keyspace that asks for two copies in sync: with one it takes no write, and what it refuses leaves no trace."""

from __future__ import annotations

import signal
from collections.abc import Callable

from probe.processes import Cluster, wait_until

Start = Callable[..., Cluster]

KEYS = [f"k{number}" for number in range(12)]


def test_with_one_copy_in_sync_writes_are_refused_before_they_are_appended_and_reads_go_on(
    start_cluster: Start,
) -> None:
    cluster = start_cluster(2, KVSTORE_PARTITIONS="4", KVSTORE_MIN_IN_SYNC="2")
    for name in ("n1", "n2"):
        cluster.start_node(name)
    cluster.wait_ready()
    etags = {key: cluster.put(key, b"two copies").headers["etag"] for key in KEYS}

    cluster.nodes["n2"].end(signal.SIGKILL)
    wait_until(lambda: all(one["in_sync"] == ["n1"] for one in cluster.status()["partitions"]))
    wait_until(lambda: cluster.ask("GET", "/readyz").status == 200)
    for key in KEYS:
        assert cluster.ask("PUT", f"/v1/kv/{key}", b"one copy").code == "not_enough_copies"
        assert cluster.ask("DELETE", f"/v1/kv/{key}").code == "not_enough_copies"
        answer = cluster.ask("GET", f"/v1/kv/{key}")
        assert (answer.body, answer.headers["etag"]) == (b"two copies", etags[key])

    cluster.start_node("n2").wait_ready()
    wait_until(lambda: cluster.status()["state"] == "healthy")
    for key in KEYS:
        answer = cluster.ask("GET", f"/v1/kv/{key}")
        assert (answer.body, answer.headers["etag"]) == (b"two copies", etags[key])
        assert cluster.put(key, b"again two").headers["x-kv-copies"] == "2"
