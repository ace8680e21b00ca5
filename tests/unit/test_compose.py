"""docker-compose.yml keeps what it promises: who is reachable from where, and on whose volume data is."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.control.map_store.etcd_client import endpoints_of

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = FILE["services"]
STORES = ("gateway", "n1", "n2", "n3", "node1", "node2", "node3", "etcd1", "etcd2", "etcd3")
SINGLE = ["gateway", "n1", "n2", "n3", "node"]
HA = ["etcd1", "etcd2", "etcd3", "gateway1", "gateway2", "node1", "node2", "node3"]


def test_everything_that_is_published_is_published_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published["gateway"] == published["gateway1"] == ["127.0.0.1:${KVSTORE_PORT:-8000}:8000"]
    assert published["gateway2"] == ["127.0.0.1:${KVSTORE_PORT_2:-8001}:8000"]
    assert not [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")]


def test_neither_a_node_nor_etcd_is_published() -> None:
    nodes = [name for name, service in SERVICES.items() if "KVSTORE_GATEWAY" in service.get("environment", {})]
    assert sorted(nodes) == ["n1", "n2", "n3", "node", "node1", "node2", "node3"]
    assert not [name for name in (*nodes, "etcd1", "etcd2", "etcd3") if "ports" in SERVICES[name]]


def test_each_store_has_a_named_volume_of_its_own() -> None:
    volumes = [SERVICES[name]["volumes"] for name in STORES]
    assert volumes == [[f"{name}:/data"] for name in STORES]
    assert set(STORES) <= set(FILE["volumes"])


def test_a_node_says_the_name_under_which_it_is_found() -> None:
    for name in ("n1", "n2", "n3", "node1", "node2", "node3"):
        environment = SERVICES[name]["environment"]
        assert (environment["KVSTORE_ID"], environment["KVSTORE_ADVERTISE"]) == (name, f"{name}:7000")


def test_further_nodes_are_as_many_as_a_variable_says_so_that_every_up_means_the_same() -> None:
    assert SERVICES["node"]["scale"] == "${KVSTORE_EXTRA_NODES:-0}"


def test_a_further_node_keeps_the_name_of_its_first_container_on_its_volume(tmp_path: Path) -> None:
    programs, data = tmp_path / "bin", tmp_path / "data"
    for folder in (programs, data):
        folder.mkdir()
    for name, says in (("kvstore", '"$*"'), ("hostname", '"${1:-$FIRST}"')):
        (programs / name).write_text(f"#!/bin/sh\necho {says}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    (script,) = SERVICES["node"]["command"]
    started = ["sh", "-c", script.replace("$$", "$")]
    for container in ("first", "made-anew"):
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "FIRST": container}
        said = subprocess.run(
            started, cwd=data, env=environment, text=True, capture_output=True, timeout=20, check=True
        )
        assert said.stdout == "node --insecure-bind --id first --advertise -i:7000\n"


@pytest.mark.parametrize(
    ("profile", "services"),
    [("single", SINGLE), ("ha", HA), ("load", [*SINGLE, "load"]), ("monitoring", [*SINGLE, "grafana", "prometheus"])],
)
def test_a_profile_runs_what_it_says_and_whatever_that_depends_on(profile: str, services: list[str]) -> None:
    chosen = {name for name, service in SERVICES.items() if profile in service["profiles"]}
    assert chosen == set(services)
    assert not {other for name in chosen for other in SERVICES[name].get("depends_on", ())} - chosen


def test_without_a_word_it_is_one_gateway_and_three_nodes() -> None:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["COMPOSE_PROFILES=single", "KVSTORE_EXTRA_NODES=0"]


def test_both_gateways_know_every_member_of_etcd_and_every_node_knows_both_gateways() -> None:
    members = [f"etcd{number}" for number in (1, 2, 3)]
    for name in ("gateway1", "gateway2"):
        store = SERVICES[name]["environment"]["KVSTORE_STORE"]
        assert endpoints_of(store) == tuple(f"{member}:2379" for member in members)
    for name in ("node1", "node2", "node3"):
        assert SERVICES[name]["environment"]["KVSTORE_GATEWAY"] == "http://gateway1:8000,http://gateway2:8000"
    for name in members:
        assert SERVICES[name]["environment"]["ETCD_INITIAL_CLUSTER"] == ",".join(
            f"{member}=http://{member}:2380" for member in members
        )
        assert f"--name {name} --advertise-client-urls http://{name}:2379" in SERVICES[name]["command"]


def test_whatever_holds_data_comes_back_after_a_reboot_which_ends_it_with_exit_code_0() -> None:
    assert {SERVICES[name]["restart"] for name in (*STORES, "node", "gateway1", "gateway2")} == {"unless-stopped"}


@pytest.mark.parametrize("service", SERVICES)
def test_files_that_are_mounted_exist(service: str) -> None:
    sources = [volume.partition(":")[0] for volume in SERVICES[service].get("volumes", [])]
    assert not [source for source in sources if source.startswith("./") and not (ROOT / source).exists()]


def test_the_image_holds_what_the_build_needs_and_nothing_else() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = set(re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE))
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"!{name}" for name in copied} == {line for line in allowed if line.startswith("!")}
    assert re.search(r"^USER kvstore$", dockerfile, re.MULTILINE)
