"""A gateway of two workers: any of them serves all, none is missed for long, and none is left."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe.processes import Answer, Cluster, Process, ask, is_alive, wait_until
from prometheus_client.parser import text_string_to_metric_families

Start = Callable[..., Cluster]
JSON = {"Content-Type": "application/json"}
TRIES = 200


def started(start_cluster: Start, nodes: int = 2) -> Cluster:
    """A cluster of these nodes and a gateway of two workers."""
    cluster = start_cluster(nodes, KVSTORE_PARTITIONS="4", KVSTORE_WORKERS="2")
    for number in range(1, nodes + 1):
        cluster.start_node(f"n{number}")
    return cluster.wait_ready()


def worker_of(answer: Answer) -> str:
    """Which process answered: each begins its request ids otherwise."""
    return answer.headers["x-request-id"].partition("-")[0]


def by_each(send: Callable[[], Answer]) -> list[Answer]:
    """The same request, each on a connection of its own, until two workers answered it; one answer of each."""
    answers: dict[str, Answer] = {}
    for _ in range(TRIES):
        answer = send()
        answers[worker_of(answer)] = answer
        if len(answers) == 2:
            return list(answers.values())
    raise AssertionError(f"one worker answered {TRIES} times")


def samples(cluster: Cluster) -> dict[str, list[tuple[dict[str, str], float]]]:
    """What the gateway counts, by name: labels and value."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(cluster.ask("GET", "/metrics").body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def requests_of(cluster: Cluster, operation: str) -> int:
    """How many the gateway counts."""
    counts = samples(cluster).get("kvstore_gateway_request_seconds_count", [])
    return int(sum(value for labels, value in counts if labels["operation"] == operation))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files whose name is short enough for sockets."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_every_worker_serves_requests_of_every_kind(start_cluster: Start) -> None:
    cluster = started(start_cluster)

    def ask_for(method: str, path: str, document: object = None) -> Callable[[], Answer]:
        body = None if document is None else json.dumps(document).encode()
        return lambda: ask(f"{cluster.url}{path}", method, body, JSON if body else None)

    puts = by_each(lambda: cluster.ask("PUT", "/v1/kv/a", b"1"))
    assert {answer.status for answer in puts} <= {201, 204}
    ops = [{"op": "put", "key": "b", "value": "2"}, {"op": "get", "key": "a"}]
    batches = by_each(ask_for("POST", "/v1/batch", {"ops": ops}))
    txns = by_each(ask_for("POST", "/v1/txn", {"then": [{"op": "incr", "key": "n"}, {"op": "get", "key": "a"}]}))
    for answer in (
        *by_each(ask_for("GET", "/v1/kv/a")),
        *by_each(ask_for("GET", "/v1/kv?keys_only=true")),
        *batches,
        *txns,
        *by_each(ask_for("POST", "/v1/batch?consistent=true", {"ops": ops[1:]})),
        *by_each(ask_for("POST", "/v1/ids?count=3")),
        *by_each(ask_for("GET", "/v1/cluster")),
        *by_each(ask_for("GET", "/v1/cluster/rebalance")),
        *by_each(ask_for("GET", "/v1/cluster/transactions")),
        *by_each(ask_for("POST", "/v1/cluster/plan", {"remove": []})),
        *by_each(ask_for("GET", "/readyz")),
    ):
        assert answer.status == 200, answer.body
    answers = [ask_for("POST", "/v1/ids?count=50")() for _ in range(20)]
    assert len(set(map(worker_of, answers))) == 2
    ids = [int(one) for answer in answers for one in json.loads(answer.body)["ids"]]
    assert ids == sorted(set(ids))


