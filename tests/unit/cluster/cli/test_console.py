"""What a shell sees of text that looks like markup: the text."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from fakes.shell_gateway import ShellGateway

from cluster.cli.main import run


@pytest.mark.parametrize("key", ["users[/all]", "cart[bob]", "[red]x", "a:key:b"])
def test_the_list_of_transactions_shows_keys_as_they_are(gateway: type[ShellGateway], capsys: Any, key: str) -> None:
    prepared = [{"txn": "1-2", "partition": 3, "age_s": 1.0, "keys": [{"key": key}]}]
    gateway.answers["GET"] = (200, json.dumps({"prepared": prepared, "missing": []}).encode())
    assert run(["txn", "list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["1-2", "3", "1.0", json.dumps(key)]


def test_status_shows_an_address_of_ipv6_as_it_is(gateway: type[ShellGateway], capsys: Any) -> None:
    numbers = dict.fromkeys(("weight", "leads", "follows", "keys", "bytes"), 1)
    node = {"id": "n1", "state": "up", "address": "[fd00::1]:7000", "zone": "z", **numbers}
    view = {"state": "healthy", "map_version": 7, "nodes": [node], "partitions": []}
    gateway.answers["GET"] = (200, json.dumps(view).encode())
    assert run(["status"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:3] == ["n1", "up", "[fd00::1]:7000"]


NODES = [
    {"id": f"c3fe4331e1{tail}", "state": "draining", "address": f"192.168.240.1{tail}:7000", "zone": "europe-west-1"}
    | {"weight": 1.0, "leads": 1234, "follows": 5678, "keys": 123_456_789, "bytes": 987_654_321_012}
    for tail in ("0a", "0b")
]
VIEW = {"state": "healthy", "map_version": 7, "nodes": NODES, "partitions": []}
COLUMNS = ("id", "state", "address", "zone", "weight", "leads", "follows", "keys", "bytes")


def test_a_table_in_a_pipe_is_as_wide_as_what_it_says(gateway: type[ShellGateway], capsys: Any) -> None:
    gateway.answers["GET"] = (200, json.dumps(VIEW).encode())
    assert run(["status"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown[2:]] == [[str(node[column]) for column in COLUMNS] for node in NODES]


def test_a_narrow_terminal_folds_what_is_too_wide_but_no_id_of_a_node(
    gateway: type[ShellGateway], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    gateway.answers["GET"] = (200, json.dumps(VIEW).encode())
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert all(node["id"] in shown for node in NODES)
    assert max(map(len, shown.splitlines())) <= 80


def test_sentences_in_a_pipe_are_one_line_each(gateway: type[ShellGateway], capsys: Any) -> None:
    moves = [{"partition": 1, "keyspace": "k" * 60, "from": "a" * 30, "to": "b" * 30, "keys": 10**9, "bytes": 10**12}]
    balance = dict.fromkeys(
        ("copies_before", "copies_after", "most_after", "leads_before", "leads_after", "share_after"), 123_456
    )
    made = {
        "id": "p",
        "moves": moves,
        "balance": [{"node": "a" * 30, **balance}],
        "partitions": 1,
        "keys": 1,
        "bytes": 1,
    }
    gateway.answers["POST"] = (200, json.dumps(made).encode())
    assert run(["plan"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 5
    assert shown[1].split() == [str(value) for value in moves[0].values()]


@pytest.mark.parametrize("tenant", ["[red]", "[/x]", ":key:"])
def test_rebalance_shows_tenants_as_they_are(gateway: type[ShellGateway], capsys: Any, tenant: str) -> None:
    transfer = {"id": 1, "keyspace": "k", "from": 1, "to": 2, "state": "copying", "tenant": tenant}
    view = dict.fromkeys(("max_bytes_per_second", "bytes_done", "bytes", "bytes_per_second"), 0)
    answer = {**view, "state": "running", "eta_s": None, "moves": [], "transfers": [transfer]}
    gateway.answers["GET"] = (200, json.dumps(answer).encode())
    assert run(["rebalance"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[-1] == tenant
