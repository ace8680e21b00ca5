"""What a shell sees: bytes on standard output, one line on standard error, the exit code."""

import io
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fakes.shell_gateway import ShellGateway, problem

from cluster.cli.main import run


def test_get_writes_the_bytes_and_nothing_else(gateway: type[ShellGateway], capfdbinary: Any) -> None:
    gateway.answers["GET"] = (200, b"\x00\xff\n")
    assert run(["get", "k"]) == 0
    assert capfdbinary.readouterr().out == b"\x00\xff\n"


def test_get_of_an_absent_key_is_one_line_and_code_1(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["GET"] = (404, problem("key_not_found"))
    assert run(["get", "k"]) == 1
    assert capsys.readouterr() == ("", "kvstore: because key_not_found\n")


def test_put_sends_value_and_options(gateway: type[ShellGateway]) -> None:
    gateway.answers["PUT"] = (201, b"")
    assert run(["put", "a/../b", "v", "--content-type", "text/plain", "--ttl", "2.5", "--if-absent"]) == 0
    method, path, body, headers = gateway.asked[0]
    assert (method, path, body) == ("PUT", "/v1/kv/a%2F%2E%2E%2Fb?ttl=2.500000", b"v")
    assert headers["Content-Type"] == "text/plain"
    assert headers["If-None-Match"] == "*"


def test_put_without_a_value_reads_standard_input(gateway: type[ShellGateway], monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.answers["PUT"] = (204, b"")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\x00raw")))
    assert run(["put", "k"]) == 0
    assert gateway.asked[0][2] == b"\x00raw"


def test_a_failed_condition_is_code_1(gateway: type[ShellGateway]) -> None:
    gateway.answers["DELETE"] = (412, problem("precondition_failed"))
    assert run(["delete", "k", "--if-match", "1.2.3"]) == 1
    assert gateway.asked[0][3]["If-Match"] == '"1.2.3"'


def test_an_unknown_outcome_is_code_4(gateway: type[ShellGateway]) -> None:
    gateway.answers["PUT"] = (504, problem("outcome_unknown"))
    assert run(["put", "k", "v"]) == 4


def test_no_leader_is_code_3(gateway: type[ShellGateway]) -> None:
    gateway.answers["PUT"] = (503, problem("no_leader"))
    assert run(["put", "k", "v"]) == 3


def test_batch_prints_the_results_and_ends_with_the_worst(
    gateway: type[ShellGateway], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = b'{"results":[{"status":200},{"status":404,"code":"key_not_found"}]}'
    gateway.answers["POST"] = (200, answer)
    document = tmp_path / "ops.json"
    document.write_bytes(b'{"ops":[]}')
    assert run(["batch", str(document)]) == 1
    assert gateway.asked[0][2] == b'{"ops":[]}'
    assert capsys.readouterr().out.encode() == answer + b"\n"


def test_batch_reads_standard_input_for_a_dash(gateway: type[ShellGateway], monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.answers["POST"] = (200, b'{"results":[]}')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"ops":[]}')))
    assert run(["batch", "-"]) == 0
    assert gateway.asked[0][2] == b'{"ops":[]}'


VIEW = {
    "state": "degraded",
    "map_version": 7,
    "nodes": [
        {
            "id": "n1",
            "address": "127.0.0.1:1",
            "zone": "z",
            "weight": 1.0,
            "state": "up",
            "leads": 1,
            "follows": 2,
            "keys": 3,
            "bytes": 4,
        }
    ],
    "partitions": [{"id": 9, "leader": None, "unclean_count": 0}],
    "moves": [],
}


def test_status_shows_nodes_and_what_is_wrong(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["GET"] = (200, json.dumps(VIEW).encode())
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert "degraded, map version 7, 1 partitions" in shown
    assert "without a leader: 9" in shown
    assert "127.0.0.1:1" in shown


def test_status_as_json_is_the_answer(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["GET"] = (200, json.dumps(VIEW).encode())
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == VIEW


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [(["--nodes", "2"], "1 of 2 nodes are up"), (["--healthy"], "the state is degraded")],
)
def test_wait_ends_with_what_is_missing(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str], arguments: list[str], missing: str
) -> None:
    gateway.answers["GET"] = (200, json.dumps(VIEW).encode())
    assert run(["wait", *arguments, "--timeout", "1"]) == 3
    assert capsys.readouterr().err == f"kvstore: after 1 s: {missing}\n"


def test_wait_counts_a_drained_node_that_is_there_and_none_that_is_down(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [{**VIEW["nodes"][0], "id": state, "state": state} for state in ("up", "draining", "down")]
    gateway.answers["GET"] = (200, json.dumps({**VIEW, "nodes": nodes}).encode())
    assert run(["wait", "--nodes", "2", "--timeout", "5"]) == 0
    assert run(["wait", "--nodes", "3", "--timeout", "0.5"]) == 3
    assert capsys.readouterr().err == "kvstore: after 0.5 s: 2 of 3 nodes are up\n"


HEALTHY = {**VIEW, "state": "healthy"}
TO_N1, TO_N2 = ({"partition": 9, "from": "n3", "to": to} for to in ("n1", "n2"))


def lay_down(
    gateway: type[ShellGateway], moves: list[dict[str, Any]], manual: bool = False, state: str = "idle"
) -> None:
    gateway.answers |= {
        "GET": (200, json.dumps(HEALTHY).encode()),
        "GET /v1/cluster/rebalance": (200, json.dumps({"state": state, "manual": manual}).encode()),
        "POST /v1/cluster/plan": (200, json.dumps({"moves": moves}).encode()),
    }


@pytest.mark.parametrize(
    ("moves", "manual", "state"),
    [
        ([], False, "idle"),
        ([TO_N2], False, "idle"),
        ([TO_N1], True, "idle"),
        ([TO_N1], False, "paused"),
    ],
    ids=["no_move", "to_a_node_that_is_away", "manual", "paused"],
)
def test_wait_is_done_when_what_it_waits_for_is_there_and_stays(
    gateway: type[ShellGateway], moves: list[dict[str, Any]], manual: bool, state: str
) -> None:
    lay_down(gateway, moves, manual, state)
    assert run(["wait", "--nodes", "1", "--healthy", "--timeout", "5"]) == 0
    assert not [body for method, _, body, _ in gateway.asked if method == "POST" and json.loads(body)]


def test_wait_for_healthy_goes_on_while_copies_are_about_to_move(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]
) -> None:
    lay_down(gateway, [TO_N1, TO_N2])
    assert run(["wait", "--nodes", "1", "--timeout", "5"]) == 0
    assert run(["wait", "--nodes", "1", "--healthy", "--timeout", "0.5"]) == 3
    assert capsys.readouterr().err == "kvstore: after 0.5 s: copies that are about to move: 1\n"


def test_import_counts_and_names_what_it_skipped(
    gateway: type[ShellGateway], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.answers["PUT"] = (201, b"")
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(b"xxx")
    assert run(["import", "--files", str(tmp_path), "--max-value-bytes", "2"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "imported 1 files (1 bytes), skipped 1, failed 0, unknown 0\n"
    assert shown.err == f"kvstore: skipped {tmp_path}/large: 3 bytes, at most 2 are allowed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["get"],
        ["get", "--nonsense", "k"],
        ["get", "k", "--timeout", "soon"],
        ["get", "k", "--timeout", "inf"],
        ["get", "k", "--timeout", "nan"],
        ["status", "--timeout", "inf"],
        ["get", "k", "--gateway", "http://\udcff"],
        ["get", "k", "--gateway", f"http://{'a' * 64}"],
        ["get", "k", "--keyspace", "\udcff"],
        ["drain", "\udcff"],
        ["undrain", "\udcff"],
        ["nodes", "remove", "\udcff"],
        ["txn", "resolve", "\udcff"],
        ["balance", "\udcff"],
        ["keyspaces", "create", "\udcff"],
        ["keyspaces", "describe", "\udcff"],
        ["keyspaces", "delete", "\udcff", "--confirm", "\udcff"],
        ["get", "k", "--gateway", "127.0.0.1:8000"],
        ["get", ""],
        ["get", "x" * 481],
        ["batch", "/nowhere"],
        ["batch", "/"],
        ["txn"],
        ["txn", "/nowhere"],
        ["txn", "list", "x"],
        ["txn", "resolve"],
        ["txn", "resolve", "x", "--outcome", "commit"],
        ["txn", "resolve", "x", "--outcome", "abort", "--branch", "then"],
        ["txn", "resolve", "x", "--outcome", "undo"],
        ["txn", "list", "--outcome", "abort"],
        ["import"],
        ["import", "--files", "/nowhere"],
        ["import", "/nowhere"],
        ["import", "x", "--files", "/"],
        ["up", "--nodes", "0"],
        ["node", "--weight", "heavy"],
        ["gateway", "--initial-nodes", "-1", "--data", "x"],
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("kvstore: ")
    assert shown.err.count("\n") == 1


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"kvstore {version('kvstore')}\n"


def test_bytes_of_an_argument_that_are_no_text_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drain", "caf\udce9"]) == 2
    assert capsys.readouterr().err == "kvstore: 'caf\\udce9' is not UTF-8\n"


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KVSTORE_TIMEOUT", "soon")
    assert run(["get", "k"]) == 2
    assert "KVSTORE_TIMEOUT" in capsys.readouterr().err


def promoted(*pairs: tuple[str, list[dict[str, Any]]]) -> bytes:
    return json.dumps({"promoted": [], "refused": [], "may_be_torn": [], **dict(pairs)}).encode()


def test_force_promote_says_what_it_did_and_complains_of_what_it_did_not(
    gateway: type[ShellGateway], capsys: Any
) -> None:
    done = {"partition": 3, "leader": "n2", "epoch": 5, "unclean_count": 1}
    gateway.answers["POST"] = (200, promoted(("promoted", [done]), ("may_be_torn", ["3-ab-1"])))
    assert run(["force-promote", "3", "--confirmed-stopped", "n1"]) == 0
    said = capsys.readouterr()
    assert "partition 3: n2 is to lead" in said.out
    assert "transaction 3-ab-1 was in doubt" in said.err
    method, path, body, headers = gateway.asked[-1]
    assert (method, path, headers["Content-Type"]) == ("POST", "/v1/cluster/force-promote", "application/json")
    assert json.loads(body) == {"partition": 3, "confirmed_stopped": ["n1"]}

    gateway.answers["POST"] = (200, promoted(("refused", [{"partition": 4, "detail": "no other copy"}])))
    assert run(["force-promote", "--all-of", "n1", "--confirmed-stopped", "n1", "--confirmed-stopped", "n2"]) == 1
    assert capsys.readouterr().err == "kvstore: partition 4: no other copy\n"
    assert json.loads(gateway.asked[-1][2]) == {"all_of": "n1", "confirmed_stopped": ["n1", "n2"]}


def test_force_promote_asks_nothing_without_a_node_that_is_confirmed_as_stopped(gateway: type[ShellGateway]) -> None:
    assert run(["force-promote", "3"]) == 2
    assert not gateway.asked


def test_status_tells_of_partitions_that_were_promoted_by_force(gateway: type[ShellGateway], capsys: Any) -> None:
    partitions = [{"id": pid, "leader": "n1", "unclean_count": count} for pid, count in ((1, 0), (2, 3))]
    view = {"state": "healthy", "map_version": 7, "nodes": [], "partitions": partitions, "moves": []}
    gateway.answers["GET"] = (200, json.dumps(view).encode())
    assert run(["status"]) == 0
    assert "promoted by force, so that writes may be lost: 2 (3 x)" in capsys.readouterr().out
