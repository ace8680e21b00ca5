"""Commands that are told of several gateways ask the first that answers."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest
from fakes.shell_gateway import ShellGateway

from cluster.cli.gateways import answering
from cluster.cli.main import run
from kvstore.client import Unreachable

READY = {"state": "healthy", "map_version": 1, "nodes": [], "partitions": [], "moves": []}


@pytest.fixture
def nobody() -> Iterator[str]:
    """A gateway's address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_the_first_that_answers_is_asked(
    gateway: type[ShellGateway], nobody: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    gateway.answers["GET"] = (200, b"value")
    monkeypatch.setenv("KVSTORE_GATEWAY", f"{nobody}/, {os.environ['KVSTORE_GATEWAY']},")
    assert run(["get", "k"]) == 0
    assert capfdbinary.readouterr().out == b"value"
    assert [asked[1] for asked in gateway.asked] == ["/healthz", "/v1/kv/k"]


def test_a_single_one_is_asked_nothing_first(gateway: type[ShellGateway]) -> None:
    gateway.answers["GET"] = (200, b"value")
    assert run(["get", "k"]) == 0
    assert [asked[1] for asked in gateway.asked] == ["/v1/kv/k"]


def test_where_none_answers_one_line_names_all(nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--gateway", f"{nobody},{nobody}"]) == 3
    refused = f"{nobody} (Connection refused)"
    assert capsys.readouterr().err == f"kvstore: no gateway answers: {refused}, {refused}\n"


def test_one_that_listens_and_says_nothing_is_passed_over(gateway: type[ShellGateway]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}"
        there = os.environ["KVSTORE_GATEWAY"]
        assert answering(f"{mute},{there}", within_s=0.2) == there
        with pytest.raises(Unreachable, match="it took too long"):
            answering(f"{mute},{mute}", within_s=0.2)


def test_wait_goes_on_asking_all_of_them(
    gateway: type[ShellGateway], nobody: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = os.environ["KVSTORE_GATEWAY"]
    gateway.answers["GET"] = (200, json.dumps(READY).encode())
    assert run(["wait", "--gateway", f"{nobody},{nobody}", "--timeout", "0.5"]) == 3
    assert capsys.readouterr().err.startswith("kvstore: after 0.5 s: no gateway answers: ")
    tried: list[str] = []

    def late(gateways: str) -> str:
        tried.append(gateways)
        return nobody if len(tried) == 1 else answering(gateways)

    monkeypatch.setattr("cluster.cli.operate.answering", late)
    assert run(["wait", "--gateway", f"{nobody},{there}", "--timeout", "10"]) == 0
    assert tried == [f"{nobody},{there}"] * 2


@pytest.mark.parametrize("gateways", ["http://a,b", ",", ""])
def test_each_must_be_an_address(gateways: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--gateway", gateways]) == 2
    assert "is not a gateway's address" in capsys.readouterr().err
