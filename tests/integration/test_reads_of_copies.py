"""Reads of real processes: which copy answers while a node stands still, and that a bound that is told is one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe.processes import Answer, Cluster, wait_until

from kvstore.leases import PING_MS

Start = Callable[..., Cluster]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with a copy each, and the key `k`."""
    cluster = Cluster(tmp_path, 2, KVSTORE_PARTITIONS="2")
    try:
        for name in ("n1", "n2"):
            cluster.start_node(name)
        cluster.wait_ready()
        assert cluster.put("k", b"v").status == 201
        yield cluster
    finally:
        cluster.close()


def leader_and_follower(cluster: Cluster) -> tuple[str, str]:
    located = json.loads(cluster.ask("GET", "/v1/locate/k").body)
    (follower,) = located["followers"]
    return located["leader"], follower


def send(cluster: Cluster, name: str, number: signal.Signals) -> None:
    os.kill(cluster.nodes[name].pid, number)


def stale(cluster: Cluster, method: str = "GET", more: str = "") -> Answer:
    return cluster.ask(method, f"/v1/kv/k?consistency=stale{more}")


def wait_applied(cluster: Cluster) -> None:
    """Wait until the follower answers with the value."""
    wait_until(lambda: (answer := stale(cluster)).body == b"v" and lag_ms(answer) > 0)


def lag_ms(answer: Answer) -> int:
    return int(answer.headers["x-kv-lag-ms"])


def test_a_follower_of_an_idle_cluster_is_nearly_up_to_date(cluster: Cluster) -> None:
    wait_applied(cluster)
    wait_until(lambda: 0 < lag_ms(stale(cluster)) <= 2 * PING_MS)
    head = stale(cluster, "HEAD", "&max_stale=3600")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "1")
    assert lag_ms(head) > 0
    assert head.headers["cache-control"] == f"private, max-age={(3_600_000 - lag_ms(head)) // 1000}"
    assert stale(cluster).headers["cache-control"] == "no-store"
    assert lag_ms(stale(cluster, more="&max_stale=0.0005")) == 0, "only the leader is so near to the present"
    absent = cluster.ask("GET", "/v1/kv/absent?consistency=stale")
    assert absent.code == "key_not_found"
    assert lag_ms(absent) >= 0


def test_a_quorum_read_is_answered_when_the_followers_have_confirmed(cluster: Cluster) -> None:
    assert cluster.ask("GET", "/v1/kv/k?consistency=quorum").body == b"v"
    assert cluster.ask("HEAD", "/v1/kv/k?consistency=quorum").headers["content-length"] == "1"
    assert cluster.ask("GET", "/v1/kv/absent?consistency=quorum").code == "key_not_found"


def test_while_the_leader_stands_still_a_follower_answers_and_says_for_how_long(cluster: Cluster) -> None:
    wait_applied(cluster)
    leader, follower = leader_and_follower(cluster)
    send(cluster, leader, signal.SIGSTOP)
    stopped_s = time.monotonic()
    lags = []
    while not lags or lags[-1] > 0:
        since_ms = (time.monotonic() - stopped_s) * 1000
        answer = stale(cluster)
        assert (answer.status, answer.body) == (200, b"v")
        lags.append(lag_ms(answer))
        assert lags[-1] == 0 or lags[-1] >= since_ms, "nobody can know of the time since then, but who leads"
    assert lags[0] > 0
    wait_until(lambda: cluster.ask("GET", "/v1/kv/k").body == b"v")
    assert leader_and_follower(cluster)[0] == follower
    assert cluster.put("k", b"new").status == 204
    send(cluster, leader, signal.SIGCONT)
    wait_until(lambda: cluster.status()["state"] == "healthy")
    assert stale(cluster, more="&max_stale=0.0005").body == b"new"


def test_while_a_follower_stands_still_a_quorum_read_is_refused_until_it_is_let_go(cluster: Cluster) -> None:
    _, follower = leader_and_follower(cluster)
    send(cluster, follower, signal.SIGSTOP)
    answers = [cluster.ask("GET", "/v1/kv/k?consistency=quorum")]
    while answers[-1].status != 200:
        assert answers[-1].code == "no_leader"
        answers.append(cluster.ask("GET", "/v1/kv/k?consistency=quorum"))
    assert answers[-1].body == b"v"
    wait_until(lambda: cluster.status()["state"] == "degraded")
    send(cluster, follower, signal.SIGCONT)
    wait_until(lambda: cluster.status()["state"] == "healthy")
