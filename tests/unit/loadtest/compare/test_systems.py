"""Requests, command lines and configurations of the systems compared."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from compare.etcd import Etcd, commands, is_leader
from compare.own import Own
from compare.system import Program, System, missing
from compare.webdis import Webdis, redis_config, webdis_config
from compare.wire import request

from cluster.gateway.fast_requests import recognise


def test_a_request_has_the_length_of_its_body_and_no_field_too_many() -> None:
    assert request("GET", "/a") == b"GET /a HTTP/1.1\r\nHost: bench\r\n\r\n"
    assert request("PUT", "/a", b"xyz") == b"PUT /a HTTP/1.1\r\nHost: bench\r\nContent-Length: 3\r\n\r\nxyz"


def test_this_cluster_is_asked_as_plainly_as_the_others() -> None:
    assert recognise(Own().get("b100-000001")) is not None
    assert recognise(Own().put("b100-000001", b"v" * 100)) is not None


def test_etcd_is_asked_in_base64() -> None:
    etcd = Etcd(ports=[1] * 6)
    body = etcd.put("k", b"\x00v").partition(b"\r\n\r\n")[2]
    assert json.loads(body) == {"key": b64encode(b"k").decode(), "value": b64encode(b"\x00v").decode()}
    answer = {"kvs": [{"key": "aw==", "value": b64encode(b"\x00v").decode()}]}
    assert etcd.value_of(json.dumps(answer).encode()) == b"\x00v"


def test_members_of_etcd_know_each_other_and_keep_their_places() -> None:
    lines = commands(Path("/data"), [1, 2, 3, 11, 12, 13])
    peers = "m0=http://127.0.0.1:11,m1=http://127.0.0.1:12,m2=http://127.0.0.1:13"
    assert all(line[line.index("--initial-cluster") + 1] == peers for line in lines)
    assert [line[line.index("--listen-client-urls") + 1][-1] for line in lines] == ["1", "2", "3"]
    assert [line[line.index("--data-dir") + 1] for line in lines] == ["/data/m0", "/data/m1", "/data/m2"]
    assert lines == commands(Path("/data"), [1, 2, 3, 11, 12, 13])


@pytest.mark.parametrize(
    ("status", "leads"),
    [
        ({"header": {"member_id": "7"}, "leader": "7"}, True),
        ({"header": {"member_id": "7"}, "leader": "8"}, False),
        ({"header": {"member_id": "7"}}, False),
    ],
)
def test_the_leader_is_who_says_so_of_itself(status: dict[str, object], leads: bool) -> None:
    assert is_leader(json.dumps(status).encode()) is leads


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_redis_appends_to_its_log_and_saves_no_snapshots(fsync: str) -> None:
    lines = redis_config(Path("/data"), Path("/data/socket"), fsync).splitlines()
    assert {f"appendfsync {fsync}", "appendonly yes", 'save ""', "unixsocket /data/socket"} <= set(lines)


def test_webdis_finds_redis_and_has_two_threads() -> None:
    config = json.loads(webdis_config(7, Path("/data/socket"), Path("/data/log")))
    assert (config["redis_host"], config["http_port"], config["threads"]) == ("/data/socket", 7, 2)


def test_each_system_has_a_name_of_its_own_and_says_what_it_promises() -> None:
    systems: list[System] = [Own(), Etcd(ports=[]), Webdis("everysec", port=1), Webdis("always", port=1)]
    assert len({system.name for system in systems}) == len(systems)
    assert len({system.promise.fsync for system in systems}) == len(systems)


def test_workers_are_told_to_the_cluster_only_where_they_are_given() -> None:
    assert "--workers" not in Own().setup
    assert "--workers 2" in Own(2).setup


def test_what_is_missing_is_one_line_with_the_packages() -> None:
    absent = Program("no-such-program", "some-package")
    assert missing([Program("sh", "dash")]) == ""
    assert missing([absent, absent]) == "no-such-program missing: apt-get install some-package"
