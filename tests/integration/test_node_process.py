"""A node as a process: its start, what its port answers, its end, and what a mistake of the operator's looks like."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe.processes import Cluster, Process, ask, wait_until

from kvstore.rpc.client import parse_address
from kvstore.rpc.framing import PREAMBLE

Start = Callable[..., Cluster]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that every test of this file leaves as it found them."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), 2, KVSTORE_PARTITIONS="4")
    try:
        for name in ("n1", "n2"):
            cluster.start_node(name)
        yield cluster.wait_ready()
    finally:
        cluster.close()


def node(*arguments: str, **environment: str) -> Process:
    return Process("node", "--with-parent", str(os.getpid()), *arguments, **environment)


def assert_one_line(process: Process, code: int, *named: str) -> None:
    """The process ended with this code and told why, naming these, in one line that is no traceback."""
    assert process.wait() == code
    assert process.out == []
    assert len(process.complaints) == 1, process.err
    assert process.complaints[0].startswith("kvstore: ")
    for text in named:
        assert text in process.complaints[0]


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "named"),
    [
        (("--weight", "-1"), {}, 2, "--weight"),
        (("--id", "a b"), {}, 2, "--id"),
        (("--listen", "nonsense"), {}, 1, "listen"),
        (("--listen", "0.0.0.0:0"), {}, 1, "--insecure-bind"),
        (("--gateway", "nonsense"), {}, 1, "nonsense"),
        ((), {"KVSTORE_MAP_SIZE_BYTES": "10"}, 2, "KVSTORE_MAP_SIZE_BYTES"),
    ],
)
def test_a_bad_option_is_one_line_that_names_it(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], code: int, named: str
) -> None:
    valid = ("--id", "n1", "--data", str(tmp_path / "n1"), "--gateway", "http://127.0.0.1:9")
    assert_one_line(node(*valid, *arguments, **environment), code, named)


def test_a_port_in_use_is_named(cluster: Cluster, tmp_path: Path) -> None:
    address = cluster.nodes["n1"].address
    arguments = ("--id", "n9", "--data", str(tmp_path / "n9"), "--gateway", cluster.url, "--listen", address)
    assert_one_line(node(*arguments), 1, address)


def test_a_second_process_on_a_data_directory_is_refused(cluster: Cluster) -> None:
    data = str(cluster.data / "n1")
    assert_one_line(node("--id", "n1", "--data", data, "--gateway", cluster.url), 1, data, "in use")
    assert cluster.put("still", b"here").status in (201, 204)


def test_a_second_node_with_the_id_of_a_running_one_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    twin = node("--id", "n1", "--data", str(tmp_path / "twin"), "--gateway", cluster.url)
    assert_one_line(twin, 1, "n1", cluster.nodes["n1"].address)


def test_an_address_that_leads_to_another_node_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    arguments = ("--id", "n9", "--data", str(tmp_path / "n9"), "--gateway", cluster.url)
    assert_one_line(node(*arguments, "--advertise", cluster.nodes["n1"].address), 1, "n9")


@pytest.mark.parametrize("content", [b"no database" * 1000, b"\0" * 8192])
def test_a_file_that_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    assert_one_line(node("--id", "n1", "--data", str(tmp_path), "--gateway", "http://127.0.0.1:9"), 1, str(tmp_path))


def test_a_data_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    data = str(tmp_path / "file" / "data")
    assert_one_line(node("--id", "n1", "--data", data, "--gateway", "http://127.0.0.1:9"), 1, data)


def test_a_data_directory_belongs_to_one_node_and_to_one_cluster(start_cluster: Start, tmp_path: Path) -> None:
    first, second = start_cluster(1), start_cluster(1)
    original = first.start_node("n1").wait_ready()
    shutil.copytree(first.data / "n1", tmp_path / "image")
    assert original.end() == 0

    data = str(first.data / "n1")
    assert_one_line(node("--id", "n2", "--data", data, "--gateway", first.url), 1, "n1", "n2")
    assert_one_line(node("--id", "n1", "--data", data, "--gateway", second.url), 1, "n1", "belongs to cluster")
    told = [line for line in second.gateway.err if "node_refused" in line]
    assert len(told) == 1
    assert re.search(r"node n1 belongs to cluster [0-9a-f]{16}, not to cluster [0-9a-f]{16}", told[0])
    assert first.start_node("n1").wait_ready().end() == 0
    image = node("--id", "n1", "--data", str(tmp_path / "image"), "--gateway", first.url)
    assert_one_line(image, 1, "n1", "older")


# ---- the port -------------------------------------------------------------------------------------------------------


def test_the_port_of_a_node_answers_probes_and_nothing_else_over_http(cluster: Cluster) -> None:
    url = f"http://{cluster.nodes['n1'].address}"
    assert ask(f"{url}/healthz", "GET").status == 200
    assert ask(f"{url}/readyz", "GET").status == 200
    metrics = ask(f"{url}/metrics", "GET").body.decode()
    for series in ("kvstore_commit_seconds_count", "kvstore_store_used_bytes", "kvstore_log_lag_records"):
        assert f"\n{series} " in metrics
    assert ask(f"{url}/v1/kv/a", "GET").status == 404
    assert ask(f"{url}/healthz", "POST", b"x").status == 405


def test_a_node_that_is_not_admitted_says_so_and_stops_when_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    lonely = node("--id", "n1", "--data", str(tmp_path), "--listen", address, "--gateway", "http://127.0.0.1:9")
    try:
        answer = None
        while answer is None:
            try:
                answer = ask(f"http://{address}/readyz", "GET")
            except OSError:
                assert lonely.is_running, lonely.err
        assert answer.status == 503
        assert ask(f"http://{address}/healthz", "GET").status == 200
        assert lonely.end(signal.SIGTERM) == 0
        assert lonely.out == []
    finally:
        if lonely.is_running:
            lonely.end(signal.SIGKILL)


def test_bytes_that_are_no_rpc_harm_nobody(cluster: Cluster) -> None:
    address = parse_address(cluster.nodes["n1"].address)
    rng = random.Random(1)
    hello = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    openings = [
        b"",
        b"K",
        PREAMBLE[:3] + b"2",
        hello.read(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
        PREAMBLE + b"\xff\xff\xff\xff",
        PREAMBLE + b"\x00\x00\x00\x00",
        PREAMBLE + b"\x00\x00\x00\x04\xdf\xff\xff\xff",
        *(rng.randbytes(rng.randrange(1, 200)) for _ in range(50)),
        *(PREAMBLE + rng.randbytes(rng.randrange(1, 200)) for _ in range(50)),
    ]
    for opening in openings:
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(opening)
            connection.shutdown(socket.SHUT_WR)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    assert cluster.put("unharmed", b"x").status in (201, 204)
    assert cluster.nodes["n1"].complaints == []


# ---- ends and returns -----------------------------------------------------------------------------------------------


def spread(cluster: Cluster, leader: str) -> str:
    """A key whose partition `leader` leads, empty where it leads none."""
    for number in range(1000):
        located = json.loads(cluster.ask("GET", f"/v1/locate/s{number}").body)
        if located["leader"] == leader:
            return f"s{number}"
    return ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_node_led_that_is_gone_is_taken_over_and_both_copies_count_when_it_is_back(
    cluster: Cluster, number: signal.Signals
) -> None:
    led_here, led_there = spread(cluster, "n1"), spread(cluster, "n2")
    for key in (led_here, led_there):
        cluster.put(key, b"before")

    cluster.nodes["n2"].end(number)
    assert cluster.ask("GET", f"/v1/kv/{led_here}").body == b"before"
    assert cluster.put(led_here, b"alone").headers["x-kv-copies"] == "1"
    wait_until(lambda: cluster.ask("GET", f"/v1/kv/{led_there}").body == b"before")
    assert cluster.put(led_there, b"alone").headers["x-kv-copies"] == "1"
    status = cluster.status()
    assert status["state"] == "degraded"
    assert {one["id"]: one["state"] for one in status["nodes"]} == {"n1": "up", "n2": "down"}

    cluster.start_node("n2").wait_ready()
    wait_until(lambda: cluster.status()["state"] == "healthy")
    for key in (led_here, led_there):
        assert cluster.ask("GET", f"/v1/kv/{key}").body == b"alone"
        assert cluster.put(key, b"after").headers["x-kv-copies"] == "2"
    wait_until(lambda: spread(cluster, "n2") != "")


def test_a_gateway_that_is_away_stops_no_node(cluster: Cluster) -> None:
    assert cluster.put("k", b"before").status == 201
    cluster.gateway.end(signal.SIGKILL)
    cluster.start_gateway()
    cluster.wait_ready()
    assert cluster.ask("GET", "/v1/kv/k").body == b"before"
    assert cluster.put("k", b"after").status == 204
    assert all(one.is_running for one in cluster.nodes.values())


def test_a_full_store_refuses_puts_and_takes_them_again_after_deletes(start_cluster: Start) -> None:
    cluster = start_cluster(2, KVSTORE_PARTITIONS="2", KVSTORE_MAP_SIZE_BYTES=str(8 * 1024 * 1024))
    for name in ("n1", "n2"):
        cluster.start_node(name)
    cluster.wait_ready()
    value = bytes(100_000)
    stored = []
    refused = 0
    # What the log need no longer keep makes room for a while.
    while refused < 3 and len(stored) < 200:
        answer = cluster.put(f"k{len(stored)}", value)
        if answer.status == 201:
            refused = 0
            stored.append(f"k{len(stored)}")
        else:
            assert (answer.status, answer.code) == (507, "storage_full")
            refused += 1
            time.sleep(0.5)
    assert 10 < len(stored) < 200, "the store never was full"
    for key in stored:
        assert cluster.ask("GET", f"/v1/kv/{key}").body == value
    assert cluster.ask("PUT", "/v1/kv/small", b"x").code == "storage_full"
    for key in stored:
        assert cluster.ask("DELETE", f"/v1/kv/{key}").status == 204
    wait_until(lambda: cluster.put("again", value).status == 201)
    assert cluster.ask("GET", "/v1/kv/again").body == value
    assert all(one.is_running for one in cluster.nodes.values())
