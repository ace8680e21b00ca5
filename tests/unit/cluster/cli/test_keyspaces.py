"""Keyspaces in a shell: what is asked for, what is printed, and nothing deleted by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.shell_gateway import ShellGateway, problem

from cluster.cli.main import run

LISTED = {
    "keyspaces": [
        {
            "name": "default",
            "strategy": "consistent",
            "partitions": 64,
            "replicas": 2,
            "min_in_sync": 1,
            "max_value_bytes": 1048576,
        },
        {
            "name": "orders",
            "strategy": "range",
            "partitions": 3,
            "replicas": "all",
            "min_in_sync": 1,
            "default_ttl": 9.5,
            "max_value_bytes": 10,
        },
    ]
}


def test_keyspaces_are_listed_as_a_table_or_as_they_came(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    gateway.answers["GET /v1/keyspaces"] = (200, json.dumps(LISTED).encode())
    assert run(["keyspaces"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "name",
        "strategy",
        "partitions",
        "replicas",
        "min",
        "in",
        "sync",
        "default",
        "ttl",
        "max",
        "value",
        "bytes",
    ]
    assert lines[2].split() == ["orders", "range", "3", "all", "1", "9.5", "10"]
    assert run(["keyspaces", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == LISTED["keyspaces"]


def test_a_keyspace_is_made_by_its_options(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["PUT"] = (201, b'{"name":"orders"}')
    options = ["--strategy", "range", "--replicas", "all", "--min-in-sync", "2", "--default-ttl", "1.5"]
    options += ["--max-value-bytes", "9", "--split", "a", "--split", "b"]
    assert run(["keyspaces", "create", "orders", *options]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "orders"}
    _, path, body, _ = gateway.asked[0]
    assert path == "/v1/keyspaces/orders"
    assert json.loads(body) == {
        "strategy": "range",
        "replicas": "all",
        "min_in_sync": 2,
        "default_ttl": 1.5,
        "max_value_bytes": 9,
        "splits": ["a", "b"],
    }
    geo = ["--strategy", "geo", "--partitions", "4", "--replicas", "3", "--region", "eu=a", "--default-zone", "b"]
    assert run(["keyspaces", "create", "geo", *geo]) == 0
    asked = json.loads(gateway.asked[1][2])
    assert (asked["partitions"], asked["replicas"], asked["regions"], asked["default_zone"]) == (4, 3, {"eu": "a"}, "b")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--strategy", "ring"), ("--replicas", "some"), ("--region", "eu"), ("--region", "=z"), ("--partitions", "0")],
)
def test_a_bad_option_is_named_and_nothing_is_asked(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert run(["keyspaces", "create", "k", option, value]) == 2
    assert option in capsys.readouterr().err
    assert gateway.asked == []


def test_what_the_gateway_refuses_is_one_line(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["PUT"] = (409, problem("conflict"))
    assert run(["keyspaces", "create", "k"]) == 1
    assert capsys.readouterr().err == "kvstore: because conflict\n"


@pytest.mark.parametrize("confirm", [(), ("--confirm", "other"), ("--confirm", "true")])
def test_nothing_is_deleted_without_the_name_said_twice(gateway: type[ShellGateway], confirm: tuple[str, ...]) -> None:
    assert run(["keyspaces", "delete", "orders", *confirm]) == 2
    assert gateway.asked == []
    gateway.answers["DELETE"] = (204, b"")
    assert run(["keyspaces", "delete", "orders", "--confirm", "orders"]) == 0
    assert gateway.asked[0][1] == "/v1/keyspaces/orders?confirm=orders"


def test_a_keyspace_and_its_tenants_are_shown(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["GET /v1/keyspaces/k"] = (200, b'{"name":"k"}')
    page = {"tenants": [{"tenant": "acme", "partition": 7}, {"tenant_b64": "/w==", "partition": 8}]}
    gateway.answers["GET /v1/keyspaces/k/directory"] = (200, json.dumps(page).encode())
    assert run(["keyspaces", "describe", "k"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "k"}
    assert run(["keyspaces", "tenants", "k"]) == 0
    assert capsys.readouterr().out == "7\tacme\n8\t\\xff\n"


def test_a_tenant_is_moved_where_it_is_said(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["PUT"] = (202, b'{"tenant":"acme","partition":8,"transfer":3}')
    assert run(["keyspaces", "move-tenant", "k", "acme", "--to", "8"]) == 0
    assert run(["keyspaces", "move-tenant", "k", "acme"]) == 0
    assert [json.loads(body) for _, _, body, _ in gateway.asked] == [{"partition": 8}, {}]
    assert capsys.readouterr().out.splitlines()[0] == "acme is on its way to partition 8, transfer 3"
    gateway.answers["PUT"] = (501, problem("not_implemented"))
    assert run(["keyspaces", "move-tenant", "k", "acme"]) == 2


def test_every_command_on_keys_takes_a_keyspace(gateway: type[ShellGateway], tmp_path: Path) -> None:
    document = tmp_path / "document"
    document.write_text("{}")
    gateway.answers |= {
        "GET": (200, b'{"count":0,"items":[]}'),
        "PUT": (201, b""),
        "POST": (200, b'{"results":[],"imported":0}'),
        "DELETE": (204, b""),
    }
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("v")
    commands = (
        ("get", "k"),
        ("put", "k", "v"),
        ("delete", "k"),
        ("batch", str(document)),
        ("txn", str(document)),
        ("scan", "--count"),
        ("export", str(tmp_path / "out")),
        ("import", str(document)),
        ("import", "--files", str(tmp_path / "tree")),
    )
    for command in commands:
        gateway.asked.clear()
        run([*command, "--keyspace", "orders"])
        assert gateway.asked, command
        assert all(path.startswith("/v1/keyspaces/orders/") for _, path, _, _ in gateway.asked), command
    gateway.answers["DELETE"] = (200, b'{"deleted":0,"done":true}\n')
    assert run(["delete-range", "--prefix", "a", "--confirm", "--keyspace", "orders"]) == 0
    assert gateway.asked[-1][1].startswith("/v1/keyspaces/orders/kv?")
