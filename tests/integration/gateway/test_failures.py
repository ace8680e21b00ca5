"""Nodes that lead no more, do not answer, or vanish: what a caller is told, and what is tried again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvstore.messages import Fault, MapUpdate


async def test_a_stale_map_heals_by_what_the_old_leader_says(gateway: Any) -> None:
    first, second = gateway.nodes
    for pid in range(1, 5):
        moved = gateway.entry(pid, 2, first)
        first.entries[pid] = second.entries[pid] = moved
    for number in range(20):
        assert (await gateway.ask("PUT", f"/v1/kv/k{number}", b"x")).status == 201
        assert (await gateway.ask("GET", f"/v1/kv/k{number}")).status == 200
    assert not second.rows
    assert second.writes <= 4
    assert all(entry.ver == 2 for entry in gateway.router.map.entries.values() if entry.pid % 2)


async def test_an_older_hint_is_not_taken(gateway: Any) -> None:
    for node in gateway.nodes:
        node.fault = Fault("wrong_leader", "no", gateway.entry(1, 0, gateway.nodes[1]))
    assert (await gateway.ask("GET", "/v1/kv/a")).code == "no_leader"
    assert gateway.router.map.entries[1].ver == 1


async def test_a_partition_without_leader_is_told_with_retry_after(gateway: Any) -> None:
    gateway.dispatcher.take(MapUpdate(2, [], [gateway.entry(pid, 2, None) for pid in range(1, 5)]))
    for method, body in (("GET", None), ("PUT", b"x"), ("DELETE", None)):
        answer = await gateway.ask(method, "/v1/kv/a", body)
        assert (answer.status, answer.code) == (503, "no_leader")
        assert answer.headers["retry-after"]


async def test_before_any_node_joined_there_is_no_leader(start_gateway: Any) -> None:
    gateway = await start_gateway(is_placed=False)
    assert (await gateway.ask("GET", "/v1/kv/a")).code == "no_leader"
    assert (await gateway.ask("GET", "/v1/locate/a")).code == "no_leader"
    assert (await gateway.ask("GET", "/healthz")).status == 200


async def test_a_refusal_is_tried_again_and_then_told(gateway: Any) -> None:
    for node in gateway.nodes:
        node.fault = Fault("no_leader", "not yet")
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).code == "no_leader"
    assert gateway.writes == 4


@pytest.mark.parametrize(
    ("code", "status"),
    [("overloaded", 429), ("not_enough_copies", 503), ("storage_full", 507), ("outcome_unknown", 504)],
)
async def test_other_faults_are_told_at_once(gateway: Any, code: str, status: int) -> None:
    for node in gateway.nodes:
        node.fault = Fault(code, "so it is")
    answer = await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert answer.status == status
    assert gateway.writes == 1


async def test_a_write_without_answer_is_unknown_and_not_sent_again(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    for node in gateway.nodes:
        node.is_silent = True
    answer = await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert (answer.status, answer.code) == (504, "outcome_unknown")
    assert gateway.writes == 1
    assert (await gateway.ask("GET", "/v1/kv/a")).code == "no_leader"


async def test_a_write_whose_connection_breaks_is_unknown(gateway: Any) -> None:
    for node in gateway.nodes:
        node.cuts_after_writes = True
    assert (await gateway.ask("DELETE", "/v1/kv/a")).code == "outcome_unknown"
    assert gateway.writes == 1
    batch = {"ops": [{"op": "put", "key": "a", "value": "x"}]}
    await gateway.until(lambda: gateway.links_up == 2)
    answer = await gateway.ask("POST", "/v1/batch", json.dumps(batch).encode())
    assert json.loads(answer.body)["results"][0]["code"] == "outcome_unknown"


async def test_a_node_that_is_gone_is_no_leader_for_reads_and_writes(gateway: Any) -> None:
    for node in gateway.nodes:
        await node.stop()
    await gateway.until(lambda: gateway.links_up == 0)
    assert (await gateway.ask("GET", "/v1/kv/a")).code == "no_leader"
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).code == "no_leader"


async def test_the_parts_of_a_batch_fail_alone(gateway: Any) -> None:
    gateway.nodes[0].fault = Fault("not_enough_copies", "one copy only")
    ops = [{"op": "put", "key": f"k{number}", "value": "x"} for number in range(50)]
    answer = await gateway.ask("POST", "/v1/batch", json.dumps({"ops": ops}).encode())
    statuses = [result["status"] for result in json.loads(answer.body)["results"]]
    assert set(statuses) == {201, 503}
    assert statuses.count(201) == len(gateway.nodes[1].rows)