def test_a_node_is_admitted_and_refused_by_any_worker(start_cluster: Start) -> None:
    cluster = started(start_cluster)
    members = {node["id"]: node["address"] for node in cluster.status()["nodes"]}
    assert set(members) == {"n1", "n2"}

    def admit(address: str) -> Callable[[], Answer]:
        body = json.dumps({"id": "n1", "address": address}).encode()
        return lambda: ask(f"{cluster.url}/v1/cluster/nodes", "POST", body, JSON)

    assert [answer.status for answer in by_each(admit(members["n1"]))] == [200, 200]
    refused = by_each(admit("nonsense"))
    assert [(answer.status, answer.code) for answer in refused] == [(400, "bad_parameter")] * 2
    assert refused[0].body == refused[1].body


def test_a_worker_that_was_killed_is_back_and_nothing_that_was_acknowledged_is_lost(start_cluster: Start) -> None:
    cluster = started(start_cluster)
    token = {"Idempotency-Key": "once"}
    first = ask(f"{cluster.url}/v1/kv/once", "PUT", b"1", token)
    with Writers(cluster.url) as writers:
        wait_until(lambda: len(writers.done) > 100)
        for _ in range(2):
            # The one that runs longest is the first.
            victims = cluster.gateway.children()
            counted = requests_of(cluster, "put")
            os.kill(victims[0], signal.SIGKILL)
            done = len(writers.done)
            wait_until(lambda victims=victims: len(set(cluster.gateway.children()) - set(victims)) == 1)
            by_each(lambda: ask(f"{cluster.url}/healthz", "GET"))
            wait_until(lambda done=done: len(writers.done) > done + 100)
            assert requests_of(cluster, "put") > counted
    for key in writers.done:
        assert cluster.ask("GET", f"/v1/kv/{key}").body == key.encode()
    for answer in by_each(lambda: ask(f"{cluster.url}/v1/kv/once", "PUT", b"1", token)):
        assert (answer.status, answer.headers["etag"]) == (first.status, first.headers["etag"])
    told = [json.loads(line)["reason"].partition(";")[0] for line in cluster.gateway.err if "worker_ended" in line]
    assert told == [f"worker {number} was ended by SIGKILL" for number in (1, 2)]
    assert not cluster.gateway.complaints


def test_a_node_that_dies_is_taken_over_through_every_worker(start_cluster: Start) -> None:
    cluster = started(start_cluster, nodes=3)
    for number in range(20):
        assert cluster.put(f"k{number}", b"1").status == 201
    cluster.nodes["n1"].end(signal.SIGKILL)
    for number in range(20):
        key = f"k{number}"
        assert cluster.put(key, b"2").status == 204
        assert [answer.body for answer in by_each(lambda key=key: cluster.ask("GET", f"/v1/kv/{key}"))] == [b"2"] * 2


def test_no_worker_outlives_a_gateway_that_was_killed_and_its_address_is_free(start_cluster: Start) -> None:
    cluster = started(start_cluster)
    assert cluster.put("k", b"1").status == 201
    workers = cluster.gateway.children()
    assert len(workers) == 2
    os.kill(cluster.gateway.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)))
    cluster.gateway.wait()
    cluster.start_gateway()
    wait_until(lambda: cluster.ask("GET", "/readyz").status == 200)
    assert [answer.body for answer in by_each(lambda: cluster.ask("GET", "/v1/kv/k"))] == [b"1", b"1"]


