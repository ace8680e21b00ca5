"""`POST /v1/ids`: as many as asked for, as decimal text; anything that is no count is refused by name."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

BAD_COUNTS = ["", "0", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "1_0", "٣", "１", "ten", "10001", "9" * 4000]


async def drawn(gateway: Any, query: str = "") -> list[str]:
    answer = await gateway.ask("POST", f"/v1/ids{query}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    body = json.loads(answer.body)
    assert set(body) == {"ids"}
    return [str(one) for one in body["ids"]]


@pytest.mark.parametrize(
    ("query", "count"), [("", 1), ("?", 1), ("?count=1", 1), ("?count=007", 7), ("?count=10000", 10_000)]
)
async def test_so_many_ids_come_as_asked_for(gateway: Any, query: str, count: int) -> None:
    ids = await drawn(gateway, query)
    assert len(set(ids)) == count
    assert all(one == str(int(one)) and 0 < int(one) < 1 << 63 for one in ids)


async def test_ids_rise_over_requests_though_the_clock_steps_back(gateway: Any) -> None:
    ids: list[int] = []
    for step_ms in (0, 1, -1, 0, 60_000, -90_000, 0):
        gateway.clock_ms += step_ms
        ids += map(int, await drawn(gateway, "?count=5000"))
    assert sorted(set(ids)) == ids


@pytest.mark.parametrize("count", BAD_COUNTS)
async def test_what_is_no_count_is_refused(gateway: Any, count: str) -> None:
    answer = await gateway.ask("POST", f"/v1/ids?count={quote(count)}")
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert "count" in answer.detail
    assert not gateway.control.drawn


@pytest.mark.parametrize(("query", "name"), [("?count=1&count=1", "count"), ("?n=1", "n"), ("?Count=1", "Count")])
async def test_other_parameters_and_doubled_ones_are_refused(gateway: Any, query: str, name: str) -> None:
    answer = await gateway.ask("POST", f"/v1/ids{query}")
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert f"'{name}'" in answer.detail


async def test_a_body_a_token_another_method_and_another_place_are_refused(gateway: Any) -> None:
    assert (await gateway.ask("POST", "/v1/ids", b"")).status == 200
    body = await gateway.ask("POST", "/v1/ids", b"{}")
    assert (body.status, body.code) == (400, "bad_body")
    token = await gateway.ask("POST", "/v1/ids", None, {"Idempotency-Key": "t"})
    assert (token.status, token.code) == (400, "bad_request")
    for method in ("GET", "PUT", "DELETE"):
        answer = await gateway.ask(method, "/v1/ids")
        assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "POST")
    assert (await gateway.ask("POST", "/v1/keyspaces/default/ids")).status == 404


async def test_without_a_window_it_is_503_and_nothing_was_applied(start_gateway: Any) -> None:
    gateway = await start_gateway(is_placed=False, request_timeout_s=0.1)
    gateway.control.may_draw.clear()
    answer = await gateway.ask("POST", "/v1/ids")
    assert (answer.status, answer.code) == (503, "no_leader")
    assert answer.headers["retry-after"]
    gateway.control.may_draw.set()
    assert len(await drawn(gateway)) == 1


async def test_metrics_count_requests_for_ids(gateway: Any) -> None:
    await drawn(gateway)
    text = (await gateway.ask("GET", "/metrics")).body.decode()
    assert 'kvstore_gateway_request_seconds_count{operation="ids",outcome="ok"} 1.0' in text
