"""Comparing all copies through a gateway: a verdict on every partition, or none."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from cluster.gateway import verifier
from kvstore.messages import DifferentKey, DigestedCopy, Verified, Verify

COPIES = [DigestedCopy("n1", 3, 30), DigestedCopy("n2", 3, 30)]


async def verify(gateway: Any) -> dict[str, Any]:
    answer = await gateway.ask("POST", "/v1/cluster/verify")
    assert answer.status == 200, answer
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


def running(asked: Verify) -> Verified:
    return Verified(asked.pid, 1, 0, "running")


async def test_every_partition_is_compared_by_its_leader(gateway: Any) -> None:
    assert await verify(gateway) == {"ok": True, "partitions": 4, "differences": [], "left_out": []}
    assert [sorted(asked.pid for asked in node.verifies) for node in gateway.nodes] == [[2, 4], [1, 3]]


async def test_a_difference_names_partition_copies_and_keys(gateway: Any) -> None:
    keys = [DifferentKey(b"a", [("n1", 1, 2), ("n2", 0, 0)]), DifferentKey(b"\xff", [("n1", 1, 2), ("n2", 1, 3)])]
    clean = gateway.nodes[1].verdict
    gateway.nodes[1].verdict = lambda asked: (
        clean(asked)
        if asked.pid == 1
        else Verified(3, 1, 9, "different", copies=COPIES, differs=["n2"], parts=["keys"], keys=keys, more=True)
    )
    found = await verify(gateway)
    assert (found["ok"], found["partitions"]) == (False, 4)
    assert found["differences"] == [
        {
            "partition": 3,
            "copies": ["n1", "n2"],
            "parts": ["keys"],
            "keys": [
                {"key": "a", "etags": {"n1": "3.1.2", "n2": None}},
                {"key_b64": "/w==", "etags": {"n1": "3.1.2", "n2": "3.1.3"}},
            ],
            "more": True,
        }
    ]


async def test_copies_that_are_not_in_sync_are_named_as_left_out(gateway: Any) -> None:
    for node in gateway.nodes:
        node.verdict = lambda asked: Verified(asked.pid, 1, 9, "clean", copies=COPIES[:1])
    found = await verify(gateway)
    assert found["ok"]
    assert found["left_out"] == [{"partition": pid, "copies": ["n2"]} for pid in range(1, 5)]


async def test_a_verification_is_asked_for_under_one_name_until_it_is_over(gateway: Any) -> None:
    node = gateway.nodes[0]
    clean = node.verdict
    node.verdict = lambda asked: (
        running(asked) if sum(one.pid == asked.pid for one in node.verifies) < 3 else clean(asked)
    )
    assert (await verify(gateway))["ok"]
    names = {pid: {one.name for one in node.verifies if one.pid == pid} for pid in (2, 4)}
    assert [len(one) for one in names.values()] == [1, 1]
    assert names[2] != names[4]


async def test_a_new_leader_is_asked_again(gateway: Any) -> None:
    entry = gateway.entry(1, 2, gateway.nodes[0])
    for node in gateway.nodes:
        node.entries[1] = entry
    assert (await verify(gateway))["ok"]
    assert 1 in {one.pid for one in gateway.nodes[0].verifies}


@pytest.mark.parametrize("verdict", [lambda asked: Verified(asked.pid, 1, 0, "unfinished", "n2 is silent")])
async def test_without_a_verdict_on_one_partition_there_is_no_answer_but_its_name(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, verdict: Any
) -> None:
    monkeypatch.setattr(verifier, "PATIENCE_S", 0.3)
    gateway.nodes[1].verdict = verdict
    answer = await gateway.ask("POST", "/v1/cluster/verify")
    assert (answer.status, answer.code) == (503, "no_leader")
    assert "partition" in answer.detail
    assert "n2 is silent" in answer.detail


async def test_a_partition_without_a_leader_is_named(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "PATIENCE_S", 0.3)
    gateway.router.take_entry(gateway.entry(2, 2, None))
    answer = await gateway.ask("POST", "/v1/cluster/verify")
    assert (answer.status, answer.code) == (503, "no_leader")
    assert "partition 2 " in answer.detail


async def test_one_comparison_runs_at_a_time(gateway: Any) -> None:
    clean = gateway.nodes[0].verdict
    gateway.nodes[0].verdict = running
    first = asyncio.ensure_future(gateway.ask("POST", "/v1/cluster/verify"))
    await gateway.until(lambda: gateway.nodes[0].verifies)
    answer = await gateway.ask("POST", "/v1/cluster/verify")
    assert (answer.status, answer.code) == (429, "overloaded")
    gateway.nodes[0].verdict = clean
    assert (await first).status == 200
    assert (await verify(gateway))["ok"]


async def test_it_takes_no_body_and_no_other_method(gateway: Any) -> None:
    assert (await gateway.ask("POST", "/v1/cluster/verify", b"{}")).code == "bad_body"
    assert (await gateway.ask("GET", "/v1/cluster/verify")).code == "method_not_allowed"


async def test_before_anything_is_placed_there_is_nothing_to_compare(start_gateway: Any) -> None:
    gateway = await start_gateway(is_placed=False)
    answer = await gateway.ask("POST", "/v1/cluster/verify")
    assert (answer.status, answer.code) == (503, "no_leader")
