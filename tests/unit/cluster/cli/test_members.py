"""What `nodes remove` shows while it waits."""

from __future__ import annotations

import json

import pytest
from fakes.shell_gateway import ShellGateway, problem

from cluster.cli.main import run as run_command
from cluster.cli.members import hindrance_of


def view(*partitions: tuple[list[str], list[str]], down: str = "") -> dict[str, object]:
    """n1 to n3; of each partition the copies in sync, and all."""
    nodes = [
        {"id": node, "state": "down" if node in down.split() else "up", "leads": 1, "follows": 1}
        for node in ("n1", "n2", "n3")
    ]
    told = [{"id": pid, "in_sync": one, "replicas": all_} for pid, (one, all_) in enumerate(partitions, 1)]
    return {"nodes": nodes, "partitions": told, "moves": [{"from": "n3", "to": "n1"}, {"from": "n1", "to": "n2"}]}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code and what was printed."""
    code = run_command(["nodes", "remove", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_it_says_how_many_copies_are_left_and_what_they_wait_for(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]
) -> None:
    stuck = view((["n3", "n2"], ["n3", "n2"]), (["n1"], ["n1", "n3"]), down="n2 n3")
    gateway.answers = {"DELETE": (202, b"{}"), "GET": (200, json.dumps(stuck).encode())}
    code, out, err = run(capsys, "n3", "--force", "--timeout", "0.5")
    assert code == 3
    assert "copies of n3" in out
    assert "2 left, 1 moves" in out
    assert err.splitlines() == [
        "kvstore: n3 waits: no copy in sync is up of partition 1; start n2 or n3 again, or promote other copies by "
        "force (kvstore force-promote)",
        "kvstore: after 0.5 s: n3 still has 2 copies",
    ]


def test_it_ends_when_the_node_is_no_member_any_more(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers = {"DELETE": (202, b"{}"), "GET": (200, json.dumps(view()).encode())}
    code, out, err = run(capsys, "n4")
    assert (code, err) == (0, "")
    assert "removed" in out


def test_a_refusal_is_told_at_once(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers = {"DELETE": (409, problem("conflict"))}
    assert run(capsys, "n3", "--force") == (1, "", "kvstore: because conflict\n")


def test_many_partitions_are_named_by_the_first() -> None:
    alone = [(["n3"], ["n3"])] * 8
    assert "of partition 1, 2, 3, 4, 5 and 3 more; start n3 again" in hindrance_of(view(*alone, down="n3"), "n3")
    assert hindrance_of(view(*alone), "n3") == ""
    assert hindrance_of(view(*alone, down="n3"), "n2") == ""
