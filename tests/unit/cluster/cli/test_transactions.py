"""What a shell sees of transactions: the answer as it came, and the exit code of what became of it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fakes.shell_gateway import ShellGateway, problem

from cluster.cli.main import run

DOCUMENT = b'{"then":[{"op":"incr","key":"n"}]}'
ID = f"1-{'ab' * 16}-1"


@pytest.mark.parametrize("branch", ["then", "else"])
def test_a_transaction_prints_its_answer_whichever_branch_was_taken(
    gateway: type[ShellGateway], tmp_path: Path, capsys: pytest.CaptureFixture[str], branch: str
) -> None:
    answer = json.dumps({"txn": ID, "branch": branch, "results": [{"status": 404}]})
    gateway.answers["POST"] = (200, answer.encode())
    (tmp_path / "list").write_bytes(DOCUMENT)
    assert run(["txn", str(tmp_path / "list")]) == 0
    assert capsys.readouterr().out == answer + "\n"
    method, path, body, headers = gateway.asked[0]
    assert (method, path, body) == ("POST", "/v1/txn", DOCUMENT)
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"]


def test_a_transaction_comes_from_standard_input_for_a_dash(
    gateway: type[ShellGateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.answers["POST"] = (200, b"{}")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(DOCUMENT)))
    assert run(["txn", "-"]) == 0
    assert gateway.asked[0][2] == DOCUMENT


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [("txn_conflict", 409, 1), ("bad_body", 400, 2), ("no_leader", 503, 3), ("outcome_unknown", 504, 4)],
)
def test_a_failure_is_one_line_and_its_code(
    gateway: type[ShellGateway], tmp_path: Path, capsys: Any, code: str, status: int, exit_code: int
) -> None:
    gateway.answers["POST"] = (status, problem(code))
    (tmp_path / "t").write_bytes(DOCUMENT)
    assert run(["txn", str(tmp_path / "t"), "--timeout", "0.2"]) == exit_code
    assert capsys.readouterr() == ("", f"kvstore: because {code}\n")


PREPARED = [
    {"txn": ID, "partition": 3, "age_s": 12.34, "keys": [{"key": "a b"}, {"key_b64": "/w=="}]},
    {"txn": ID, "partition": 9, "age_s": 1.0, "keys": []},
]


def test_the_list_shows_what_is_prepared(gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]) -> None:
    gateway.answers["GET /v1/cluster/transactions"] = (200, json.dumps({"prepared": PREPARED, "missing": []}).encode())
    assert run(["txn", "list"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.split() == [ID, "3", "12.3", '"a', 'b",', "base64", "/w=="]
    assert second.split() == [ID, "9", "1.0"]


def test_the_list_as_json_is_the_answer_and_a_silent_node_is_code_3(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str]
) -> None:
    view = {"prepared": PREPARED, "missing": ["n2"]}
    gateway.answers["GET"] = (200, json.dumps(view).encode())
    assert run(["txn", "list", "--json"]) == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out) == view
    assert shown.err == "kvstore: no answer from n2: what is prepared there is not known\n"


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {}),
        (["--outcome", "abort"], {"outcome": "abort"}),
        (["--outcome", "commit", "--branch", "else"], {"outcome": "commit", "branch": "else"}),
    ],
)
def test_resolve_asks_for_what_its_options_say(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str], options: list[str], asked: dict[str, str]
) -> None:
    answer = {"partitions": [2, 3], "missing": []} if options else {"state": "aborted"}
    gateway.answers[f"POST /v1/cluster/transactions/{ID}/resolve"] = (200, json.dumps(answer).encode())
    assert run(["txn", "resolve", ID, *options]) == 0
    assert json.loads(gateway.asked[0][2]) == asked
    assert json.loads(capsys.readouterr().out) == answer


@pytest.mark.parametrize(("code", "status"), [("not_found", 404), ("conflict", 409)])
def test_what_is_not_there_or_is_decided_elsewhere_is_code_1(
    gateway: type[ShellGateway], capsys: pytest.CaptureFixture[str], code: str, status: int
) -> None:
    gateway.answers["POST"] = (status, problem(code))
    assert run(["txn", "resolve", ID, "--outcome", "abort"]) == 1
    assert capsys.readouterr() == ("", f"kvstore: because {code}\n")
