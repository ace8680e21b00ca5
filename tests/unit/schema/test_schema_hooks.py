"""What is sent to try the contract stays on this machine, and what may refuse it is named."""

from __future__ import annotations

from typing import Any

import pytest
from schema.confined import NOBODY, about_members, confined
from schema.refusals import may_be_unbuilt, undecidable

NODES = {"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"}


@pytest.mark.parametrize(
    "address",
    ["example.com:80", "10.0.0.1:22", "[2001:db8::1]:1", "127.0.0.1:2379", "localhost:1", "a:1"],
)
@pytest.mark.parametrize("node", [*(f"node{number}" for number in range(20)), "n1", "", "ü", 5, None])
def test_a_gateway_dials_only_the_nodes_of_its_cluster(address: str, node: Any) -> None:
    body = confined({"id": node, "address": address}, NODES)
    assert body["address"] in {NOBODY, *NODES.values()}
    assert body["address"] == NODES.get(body["id"], NOBODY)


def test_some_admissions_are_of_members() -> None:
    drawn = [confined({"id": f"node{number}", "address": "a:1"}, NODES) for number in range(100)]
    assert {body["id"] for body in drawn} > set(NODES)


def test_some_promotions_are_of_partitions_and_nodes_that_are_there() -> None:
    one = [about_members({"partition": number, "confirmed_stopped": ["x"]}, NODES, 64) for number in range(1000, 1100)]
    ours = [body for body in one if body["confirmed_stopped"] == ["n1", "n2"]]
    assert 10 < len(ours) < 60
    assert {*(1 <= body["partition"] <= 64 for body in ours)} == {True}
    every = [about_members({"all_of": f"x{number}", "confirmed_stopped": ["x"]}, NODES, 64) for number in range(100)]
    assert {body["all_of"] for body in every} > set(NODES)
    assert not any("partition" in body for body in every)


@pytest.mark.parametrize("body", [{}, {"id": "a"}, {"id": "a", "address": 5}, {"id": "a", "address": "nonsense"}])
def test_what_control_refuses_unseen_stays_as_it_is(body: dict[str, Any]) -> None:
    assert confined(body, NODES) == body


def test_a_refusal_counts_for_its_operation_code_and_detail_only() -> None:
    problem = {"code": "bad_parameter", "detail": "start is after end"}
    assert undecidable("scan", problem)
    assert undecidable("headScanIn", problem)
    assert not undecidable("getKey", problem)
    assert not undecidable("scan", {**problem, "code": "bad_request"})
    assert not undecidable("scan", {**problem, "detail": "limit is a whole number"})


def test_not_built_is_only_what_the_contract_says_is_not() -> None:
    problem = {"code": "not_implemented"}
    assert may_be_unbuilt({"operationId": "listKeyspaces", "x-not-built": True}, problem)
    assert not may_be_unbuilt({"operationId": "getKey"}, problem)
    assert not may_be_unbuilt({"operationId": "listKeyspaces", "x-not-built": True}, {"code": "internal"})