def test_a_gateway_that_is_stopped_ends_what_it_serves_and_leaves_nothing(place: Path) -> None:
    data, temporary = place / "data", place / "tmp"
    temporary.mkdir()
    gateway = Process(
        *("gateway", "--listen", "127.0.0.1:0", "--data", str(data), "--with-parent", str(os.getpid())),
        *("--workers", "2"),
        TMPDIR=str(temporary),
    ).wait_ready()
    assert [entry.stat().st_mode & 0o777 for entry in temporary.iterdir()] == [0o700]
    # Control is asked for it, which has to be there for as long as a worker serves.
    plan = b'{"add":[{"id":"n1"}]}'
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(contextlib.closing(connect(gateway.address))) for _ in range(20)]
        for one in connections:
            one.putrequest("POST", "/v1/cluster/plan")
            one.putheader("Content-Type", "application/json")
            one.putheader("Content-Length", str(len(plan)))
            one.endheaders(plan[:5])
        wait_until(lambda: open_connections(gateway.address) >= 20)
        workers = gateway.children()
        os.kill(gateway.pid, signal.SIGTERM)
        wait_until(lambda: is_refused(gateway.address))
        assert all(map(is_alive, workers))
        answers = set()
        for one in connections:
            one.send(plan[5:])
            answer = one.getresponse()
            answers.add((answer.status, str(answer.getheader("x-request-id")).partition("-")[0]))
            answer.read()
        assert {status for status, _ in answers} == {200}
        assert len(answers) == 2
        assert gateway.wait() == 0
    assert not any(map(is_alive, workers))
    assert not list(temporary.iterdir())
    assert gateway.out == [f"ready http://{gateway.address}"]
    assert gateway.err == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_gateway_at_the_address_is_refused_in_one_line(start_cluster: Start, workers: str) -> None:
    cluster = started(start_cluster)
    second = Process(
        *("gateway", "--listen", cluster.gateway.address, "--data", str(cluster.data / "other")),
        KVSTORE_WORKERS=workers,
    )
    assert second.wait() == 1
    assert len(second.err) == 1
    assert second.err[0].startswith(f"kvstore: cannot listen on {cluster.gateway.address}: ")
    assert cluster.put("k", b"1").status == 201


def test_a_mistake_that_keeps_workers_from_being_reached_is_one_line(place: Path) -> None:
    deep = place / ("d" * 100)
    deep.mkdir()
    gateway = Process(
        *("gateway", "--listen", "127.0.0.1:0", "--data", str(place / "data"), "--workers", "2"), TMPDIR=str(deep)
    )
    assert gateway.wait() == 1
    assert len(gateway.err) == 1
    assert gateway.err[0].startswith(f"kvstore: cannot listen at {deep}")


def test_a_worker_without_control_is_one_line(place: Path) -> None:
    settings = json.dumps({"data": str(place)})
    with tempfile.TemporaryFile() as file:
        worker = Process(
            *("gateway-worker", "--name", "1", "--listening", str(file.fileno()), "--control", str(place / "none")),
            *("--settings", settings),
        )
        assert worker.wait() == 1
    assert len(worker.err) == 1


def test_what_is_counted_is_the_sum_over_workers_whoever_is_asked(start_cluster: Start) -> None:
    cluster = started(start_cluster)
    seen = Counter(worker_of(cluster.put(f"k{number}", b"x")) for number in range(40))
    assert len(seen) == 2
    wait_until(lambda: requests_of(cluster, "put") == 40)
    # It was told to who was asked; within a second it is to everybody.
    counted = by_each(lambda: cluster.ask("GET", "/metrics"))
    assert all(b'_count{operation="put",outcome="ok"} 40.0' in answer.body for answer in counted)
    found = samples(cluster)
    assert sorted(labels["worker"] for labels, _ in found["process_resident_memory_bytes"]) == ["1", "2", "control"]
    assert {labels["node"]: value for labels, value in found["kvstore_gateway_breaker_open"]} == {"n1": 0.0, "n2": 0.0}
    assert found["kvstore_gateway_connections"][0][1] >= 1
    assert len(found["kvstore_gateway_loop_lag_seconds"]) == 1
    assert found["kvstore_gateway_map_store_up"] == [({}, 1.0)]


class Writers:
    """Clients that write keys of their own until they are told to stop, each request on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.done: list[str] = []
        self._url = url
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]

    def __enter__(self) -> Writers:
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
            key = f"w{number}-{turn}"
            # A connection of the worker that is killed breaks.
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(f"{self._url}/v1/kv/{key}", "PUT", key.encode()).status == 201:
                    self.done.append(key)


def connect(address: str) -> http.client.HTTPConnection:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.connect()
    return connection


def open_connections(address: str) -> float:
    text = ask(f"http://{address}/metrics", "GET").body.decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("kvstore_gateway_connections "))


def is_refused(address: str) -> bool:
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False
