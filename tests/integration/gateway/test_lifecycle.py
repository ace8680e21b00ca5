"""Starting, being watched, and stopping."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog

from cluster.control.messages import ClusterView, NodeView, PartitionView, Ready
from kvstore.messages import Fault


async def test_stopping_finishes_what_runs_and_refuses_what_is_new(gateway: Any) -> None:
    release = asyncio.Event()
    for node in gateway.nodes:
        node.hold = release
    busy, open_one, idle = [await gateway.connect() for _ in range(3)]
    assert (await open_one.ask("GET", "/healthz")).status == 200
    busy.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx")
    await gateway.until(lambda: gateway.writes > 0)
    stopping = asyncio.create_task(gateway.server.stop())
    await asyncio.sleep(0.01)
    refused = await open_one.ask("GET", "/healthz")
    assert (refused.status, refused.code, refused.headers["connection"]) == (503, "shutting_down", "close")
    assert refused.headers["retry-after"]
    assert not stopping.done()
    release.set()
    answer = await busy.answer()
    assert (answer.status, answer.headers["connection"]) == (201, "close")
    await stopping
    assert await idle.is_closed()
    assert gateway.server.connections_count == 0


async def test_stopping_does_not_wait_for_ever(start_gateway: Any) -> None:
    gateway = await start_gateway(stop_timeout_s=0.1)
    for node in gateway.nodes:
        node.is_silent = True
    client = await gateway.connect()
    client.send(b"GET /v1/kv/a HTTP/1.1\r\nHost: t\r\n\r\n")
    await asyncio.sleep(0.05)
    async with asyncio.timeout(3):
        await gateway.server.stop()
    assert await client.is_closed()


async def test_readiness_is_what_control_says(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/readyz")).status == 200
    gateway.control.ready = Ready(False, "partition 3 has no leader")
    answer = await gateway.ask("GET", "/readyz")
    assert (answer.status, answer.code, answer.detail) == (503, "no_leader", "partition 3 has no leader")
    assert (await gateway.ask("GET", "/healthz")).status == 200


async def test_the_cluster_has_the_fields_of_the_contract(gateway: Any) -> None:
    node = NodeView("n1", "127.0.0.1:1", "z", 1.0, "up", 1, 0, 2, 3)
    gateway.control.view = ClusterView("healthy", 7, (node,), (PartitionView(1, "default", 1, "n1", ("n1",), ("n1",)),))
    view = json.loads((await gateway.ask("GET", "/v1/cluster")).body)
    assert set(view) == {"state", "map_version", "nodes", "partitions", "moves"}
    of_node = {"id", "address", "zone", "weight", "state", "leads", "follows", "keys", "bytes", "breaker"}
    assert set(view["nodes"][0]) == of_node
    assert set(view["partitions"][0]) == {
        *("id", "keyspace", "epoch", "leader", "in_sync", "replicas", "unclean_count")
    }


async def test_metrics_count_requests_by_operation_and_outcome(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"x")
    await gateway.ask("GET", "/v1/kv/a")
    await gateway.ask("GET", "/v1/kv/missing")
    await gateway.raw(b"nonsense\r\n\r\n")
    text = (await gateway.ask("GET", "/metrics")).body.decode()
    for operation, outcome in (("put", "ok"), ("get", "ok"), ("get", "key_not_found"), ("refused", "bad_request")):
        assert f'kvstore_gateway_request_seconds_count{{operation="{operation}",outcome="{outcome}"}} 1.0' in text


async def test_the_contract_is_there_and_head_has_no_body(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/openapi.yaml")).body.startswith(b"openapi:")
    assert (await gateway.ask("HEAD", "/healthz")).headers["content-length"] == "3"


async def test_a_failure_is_one_line_of_log_and_a_success_is_none(gateway: Any) -> None:
    with structlog.testing.capture_logs() as logs:
        await gateway.ask("PUT", "/v1/kv/a", b"x")
        await gateway.ask("GET", "/v1/kv/missing")
        assert not logs
        for node in gateway.nodes:
            node.fault = Fault("not_enough_copies", "one copy only")
        await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert [(line["log_level"], line["code"], line["target"]) for line in logs] == [
        ("warning", "not_enough_copies", "/v1/kv/a")
    ]


async def test_an_error_in_a_handler_is_an_answer_without_a_traceback(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_request: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(gateway.server, "handler", broken)
    with structlog.testing.capture_logs() as logs:
        answer = await gateway.ask("GET", "/healthz")
    assert (answer.status, answer.code, answer.headers["connection"]) == (500, "internal", "close")
    assert b"secret" not in answer.body
    assert [line["log_level"] for line in logs] == ["error"]
