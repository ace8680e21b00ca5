"""What a shell sees of how a keyspace is spread."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.shell_gateway import ShellGateway, problem

from cluster.cli.main import run


def view(partitions: int = 2, **fields: Any) -> dict[str, Any]:
    node = {"node": "n1", "copies": 2, "leads": 1, "keys": 30, "bytes": 300, "reads_per_second": 1.5}
    node |= {"writes_per_second": 0.5, "keys_share": 0.75, "load_share": None, "even_share": 0.5}
    lines = [
        {
            "partition": pid,
            "leader": "n1",
            "keys": 1000 + pid,
            "bytes": 70,
            "reads_per_second": 2.5,
            "writes_per_second": 0.0,
        }
        for pid in range(1, partitions + 1)
    ]
    return {
        "keyspace": "shop",
        "strategy": "range",
        "keys": 14,
        "bytes": 140,
        "reads_per_second": 5.0,
        "writes_per_second": 0.0,
        "partitions": lines,
        "nodes": [node],
        "hottest_partitions": [1],
        "hottest_keys": [],
        "words": [],
        "missing": [],
        **fields,
    }


def show(gateway: type[ShellGateway], capsys: Any, answer: dict[str, Any], *options: str, code: int = 0) -> Any:
    gateway.answers["GET"] = (200, json.dumps(answer).encode())
    assert run(["balance", "shop", *options]) == code
    return capsys.readouterr()


def test_nodes_and_partitions_are_tables(gateway: type[ShellGateway], capsys: Any) -> None:
    out = show(gateway, capsys, view()).out.splitlines()
    assert gateway.asked[0][:2] == ("GET", "/v1/keyspaces/shop/balance")
    assert out[0] == "shop (range): 14 keys, 140 bytes, 5.0 reads/s, 0.0 writes/s"
    assert out[3].split() == ["n1", "1", "2", "30", "300", "1.5", "0.5", "75.0%", "-", "50.0%"]
    assert [line.split()[0] for line in out[6:8]] == ["1", "2"]


def test_the_default_keyspace_is_meant_where_none_is_named(gateway: type[ShellGateway]) -> None:
    gateway.answers["GET"] = (200, json.dumps(view()).encode())
    assert run(["balance"]) == 0
    assert gateway.asked[0][1] == "/v1/keyspaces/default/balance"


def test_the_hottest_partitions_come_first_then_the_largest(gateway: type[ShellGateway], capsys: Any) -> None:
    answer = view(30, hottest_partitions=[5, 3])
    out = show(gateway, capsys, answer).out.splitlines()
    assert [line.split()[0] for line in out[6:16]] == ["5", "3", "30", "29", "28", "27", "26", "25", "24", "23"]
    assert out[16] == "and 20 more (--all)"
    assert len(show(gateway, capsys, answer, "--all").out.splitlines()) == len(out) + 19


def test_what_nobody_told_of_is_a_dash(gateway: type[ShellGateway], capsys: Any) -> None:
    answer = view()
    answer["partitions"][1] |= dict.fromkeys(("leader", "keys", "bytes", "reads_per_second", "writes_per_second"))
    assert show(gateway, capsys, answer).out.splitlines()[7].split() == ["2", *"-----"]


def test_hot_keys_and_words_are_printed(gateway: type[ShellGateway], capsys: Any) -> None:
    keys = [
        {"key": "a [b]\x1b[31m", "partition": 1, "operations_per_second": 12.0},
        {"key_b64": "/w==", "partition": 2, "operations_per_second": 3.0},
    ]
    words = [{"code": "rising", "text": "rising with time: " + "x" * 200}]
    out = show(gateway, capsys, view(hottest_keys=keys, words=words)).out
    assert "12.0          1  a [b]\\x1b[31m\n" in out
    assert "3.0          2  b'\\xff'" in out
    assert out.endswith(f"rising with time: {'x' * 200}\n")


def test_json_is_the_answer_as_it_is(gateway: type[ShellGateway], capsys: Any) -> None:
    assert json.loads(show(gateway, capsys, view(), "--json").out) == view()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_node_that_did_not_answer_is_named(gateway: type[ShellGateway], capsys: Any, options: list[str]) -> None:
    captured = show(gateway, capsys, view(missing=["n2"]), *options, code=3)
    assert captured.err == "kvstore: no answer from n2: what is there is not counted\n"


def test_a_keyspace_that_is_not_there_is_one_line(gateway: type[ShellGateway], capsys: Any) -> None:
    gateway.answers["GET"] = (404, problem("not_found"))
    assert run(["balance", "shop"]) == 1
    assert capsys.readouterr() == ("", "kvstore: because not_found\n")
