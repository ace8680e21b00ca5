"""Two gateways over an etcd of three members: either serves all, and no single process is needed by the rest."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgpack
import pytest
from bad_input.keys import VERBATIM
from bad_input.served import Raw
from etcd.members import Etcd, needs_etcd
from probe.processes import Answer, Cluster, Process, ask, wait_until

pytestmark = needs_etcd

Start = Callable[..., Cluster]
MSGPACK = "application/msgpack"
STANDSTILL_S = float(os.environ.get("STANDSTILL_S", "5"))


class Pair:
    """A cluster with a second gateway; `urls` are those of the two."""

    def __init__(self, cluster: Cluster, etcd: Etcd, nodes: int) -> None:
        self.cluster = cluster
        self.second = Process(
            *("gateway", "--listen", "127.0.0.1:0", "--store", etcd.url),
            *("--initial-nodes", str(nodes), "--with-parent", str(os.getpid())),
            KVSTORE_PARTITIONS="8",
        ).wait_ready()
        self.urls = [cluster.url, f"http://{self.second.address}"]
        for number in range(1, nodes + 1):
            self.start_node(f"n{number}")

    def start_node(self, name: str) -> Process:
        """A node that knows both gateways."""
        return self.cluster.start_node(name, "--gateway", ",".join(self.urls))

    def wait_healthy(self, *gateways: int) -> None:
        """Wait until these gateways call everything healthy."""
        for gateway in gateways:
            wait_until(lambda url=self.urls[gateway]: b'"state":"healthy"' in ask(f"{url}/v1/cluster", "GET").body, 60)

    def put(self, gateway: int, key: str) -> Answer:
        """PUT of the key as its own value, through one gateway."""
        try:
            return ask(f"{self.urls[gateway]}/v1/kv/{key}", "PUT", key.encode())
        except OSError as error:
            asked = (self.cluster.gateway, self.second)[gateway]
            raise AssertionError(f"{error!r} of gateway {gateway}, runs: {asked.is_running}, {asked.err}") from error

    def put_patiently(self, gateway: int, key: str) -> None:
        """PUT, and again while it is refused with 503."""
        wait_until(lambda: self.put(gateway, key).status in (201, 204), 30)

    def holds(self, gateway: int, *keys: str) -> bool:
        """Whether every key reads back through that gateway."""
        return all(ask(f"{self.urls[gateway]}/v1/kv/{key}", "GET").body == key.encode() for key in keys)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Etcd]:
    """An etcd of three members."""
    etcd = Etcd(tmp_path / "etcd", 3)
    yield etcd
    etcd.close()


@pytest.fixture
def start_pair(three: Etcd, start_cluster: Start) -> Iterator[Callable[[int], Pair]]:
    started: list[Pair] = []

    def start(nodes: int) -> Pair:
        cluster = start_cluster(nodes, KVSTORE_STORE=three.url, KVSTORE_PARTITIONS="8")
        started.append(Pair(cluster, three, nodes))
        return started[-1]

    yield start
    for pair in started:
        if pair.second.is_running:
            pair.second.end(signal.SIGKILL)


def test_what_is_put_through_one_gateway_is_read_through_the_other(start_pair: Callable[[int], Pair]) -> None:
    pair = start_pair(3)
    pair.wait_healthy(0, 1)
    keys = [f"k{number}" for number in range(40)]
    for number, key in enumerate(keys):
        assert pair.put(number % 2, key).headers["x-kv-copies"] == "2"
    assert pair.holds(0, *keys)
    assert pair.holds(1, *keys)
    entries = [ask(f"{url}/v1/cluster", "GET").body.partition(b'"partitions"')[2] for url in pair.urls]
    assert entries[0] == entries[1]
    assert [pair.second.end(), pair.cluster.gateway.end()] == [0, 0]


def test_a_key_of_any_bytes_is_the_same_key_through_either_gateway(start_pair: Callable[[int], Pair]) -> None:
    pair = start_pair(2)
    pair.wait_healthy(0, 1)
    here, there = (Raw(url) for url in pair.urls)
    for text, key in VERBATIM:
        value = b"value of " + key
        assert here.send("PUT", f"/v1/kv/{text}", value).status in (201, 204)
        assert there.send("GET", f"/v1/kv/{text}").body == value
        assert there.send("GET", f"/v1/keyspaces/default/kv/{text}").body == value
        assert there.send("GET", f"/v1/kv/{quote(key, safe='')}").body == value
        named = {"op": "get", "key": key}
        packed = there.send("POST", "/v1/batch", msgpack.packb({"ops": [named]}), {"Content-Type": MSGPACK})
        assert [result["value"] for result in msgpack.unpackb(packed.body)["results"]] == [value]
        page = there.send("GET", f"/v1/kv?start={quote(key, safe='')}&limit=1", None, {"Accept": MSGPACK})
        assert [(item["key"], item["value"]) for item in msgpack.unpackb(page.body)["items"]] == [(key, value)]
        assert here.send("GET", f"/v1/locate/{text}").body == there.send("GET", f"/v1/locate/{text}").body
    scanned = there.send("GET", "/v1/kv?keys_only=true&limit=1000", None, {"Accept": MSGPACK})
    assert [item["key"] for item in msgpack.unpackb(scanned.body)["items"]] == sorted({key for _, key in VERBATIM})
    for text, _ in VERBATIM:
        assert there.send("DELETE", f"/v1/kv/{text}").status == 204
        assert here.send("GET", f"/v1/kv/{text}").status == 404


def without_leaders(body: bytes) -> Any:
    """A keyspace as it is told, but for who leads its partitions: a gateway hears of that a moment later."""
    told = json.loads(body)
    for partition in told["placement"]:
        del partition["leader"]
    return told


def test_a_keyspace_made_through_one_gateway_is_used_at_once_through_the_other(
    start_pair: Callable[[int], Pair],
) -> None:
    pair = start_pair(2)
    pair.wait_healthy(0, 1)
    for number in range(8):
        maker, user = pair.urls[number % 2], pair.urls[1 - number % 2]
        keyspace = f"/v1/keyspaces/k{number}"
        strategy = b'{"strategy":"hash","partitions":2}'
        made = ask(maker + keyspace, "PUT", strategy, {"Content-Type": "application/json"})
        assert made.status == 201
        assert ask(f"{user}{keyspace}/kv/a", "PUT", b"1").status == 201
        assert ask(f"{maker}{keyspace}/kv/a", "GET").body == b"1"
        told = ask(user + keyspace, "GET")
        assert without_leaders(told.body) == without_leaders(made.body)


def test_a_tenant_of_one_gateway_and_a_node_that_it_admitted_are_moved_and_drained_at_once_through_the_other(
    start_pair: Callable[[int], Pair],
) -> None:
    pair = start_pair(2)
    pair.wait_healthy(0, 1)
    here, there = pair.urls
    as_json = {"Content-Type": "application/json"}
    shops = b'{"strategy":"directory","partitions":2}'
    assert ask(f"{here}/v1/keyspaces/shops", "PUT", shops, as_json).status == 201
    assert ask(f"{here}/v1/keyspaces/shops/kv/acme/a", "PUT", b"1").status == 201
    assert ask(f"{there}/v1/keyspaces/shops/directory/acme", "PUT").status == 202
    pair.cluster.start_node("n3").wait_ready()
    assert ask(f"{there}/v1/cluster/nodes/n3", "PATCH", b'{"draining":true}', as_json).status == 200


def test_a_dead_member_of_etcd_a_dead_gateway_and_a_dead_node_are_survived_one_after_the_other(
    start_pair: Callable[[int], Pair], three: Etcd
) -> None:
    pair = start_pair(3)
    pair.wait_healthy(0, 1)
    keys = [f"k{number}" for number in range(20)]
    three.kill(0)
    for number, key in enumerate(keys):
        assert pair.put(number % 2, key).status == 201
    pair.cluster.gateway.end(signal.SIGKILL)
    pair.cluster.nodes["n1"].end(signal.SIGKILL)
    for key in keys:
        pair.put_patiently(1, key)
    assert pair.holds(1, *keys)
    pair.start_node("n1").wait_ready()
    pair.cluster.start_gateway()
    pair.wait_healthy(0, 1)
    assert pair.holds(0, *keys)


def test_the_other_gateway_plans_when_the_one_that_did_was_killed(start_pair: Callable[[int], Pair]) -> None:
    pair = start_pair(1)
    wait_until(lambda: pair.put(1, "k").status == 201)
    pair.cluster.gateway.end(signal.SIGKILL)
    pair.start_node("n2")
    pair.wait_healthy(1)
    assert pair.put(1, "k").headers["x-kv-copies"] == "2"


def test_reads_and_writes_go_on_while_etcd_stands_still(start_pair: Callable[[int], Pair], three: Etcd) -> None:
    pair = start_pair(3)
    pair.wait_healthy(0, 1)
    three.pause()
    written = 0
    end_s = time.monotonic() + STANDSTILL_S
    while time.monotonic() < end_s:
        key = f"k{written}"
        answer = pair.put(written % 2, key)
        assert (answer.status, answer.headers["x-kv-copies"]) == (201, "2")
        assert pair.holds(1 - written % 2, key)
        written += 1
        time.sleep(0.01)
    three.resume()
    assert written > 10
    pair.cluster.nodes["n2"].end(signal.SIGKILL)
    for number in range(20):
        pair.put_patiently(number % 2, f"k{number}")
    pair.start_node("n2").wait_ready()
    pair.wait_healthy(0, 1)


REQUEST_S = 5.0
CHANGES = [
    ("PUT", "/v1/keyspaces/new", b'{"strategy":"hash","partitions":2}'),
    ("DELETE", "/v1/keyspaces/old?confirm=old", None),
    ("PATCH", "/v1/cluster/nodes/n1", b'{"draining":true}'),
    ("POST", "/v1/cluster/rebalance/pause", None),
]


def test_changes_of_the_cluster_are_answered_in_time_without_etcd_and_not_made_when_nobody_waits_any_more(
    start_pair: Callable[[int], Pair], three: Etcd
) -> None:
    pair = start_pair(2)
    pair.wait_healthy(0, 1)
    url = pair.urls[0]
    assert ask(f"{url}/v1/keyspaces/old", "PUT", b'{"strategy":"hash","partitions":2}').status == 201

    def answered(method: str, path: str, body: bytes | None) -> tuple[int, float]:
        start_s = time.monotonic()
        answer = ask(url + path, method, body, {"Content-Type": "application/json"} if body else {})
        return answer.status, time.monotonic() - start_s

    def is_store_up() -> bool:
        return b"\nkvstore_gateway_map_store_up 1.0\n" in ask(f"{url}/metrics", "GET").body

    assert is_store_up()
    three.pause()
    first = answered(*CHANGES[0])
    assert first[0] in (503, 504)
    assert first[1] < REQUEST_S + 1
    for member in range(3):
        three.kill(member)
    wait_until(lambda: answered(*CHANGES[1])[0] == 503)
    for change in CHANGES:
        status, took_s = answered(*change)
        assert (status, took_s < 1) == (503, True), change
    assert b"\nkvstore_gateway_map_store_up 0.0\n" in ask(f"{url}/metrics", "GET").body
    for member in range(3):
        three.start(member)
    three.wait_healthy()
    wait_until(lambda: answered("PUT", "/v1/keyspaces/other", b'{"strategy":"hash","partitions":2}')[0] in (200, 201))
    assert is_store_up()
    names = ask(f"{url}/v1/keyspaces", "GET").body
    assert b'"old"' in names
    assert b'"new"' not in names or first[0] == 504
    assert b'"state":"draining"' not in ask(f"{url}/v1/cluster", "GET").body
    assert b'"state":"paused"' not in ask(f"{url}/v1/cluster/rebalance", "GET").body
