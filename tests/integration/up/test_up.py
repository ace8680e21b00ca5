"""`kvstore up` from start to end: as a newcomer uses it, and as it goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from probe.processes import Cluster, children_of, wait_until
from probe.up import Up, is_alive, kvstore

from kvstore.client import SyncClient

Start = Callable[..., Up]


def put_all(url: str, keys: range) -> None:
    with SyncClient(url) as client:
        for number in keys:
            client.put(f"k{number}", str(number).encode())


def get_all(url: str, keys: range) -> list[int]:
    with SyncClient(url, timeout_s=30) as client:
        return [int(client.get(f"k{number}").data) for number in keys]


def test_a_cluster_answers_and_ends_with_nothing_left(start_up: Start) -> None:
    up = start_up().wait_ready()
    children = up.members()
    assert set(children) == {"gateway", "n1", "n2", "n3"}
    wait_until(lambda: any(line.strip().startswith("curl") for line in up.out))
    environment = {"KVSTORE_GATEWAY": up.url}
    assert kvstore("wait", "--nodes", "3", "--healthy", "--timeout", "30", **environment).returncode == 0
    assert kvstore("put", "a//../b", "hello", **environment).returncode == 0
    assert kvstore("get", "a//../b", **environment).stdout == b"hello"
    assert kvstore("delete", "a//../b", **environment).returncode == 0
    assert kvstore("get", "a//../b", **environment).returncode == 1
    status = kvstore("status", **environment).stdout.decode()
    assert "healthy" in status
    assert all(name in status for name in ("n1", "n2", "n3"))
    with SyncClient(up.url) as client:
        assert client.put("two", b"copies").copies == 2
    assert up.end(signal.SIGTERM) == 0
    assert not any(is_alive(pid) for pid in children.values())


def test_ctrl_c_ends_it_too_and_a_new_start_has_the_data(start_up: Start) -> None:
    up = start_up().wait_ready()
    put_all(up.url, range(20))
    children = up.members()
    assert up.end(signal.SIGINT) == 0
    assert not any(is_alive(pid) for pid in children.values())
    again = start_up().wait_ready()
    assert get_all(again.url, range(20)) == list(range(20))


def test_a_kill_of_everything_loses_nothing(start_up: Start) -> None:
    up = start_up().wait_ready()
    put_all(up.url, range(50))
    up.kill_all()
    assert get_all(start_up().wait_ready().url, range(50)) == list(range(50))


def test_no_process_outlives_an_up_that_is_killed(start_up: Start) -> None:
    up = start_up("--workers", "2").wait_ready()
    members = up.members()
    workers = children_of(members["gateway"])
    assert len(workers) == 2
    up.end(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in (*members.values(), *workers)))


@pytest.mark.parametrize(("victim", "workers"), [("n2", "1"), ("gateway", "1"), ("gateway", "2")])
def test_a_process_that_is_killed_is_started_again(start_up: Start, victim: str, workers: str) -> None:
    up = start_up("--workers", workers).wait_ready()
    put_all(up.url, range(50))
    os.kill(up.members()[victim], signal.SIGKILL)
    wait_until(lambda: any(line.startswith(f"kvstore: {victim} was ended by SIGKILL") for line in up.complaints))
    wait_until(lambda: victim in up.members())
    assert get_all(up.url, range(50)) == list(range(50))


def test_a_second_up_on_the_same_data_says_so_in_one_line(start_up: Start) -> None:
    up = start_up().wait_ready()
    second = start_up()
    assert second.wait() == 1
    assert second.complaints == [f"kvstore: the data directory {up.data} is in use by another 'kvstore up'"]
    assert get_all(up.url, range(0)) == []


def test_a_node_or_gateway_beside_an_up_on_its_data_says_so_in_one_line(start_up: Start) -> None:
    up = start_up().wait_ready()
    node = kvstore("node", "--id", "n1", "--data", str(up.data / "n1"), "--gateway", up.url)
    gateway = kvstore("gateway", "--listen", "127.0.0.1:0", "--data", str(up.data / "gateway"))
    for process in (node, gateway):
        assert process.returncode == 1
        assert process.stderr.decode().count("\n") == 1
        assert process.stderr.startswith(b"kvstore: ")


def test_a_port_in_use_is_one_line_and_nothing_is_left(start_up: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        up = start_up("--listen", address)
        assert up.wait() == 1
    assert len(up.err) == 1
    assert address in up.complaints[0]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("--listen", "0.0.0.0:0"), 1, "--insecure-bind"),
        (("--listen", "nonsense"), 1, "nonsense"),
        (("--nodes", "none"), 2, "--nodes"),
        (("--nonsense",), 2, "--nonsense"),
    ],
)
def test_a_bad_option_is_one_line(start_up: Start, arguments: tuple[str, ...], code: int, named: str) -> None:
    up = start_up(*arguments)
    assert up.wait() == code
    assert len(up.err) == 1
    assert named in up.complaints[0]


def test_fewer_nodes_than_the_data_has_is_refused(start_up: Start, tmp_path: Path) -> None:
    for name in ("n1", "n2", "n3"):
        (tmp_path / "data" / name).mkdir(parents=True)
    up = start_up("--nodes", "2")
    assert up.wait() == 1
    assert up.complaints == [
        f"kvstore: {up.data} holds the data of 3 nodes, --nodes is 2; to have fewer, remove nodes "
        "('kvstore nodes remove ID') and then their directories"
    ]


def test_the_nodes_that_are_left_are_started_whatever_their_numbers(start_up: Start) -> None:
    up = start_up().wait_ready()
    put_all(up.url, range(20))
    assert kvstore("nodes", "remove", "n2", "--timeout", "60", KVSTORE_GATEWAY=up.url).returncode == 0
    assert up.end(signal.SIGTERM) == 0
    shutil.rmtree(up.data / "n2")
    again = start_up("--nodes", "2").wait_ready()
    assert set(again.members()) == {"gateway", "n1", "n3"}
    assert get_all(again.url, range(20)) == list(range(20))


def test_data_of_a_node_that_was_removed_while_it_was_down_keeps_nobody_from_starting(start_up: Start) -> None:
    up = start_up().wait_ready()
    put_all(up.url, range(20))
    assert up.end(signal.SIGTERM) == 0
    cluster = Cluster(up.data, 3)
    try:
        for name in ("n1", "n2"):
            cluster.start_node(name)
        cluster.wait_ready()
        removal = kvstore("nodes", "remove", "n3", "--force", "--timeout", "60", KVSTORE_GATEWAY=cluster.url)
        assert removal.returncode == 0, removal.stderr
    finally:
        cluster.close()
    again = start_up().wait_ready()
    assert set(again.members()) == {"gateway", "n1", "n2"}
    assert "kvstore: node n3 was removed from its cluster and ends" in again.complaints
    assert get_all(again.url, range(20)) == list(range(20))


def test_a_data_directory_that_cannot_be_used_is_one_line(start_up: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    up = start_up(data=tmp_path / "file" / "data")
    assert up.wait() == 1
    assert len(up.err) == 1
