"""Numbers and parameters: taken exactly, or refused by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

TEN_YEARS_S = 315_576_000

BAD_TTL = ["", "0", "0.0", "-1", "+1", " 1", "1 ", "1e3", "NaN", "inf", "0x10", "1.", ".5", "1,5", "1_0", "٣", "１"]
BAD_TTL += [str(2**63), str(TEN_YEARS_S + 1), "9" * 1000, "1" + "0" * 20, "true"]


@pytest.mark.parametrize("ttl", BAD_TTL)
async def test_a_ttl_that_is_no_positive_decimal_is_refused(gateway: Any, ttl: str) -> None:
    answer = await gateway.ask("PUT", f"/v1/kv/a?ttl={quote(ttl)}", b"x")
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert "ttl" in answer.detail
    assert gateway.writes == 0


@pytest.mark.parametrize("ttl", ["1", "0.001", "12.5", "007", str(TEN_YEARS_S)])
async def test_a_positive_decimal_is_a_ttl(gateway: Any, ttl: str) -> None:
    assert (await gateway.ask("PUT", f"/v1/kv/a?ttl={ttl}", b"x")).status == 201
    assert float((await gateway.ask("GET", "/v1/kv/a")).headers["x-kv-ttl"]) == float(ttl)


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("GET", "/v1/kv/a?ttl=1", "ttl"),
        ("PUT", "/v1/kv/a?ttl=1&ttl=1", "ttl"),
        ("PUT", "/v1/kv/a?ttl=1&", "''"),
        ("PUT", "/v1/kv/a?TTL=1", "TTL"),
        ("PUT", "/v1/kv/a?consistency=strong", "consistency"),
        ("DELETE", "/v1/kv/a?x", "x"),
        ("GET", "/v1/kv/a?consistency=weak", "consistency"),
        ("GET", "/v1/kv/a?consistency=strong&consistency=strong", "consistency"),
        ("GET", "/v1/kv/a?%zz=1", "%zz"),
        ("GET", "/v1/kv/a?consistency=%ff", "UTF-8"),
        ("POST", "/v1/batch?consistent=yes", "consistent"),
        ("POST", "/v1/batch?limit=1", "limit"),
        ("GET", "/v1/locate/a?x=1", "x"),
        ("GET", "/v1/cluster?x=1", "x"),
        ("GET", "/healthz?x=1", "x"),
        ("POST", "/v1/cluster/nodes?x=1", "x"),
    ],
)
async def test_an_unknown_or_doubled_parameter_is_named(gateway: Any, method: str, target: str, name: str) -> None:
    answer = await gateway.ask(method, target, b"{}" if method in ("PUT", "POST") else None)
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert name in answer.detail


async def test_a_question_mark_without_parameters_changes_nothing(gateway: Any) -> None:
    assert (await gateway.ask("PUT", "/v1/kv/a?", b"x")).status == 201
    assert (await gateway.ask("GET", "/v1/kv/a?consistency=strong")).body == b"x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"id":"n1"}',
        b'{"id":1,"address":"a"}',
        b'{"id":"n1","address":"a","weight":"1"}',
        b'{"id":"n1","address":"a","colour":1}',
        b"\xff",
        b"[" * 50_000,
    ],
)
async def test_a_node_that_is_not_described_is_refused(gateway: Any, body: bytes) -> None:
    answer = await gateway.ask("POST", "/v1/cluster/nodes", body)
    assert (answer.status, answer.code) == (400, "bad_body")
    assert not gateway.control.admitted


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v1/cluster/nodes/n1", b'{"zone":null}'),
        ("PATCH", "/v1/cluster/nodes/n1", b'{"weight":null}'),
        ("PATCH", "/v1/cluster/nodes/n1", b'{"draining":null}'),
        ("POST", "/v1/cluster/force-promote", b'{"partition":null,"all_of":"n1","confirmed_stopped":["n1"]}'),
    ],
)
async def test_null_is_no_value_of_a_field(gateway: Any, method: str, path: str, body: bytes) -> None:
    answer = await gateway.ask(method, path, body)
    assert (answer.status, answer.code) == (400, "bad_body")


@pytest.mark.parametrize("number", [b"5000", b"5000.0", b"5e3"])
async def test_a_whole_number_may_be_written_in_any_way_of_json(gateway: Any, number: bytes) -> None:
    body = b'{"max_bytes_per_second":' + number + b"}"
    assert (await gateway.ask("PUT", "/v1/cluster/rebalance", body)).status == 200
    assert gateway.control.steered[-1].max_bytes_per_second == 5000
    body = b'{"confirmed_stopped":["n1"],"partition":' + number + b"}"
    assert (await gateway.ask("POST", "/v1/cluster/force-promote", body)).status == 200


@pytest.mark.parametrize("number", [b"0.5", b"-1", b"1e300", b"1099511627777"])
async def test_a_number_that_is_none_of_a_rate_is_named(gateway: Any, number: bytes) -> None:
    answer = await gateway.ask("PUT", "/v1/cluster/rebalance", b'{"max_bytes_per_second":' + number + b"}")
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert "max_bytes_per_second" in answer.detail
    assert not gateway.control.steered


@pytest.mark.parametrize("number", [b"0.5", b"-1", b"0", b"1e300"])
async def test_a_number_that_is_none_of_a_partition_is_named(gateway: Any, number: bytes) -> None:
    body = b'{"confirmed_stopped":["n1"],"partition":' + number + b"}"
    answer = await gateway.ask("POST", "/v1/cluster/force-promote", body)
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert "partition" in answer.detail


async def test_a_node_is_admitted_once(gateway: Any) -> None:
    body = b'{"id":"n9","address":"127.0.0.1:1","zone":"z","weight":2}'
    assert (await gateway.ask("POST", "/v1/cluster/nodes", body, {"Content-Type": "application/json"})).status == 201
    assert (await gateway.ask("POST", "/v1/cluster/nodes", body)).status == 200
    assert gateway.control.admitted[0].weight == 2.0
    assert (await gateway.ask("POST", "/v1/cluster/nodes", body, {"Content-Type": "text/plain"})).status == 415
    assert (await gateway.ask("POST", "/v1/cluster/nodes", b"x" * 70_000)).code == "body_too_large"
