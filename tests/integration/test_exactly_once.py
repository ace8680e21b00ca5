"""Real processes: a request that is sent again under its token is applied once, through restarts and failovers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from probe.processes import Answer, Cluster, ask, wait_until

Start = Callable[..., Cluster]


@pytest.fixture
def cluster(start_cluster: Start) -> Cluster:
    started = start_cluster(3, KVSTORE_PARTITIONS="4")
    for name in ("n1", "n2", "n3"):
        started.start_node(name)
    wait_until(lambda: b'"state":"healthy"' in ask(f"{started.url}/v1/cluster", "GET").body, 60)
    return started


def send(cluster: Cluster, method: str, key: str, token: str, body: bytes | None = None, **headers: str) -> Answer:
    return ask(f"{cluster.url}/v1/kv/{key}", method, body, {"Idempotency-Key": token, **headers})


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("etag")


def test_outcomes_survive_a_restart_of_everything_and_the_death_of_a_leader(cluster: Cluster) -> None:
    keys = [f"k{number}" for number in range(12)]
    absent = {"If-None-Match": "*"}
    first = [outcome(send(cluster, "PUT", key, "once", b"1", **absent)) for key in keys]
    refused = [outcome(send(cluster, "PUT", key, "refused", b"2", **absent)) for key in keys]
    nothing = [outcome(send(cluster, "DELETE", f"no-{key}", "gone")) for key in keys]
    assert {status for status, _ in first + refused + nothing} == {201, 412, 204}
    for key in keys:
        assert ask(f"{cluster.url}/v1/kv/{key}", "DELETE").status == 204
        assert ask(f"{cluster.url}/v1/kv/no-{key}", "PUT", b"kept").status == 201

    def assert_nothing_is_applied_again() -> None:
        for number, key in enumerate(keys):
            assert outcome(send(cluster, "PUT", key, "once", b"1", **absent)) == first[number]
            assert outcome(send(cluster, "PUT", key, "refused", b"2", **absent)) == refused[number]
            assert outcome(send(cluster, "DELETE", f"no-{key}", "gone")) == nothing[number]
            assert send(cluster, "PUT", key, "once", b"another", **absent).status == 422
            assert ask(f"{cluster.url}/v1/kv/{key}", "GET").status == 404
            assert ask(f"{cluster.url}/v1/kv/no-{key}", "GET").body == b"kept"

    assert_nothing_is_applied_again()
    for process in (*cluster.nodes.values(), cluster.gateway):
        process.end(signal.SIGKILL)
    cluster.start_gateway()
    for name in ("n1", "n2", "n3"):
        cluster.start_node(name)
    wait_until(lambda: ask(f"{cluster.url}/readyz", "GET").status == 200, 60)
    assert_nothing_is_applied_again()
    cluster.nodes["n1"].end(signal.SIGKILL)
    wait_until(lambda: ask(f"{cluster.url}/readyz", "GET").status == 200, 60)
    assert_nothing_is_applied_again()


def test_a_hundred_requests_at_once_with_one_token_are_applied_once(cluster: Cluster) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: outcome(send(cluster, "PUT", "k", "once", b"1")), range(100)))
    assert len(set(answers)) == 1
    assert answers[0][0] == 201


def test_a_batch_is_applied_once_and_another_one_under_its_token_is_refused(cluster: Cluster) -> None:
    def batch(value: str) -> list[dict[str, object]]:
        ops = [{"op": "put", "key": "a", "value": value}, {"op": "delete", "key": "b"}, {"op": "get", "key": "a"}]
        headers = {"Idempotency-Key": "once", "Content-Type": "application/json"}
        answer = ask(f"{cluster.url}/v1/batch", "POST", json.dumps({"ops": ops}).encode(), headers)
        results: list[dict[str, object]] = json.loads(answer.body)["results"]
        return results

    first = batch("1")
    assert batch("1") == first
    assert [result["status"] for result in batch("2")] == [422, 204, 200]
