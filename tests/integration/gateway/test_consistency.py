"""Reads by what is asked of the answer: which copy is asked, and what the headers promise."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from cluster.gateway import breaker
from cluster.gateway.breaker import FAILURES_MAX
from kvstore.map_values import NodeInfo
from kvstore.messages import Fault, MapUpdate
from kvstore.storage.records import encode_value
from kvstore.txn.log_end import LOCKED

STALE = "/v1/kv/a?consistency=stale"
TOO_STALE = Fault("no_leader", "further behind than asked for")


def put_everywhere(gateway: Any, value: bytes = b"x", expiry_ms: int = 0) -> None:
    for node in gateway.nodes:
        node.rows[b"a"] = encode_value(1, 1, expiry_ms, "text/plain", value)


def leader_and_follower(gateway: Any) -> tuple[Any, Any]:
    pid = gateway.router.route("default", b"a").pid
    return gateway.nodes[pid % 2], gateway.nodes[1 - pid % 2]


async def test_a_quorum_read_is_asked_of_the_leader_as_such(gateway: Any) -> None:
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    answer = await gateway.ask("GET", "/v1/kv/a?consistency=quorum")
    assert (answer.status, answer.body, answer.headers["cache-control"]) == (200, b"x", "no-store")
    assert "x-kv-lag-ms" not in answer.headers
    assert (leader.quorum_reads, follower.reads) == (1, 0)
    await gateway.ask("GET", "/v1/kv/a?consistency=strong")
    assert (leader.quorum_reads, leader.reads) == (1, 2)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_stale_read_is_asked_of_a_follower_and_tells_its_lag(gateway: Any, method: str) -> None:
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    follower.lag_ms = 321
    client = await gateway.connect()
    answer = await client.ask(method, STALE)
    assert (answer.status, answer.headers["content-length"]) == (200, "1")
    assert (answer.headers["x-kv-lag-ms"], answer.headers["cache-control"]) == ("321", "no-store")
    assert answer.headers["etag"]
    assert (leader.stale_reads, follower.stale_reads) == ([], [None])


async def test_what_is_not_there_tells_its_lag_too(gateway: Any) -> None:
    _, follower = leader_and_follower(gateway)
    follower.lag_ms = 7
    answer = await gateway.ask("GET", f"{STALE}&max_stale=60")
    assert (answer.status, answer.code) == (404, "key_not_found")
    assert (answer.headers["x-kv-lag-ms"], answer.headers["cache-control"]) == ("7", "no-store")
    strong = await gateway.ask("GET", "/v1/kv/a")
    assert "x-kv-lag-ms" not in strong.headers
    assert strong.headers["cache-control"] == "no-store"


async def test_conditions_hold_for_stale_reads(gateway: Any) -> None:
    put_everywhere(gateway)
    tag = (await gateway.ask("GET", STALE)).headers["etag"]
    answer = await gateway.ask("GET", STALE, None, {"If-None-Match": tag})
    assert (answer.status, answer.headers["x-kv-lag-ms"]) == (304, "0")
    assert (await gateway.ask("GET", STALE, None, {"If-Match": '"other"'})).status == 412


@pytest.mark.parametrize(
    ("max_stale", "lag_ms", "cache_control"),
    [
        ("5", 0, "private, max-age=5"),
        ("5", 1, "private, max-age=4"),
        ("2.5", 1400, "private, max-age=1"),
        ("2.5", 1501, "no-store"),
        ("0.9", 0, "no-store"),
    ],
)
async def test_a_cache_may_keep_it_for_the_whole_seconds_that_are_left(
    gateway: Any, max_stale: str, lag_ms: int, cache_control: str
) -> None:
    put_everywhere(gateway)
    for node in gateway.nodes:
        node.lag_ms = lag_ms
    answer = await gateway.ask("GET", f"{STALE}&max_stale={max_stale}")
    assert answer.headers["cache-control"] == cache_control


@pytest.mark.parametrize(("max_stale", "asked_ms"), [("1", 1000), ("0.0015", 1), ("0.0001", 0), ("1.001", 1001)])
async def test_a_node_is_asked_for_no_more_than_the_client_allows(gateway: Any, max_stale: str, asked_ms: int) -> None:
    put_everywhere(gateway)
    _, follower = leader_and_follower(gateway)
    await gateway.ask("GET", f"{STALE}&max_stale={max_stale}")
    assert follower.stale_reads == [asked_ms]


@pytest.mark.parametrize("text", ["", "0", "0.0", "-1", "+1", "1e3", "NaN", "inf", "1.", ".5", "٣", "1_0", "9" * 20])
async def test_a_max_stale_that_is_no_positive_decimal_is_refused(gateway: Any, text: str) -> None:
    answer = await gateway.ask("GET", f"{STALE}&max_stale={quote(text)}")
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert "max_stale" in answer.detail


@pytest.mark.parametrize("query", ["max_stale=1", "consistency=strong&max_stale=1", "max_stale=1&consistency=quorum"])
async def test_max_stale_is_for_stale_reads_only(gateway: Any, query: str) -> None:
    answer = await gateway.ask("GET", f"/v1/kv/a?{query}")
    assert (answer.status, answer.code) == (400, "bad_parameter")
    assert "max_stale" in answer.detail


# ---- copies that do not answer ----------------------------------------------------------------------------------


async def test_where_followers_refuse_the_leader_is_asked(gateway: Any) -> None:
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    follower.stale_fault = TOO_STALE
    answer = await gateway.ask("GET", f"{STALE}&max_stale=0.1")
    assert (answer.status, answer.headers["x-kv-lag-ms"]) == (200, "0")
    assert (follower.stale_reads, leader.stale_reads) == ([100], [100])


async def test_where_all_refuse_it_is_told_why_after_the_patience(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    for node in gateway.nodes:
        node.stale_fault = TOO_STALE
    answer = await gateway.ask("GET", STALE)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "no_leader", "1")
    assert TOO_STALE.detail in answer.detail
    assert len(gateway.nodes[0].stale_reads) > 1, "it was tried again meanwhile"


async def test_where_one_copy_finds_the_key_locked_another_is_asked(gateway: Any) -> None:
    put_everywhere(gateway)
    _, follower = leader_and_follower(gateway)
    follower.stale_fault = LOCKED
    assert (await gateway.ask("GET", STALE)).status == 200


async def test_a_key_that_stays_locked_at_every_copy_is_refused_as_locked(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    leader, follower = leader_and_follower(gateway)
    follower.stale_fault, leader.stale_fault = TOO_STALE, LOCKED
    answer = await gateway.ask("GET", STALE)
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "locked", "1")
    assert len(leader.stale_reads) > 1, "it was tried again meanwhile"


async def test_a_copy_that_answers_later_ends_the_wait(gateway: Any) -> None:
    put_everywhere(gateway)
    for node in gateway.nodes:
        node.stale_fault = TOO_STALE
    asked = asyncio.create_task(gateway.ask("GET", STALE))
    await gateway.until(lambda: len(gateway.nodes[0].stale_reads) > 2)
    gateway.nodes[0].stale_fault = None
    assert (await asked).status == 200


async def test_without_a_leader_followers_answer(gateway: Any) -> None:
    put_everywhere(gateway)
    gateway.dispatcher.take(MapUpdate(2, [], [gateway.entry(pid, 2, None) for pid in range(1, 5)]))
    for _ in range(4):
        assert (await gateway.ask("GET", STALE)).status == 200
    assert all(node.stale_reads for node in gateway.nodes), "they take turns"


async def test_a_node_that_is_gone_is_passed_over(gateway: Any) -> None:
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    await follower.stop()
    await gateway.until(lambda: gateway.links_up == 1)
    assert (await gateway.ask("GET", STALE)).status == 200
    assert leader.stale_reads == [None]


async def test_a_silent_node_delays_a_read_until_its_breaker_opens(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=60)
    put_everywhere(gateway)
    _, follower = leader_and_follower(gateway)
    follower.is_silent = True
    asked = [asyncio.create_task(gateway.ask("GET", STALE)) for _ in range(FAILURES_MAX)]
    assert [(await one).status for one in asked] == [200] * FAILURES_MAX
    assert gateway.dispatcher.links.breakers()[follower.name] is breaker.State.OPEN
    assert len(follower.stale_reads) == FAILURES_MAX


async def test_nobody_waits_where_all_copies_have_been_away_for_long(
    start_gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "LASTING_S", 0.0)
    gateway = await start_gateway(request_timeout_s=60)
    for node in gateway.nodes:
        await node.stop()
    await gateway.until(lambda: gateway.links_up == 0)
    assert (await gateway.ask("GET", STALE)).code == "no_leader"


async def test_a_copy_that_knows_a_newer_entry_tells_it(gateway: Any) -> None:
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    pid = gateway.router.route("default", b"a").pid
    follower.stale_fault = Fault("no_leader", "not in sync", gateway.entry(pid, 7, leader))
    assert (await gateway.ask("GET", STALE)).status == 200
    assert gateway.router.map.entries[pid].ver == 7


async def test_an_unknown_keyspace_is_not_found(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/v1/keyspaces/other/kv/a?consistency=stale")).code == "not_found"


# ---- zones ------------------------------------------------------------------------------------------------------


async def test_copies_in_the_gateways_own_zone_are_asked_before_the_others(start_gateway: Any) -> None:
    gateway = await start_gateway(zone="here")
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    for near, far in ((leader, follower), (follower, leader)):
        nodes = [NodeInfo(one.name, f"127.0.0.1:{one.port}", "there", 1.0, 1) for one in (near, far)]
        nodes[0] = msgspec.structs.replace(nodes[0], zone="here")
        gateway.dispatcher.take(MapUpdate(gateway.router.map.map_ver + 1, nodes, []))
        near.stale_reads.clear()
        far.stale_reads.clear()
        for _ in range(4):
            assert (await gateway.ask("GET", STALE)).status == 200
        assert (len(near.stale_reads), len(far.stale_reads)) == (4, 0)


async def test_a_gateway_in_no_zone_asks_followers_first(gateway: Any) -> None:
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    for _ in range(4):
        await gateway.ask("GET", STALE)
    assert (len(leader.stale_reads), len(follower.stale_reads)) == (0, 4)


async def test_where_nobody_near_answers_those_in_other_zones_are_asked(start_gateway: Any) -> None:
    gateway = await start_gateway(zone="here")
    put_everywhere(gateway)
    leader, follower = leader_and_follower(gateway)
    near = NodeInfo(follower.name, f"127.0.0.1:{follower.port}", "here", 1.0, 1)
    gateway.dispatcher.take(MapUpdate(gateway.router.map.map_ver + 1, [near], []))
    follower.stale_fault = Fault("no_leader", "behind")
    assert (await gateway.ask("GET", STALE)).status == 200
    assert len(leader.stale_reads) == 1
