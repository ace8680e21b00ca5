"""What a shell sees of text that looks like markup: the text."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("tenant", ["[red]", "[/x]", ":key:"])
def test_rebalance_shows_tenants_as_they_are(gateway: type[ShellGateway], capsys: Any, tenant: str) -> None:
    transfer = {"id": 1, "keyspace": "k", "from": 1, "to": 2, "state": "copying", "tenant": tenant}
    view = dict.fromkeys(("max_bytes_per_second", "bytes_done", "bytes", "bytes_per_second"), 0)
    answer = {**view, "state": "running", "eta_s": None, "moves": [], "transfers": [transfer]}
    gateway.answers["GET"] = (200, json.dumps(answer).encode())
    assert run(["rebalance"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[-1] == tenant
