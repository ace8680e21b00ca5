"""Nodes that lead no more, do not answer, or vanish: what a caller is told, and what is tried again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from cluster.control.messages import ClusterView, NodeView
from cluster.gateway import breaker
from cluster.gateway.breaker import FAILURES_MAX
from kvstore.messages import Fault, MapUpdate
from kvstore.storage.records import encode_value


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


async def test_two_nodes_that_name_each_other_are_asked_a_few_times(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=60)
    for node in gateway.nodes:
        node.fault = Fault("wrong_leader", "the other one")
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).code == "no_leader"
    assert gateway.writes == 5


async def test_a_partition_without_leader_is_told_with_retry_after(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.1)
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


async def test_a_refusal_is_tried_again_until_the_time_is_nearly_over_and_then_told(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.5)
    for node in gateway.nodes:
        node.fault = Fault("no_leader", "not yet")
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).code == "no_leader"
    assert gateway.writes > 2


@pytest.mark.parametrize(("method", "status"), [("PUT", 201), ("GET", 200), ("DELETE", 204)])
async def test_a_change_of_leader_is_a_delay_and_no_error(gateway: Any, method: str, status: int) -> None:
    pid = gateway.router.route("default", b"a").pid
    old, new = gateway.nodes[pid % 2], gateway.nodes[1 - pid % 2]
    if method != "PUT":
        new.rows[b"a"] = encode_value(1, 1, 0, "text/plain", b"x")
    old.fault = Fault("no_leader", "another node is about to lead")
    asked = asyncio.create_task(gateway.ask(method, "/v1/kv/a", b"x" if method == "PUT" else None))
    await gateway.until(lambda: old.writes + old.reads > 3)
    new.entries[pid] = gateway.entry(pid, 2, new)
    gateway.dispatcher.take(MapUpdate(2, [], [new.entries[pid]]))
    assert (await asked).status == status


async def test_the_operations_of_a_batch_share_one_patience(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=1)
    for node in gateway.nodes:
        node.fault = Fault("no_leader", "not yet")
    ops = [{"op": "put", "key": "a", "value": "x"}] * 30
    async with asyncio.timeout(10):
        answer = await gateway.ask("POST", "/v1/batch", json.dumps({"ops": ops}).encode())
    assert {result["code"] for result in json.loads(answer.body)["results"]} == {"no_leader"}


@pytest.mark.parametrize(
    ("code", "status"),
    [("overloaded", 429), ("not_enough_copies", 503), ("storage_full", 507), ("locked", 503)],
)
async def test_other_faults_are_told_at_once(gateway: Any, code: str, status: int) -> None:
    for node in gateway.nodes:
        node.fault = Fault(code, "so it is")
    answer = await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert answer.status == status
    assert gateway.writes == 1


async def test_a_write_without_answer_is_unknown(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    for node in gateway.nodes:
        node.is_silent = True
    answer = await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert (answer.status, answer.code) == (504, "outcome_unknown")
    assert gateway.writes == 1
    assert (await gateway.ask("GET", "/v1/kv/a")).code == "no_leader"


async def test_a_write_whose_connection_breaks_every_time_is_unknown(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.5)
    for node in gateway.nodes:
        node.cuts_after_writes = True
    assert (await gateway.ask("DELETE", "/v1/kv/a")).code == "outcome_unknown"
    batch = {"ops": [{"op": "put", "key": "a", "value": "x"}]}
    await gateway.until(lambda: gateway.links_up == 2)
    answer = await gateway.ask("POST", "/v1/batch", json.dumps(batch).encode())
    assert json.loads(answer.body)["results"][0]["code"] == "outcome_unknown"


async def test_a_read_whose_connection_breaks_is_tried_again(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"x")
    node = gateway.nodes[gateway.router.route("default", b"a").pid % 2]
    node.is_silent = True
    asked = asyncio.create_task(gateway.ask("GET", "/v1/kv/a"))
    await gateway.until(lambda: node.reads == 1)
    node.is_silent = False
    node.cut_all()
    assert (await asked).body == b"x"


# ---- nodes that are not called ----------------------------------------------------------------------------------


async def breaker_of(gateway: Any, name: str) -> str:
    gateway.control.view = ClusterView("healthy", 7, (NodeView(name, "127.0.0.1:1", "z", 1.0, "up", 1, 0, 2, 3),), ())
    return str(json.loads((await gateway.ask("GET", "/v1/cluster")).body)["nodes"][0]["breaker"])


async def test_a_node_that_does_not_answer_is_not_called_any_more_until_it_does(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.2)
    node = gateway.nodes[gateway.router.route("default", b"a").pid % 2]
    node.is_silent = True
    assert await breaker_of(gateway, node.name) == "closed"
    for _ in range(FAILURES_MAX):
        assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).code == "outcome_unknown"
    assert await breaker_of(gateway, node.name) == "open"
    answer = await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert (answer.code, answer.headers["retry-after"]) == ("no_leader", "1"), "definite, for nothing was sent"
    assert node.writes == FAILURES_MAX
    node.is_silent = False
    async with asyncio.timeout(10):
        while (await gateway.ask("PUT", "/v1/kv/a", b"x")).status != 201:
            pass
    assert await breaker_of(gateway, node.name) == "closed"


async def test_one_call_at_a_time_finds_out_whether_a_node_answers(start_gateway: Any) -> None:
    gateway = await start_gateway()
    node = gateway.nodes[gateway.router.route("default", b"a").pid % 2]
    node.is_silent = True
    gateway.dispatcher.links._nodes[node.name][1].link_down()
    asked = [asyncio.create_task(gateway.ask("PUT", "/v1/kv/a", b"x")) for _ in range(5)]
    await gateway.until(lambda: node.writes == 1)
    assert await breaker_of(gateway, node.name) == "half_open"
    node.is_silent = False
    node.cut_all()
    statuses = sorted([(await one).status for one in asked])
    assert statuses == [201, 204, 204, 204, 204], "the others waited, and the first was sent again"


async def test_nobody_waits_for_a_node_that_has_been_away_for_long(
    start_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LASTING_S", 0.0)
    gateway = await start_gateway(request_timeout_s=60)
    for node in gateway.nodes:
        await node.stop()
    await gateway.until(lambda: gateway.links_up == 0)
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).code == "no_leader"
    assert (await gateway.ask("GET", "/v1/kv/a")).code == "no_leader"


async def test_a_node_that_is_gone_is_no_leader_for_reads_and_writes(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.2)
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
