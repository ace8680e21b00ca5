"""How a keyspace is spread, through a gateway: what nodes tell is added up, and who does not tell is named."""

from __future__ import annotations

from typing import Any

import msgspec

from kvstore.messages import CopyReport, GroupBy, Heat, Heated, HeatOf

PATH = "/v1/keyspaces/default/balance"


def copy(pid: int, *, keys: int = 10, reads: float = 0.0, writes: float = 0.0, **fields: Any) -> HeatOf:
    return HeatOf(CopyReport(pid, 1, True, keys, 10 * keys, reads=reads, writes=writes), **fields)


def tell(gateway: Any, n1: list[HeatOf], n2: list[HeatOf]) -> None:
    gateway.nodes[0].heat, gateway.nodes[1].heat = Heat(n1), Heat(n2)


async def balance(gateway: Any, path: str = PATH) -> dict[str, Any]:
    answer = await gateway.ask("GET", path)
    assert answer.status == 200, answer
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


async def test_keys_are_those_of_the_leader_and_load_is_that_of_all_copies(gateway: Any) -> None:
    tell(
        gateway,
        [copy(2, keys=20, reads=30.0, writes=10.0), copy(1, keys=11, reads=5.0)],
        [copy(1, keys=10, reads=40.0, writes=2.0), copy(2, keys=19), copy(99, keys=1000)],
    )
    found = await balance(gateway)
    assert found["partitions"] == [
        {"partition": 1, "leader": "n2", "keys": 10, "bytes": 100, "reads_per_second": 45.0, "writes_per_second": 2.0},
        {"partition": 2, "leader": "n1", "keys": 20, "bytes": 200, "reads_per_second": 30.0, "writes_per_second": 10.0},
        *(
            {
                **dict.fromkeys(("keys", "bytes", "reads_per_second", "writes_per_second")),
                "partition": pid,
                "leader": leader,
            }
            for pid, leader in ((3, "n2"), (4, "n1"))
        ),
    ]
    assert (found["keys"], found["bytes"], found["reads_per_second"], found["writes_per_second"]) == (
        30,
        300,
        75.0,
        12.0,
    )
    assert found["hottest_partitions"] == [1, 2]
    assert (found["keyspace"], found["strategy"], found["words"], found["missing"]) == ("default", "consistent", [], [])


async def test_nodes_stand_beside_what_would_be_even(gateway: Any) -> None:
    tell(gateway, [copy(2, keys=30, writes=10.0), copy(1, keys=30)], [copy(1, keys=20, writes=30.0)])
    n1, n2 = (await balance(gateway))["nodes"]
    assert n1 == {
        "node": "n1",
        "copies": 2,
        "leads": 2,
        "keys": 60,
        "bytes": 600,
        "reads_per_second": 0.0,
        "writes_per_second": 10.0,
        "keys_share": 0.75,
        "load_share": 0.25,
        "even_share": 0.5,
    }
    assert (n2["copies"], n2["keys_share"], n2["load_share"]) == (1, 0.25, 0.75)


async def test_where_there_is_nothing_there_are_no_shares(gateway: Any) -> None:
    found = await balance(gateway)
    assert [node["keys_share"] for node in found["nodes"]] == [None, None]
    assert [node["load_share"] for node in found["nodes"]] == [None, None]


async def test_the_hottest_keys_are_told_whatever_their_bytes(gateway: Any) -> None:
    hot = [Heated(b"hot", 50.0), Heated(b"\xff", 20.0), Heated(b"cold", 0.01)]
    tell(gateway, [copy(1, hottest=[Heated(b"hot", 5.0)])], [copy(1, hottest=hot)])
    assert (await balance(gateway))["hottest_keys"] == [
        {"key": "hot", "partition": 1, "operations_per_second": 55.0},
        {"key_b64": "/w==", "partition": 1, "operations_per_second": 20.0},
    ]


async def test_a_bad_shard_key_is_said_to_be_one(gateway: Any) -> None:
    groups = [Heated(b"acme", 0.9)]
    tell(gateway, [copy(2, writes=50.0, is_rising=True, looked_at=64, groups=groups)], [])
    found = await balance(gateway)
    assert [word["code"] for word in found["words"]] == ["few_values", "rising"]
    assert "'acme'" in found["words"][0]["text"]


async def test_nodes_are_asked_for_the_partitions_of_the_keyspace_by_shard_key(gateway: Any) -> None:
    await balance(gateway)
    (asked,) = gateway.nodes[0].heat_asked
    assert (asked.pids, asked.by) == ([1, 2, 3, 4], GroupBy.SHARD_KEY)


async def test_a_node_that_does_not_answer_is_named(gateway: Any) -> None:
    tell(gateway, [copy(1, keys=7)], [copy(1, keys=8)])
    gateway.nodes[1].is_silent = True
    gateway.nodes[1].cut_all()
    found = await balance(gateway)
    assert found["missing"] == ["n2"]
    assert found["partitions"][0]["keys"] == 7
    assert [node["node"] for node in found["nodes"]] == ["n1"]


async def test_it_takes_no_body_no_parameter_and_no_other_method(gateway: Any) -> None:
    assert (await gateway.ask("GET", PATH, b"{}")).code == "bad_body"
    assert (await gateway.ask("GET", f"{PATH}?keys=1")).code == "bad_parameter"
    refused = await gateway.ask("POST", PATH, b"")
    assert (refused.code, refused.headers["allow"]) == ("method_not_allowed", "GET, HEAD")
    head = await gateway.ask("HEAD", PATH)
    assert (head.status, head.body) == (200, b"")


async def test_a_keyspace_that_is_not_there_is_404(gateway: Any) -> None:
    assert (await gateway.ask("GET", "/v1/keyspaces/other/balance")).code == "not_found"
    assert (await gateway.ask("GET", "/v1/balance")).code == "not_found"


async def test_before_anything_is_placed_there_is_nothing_to_tell(start_gateway: Any) -> None:
    gateway = await start_gateway(is_placed=False)
    assert (await gateway.ask("GET", PATH)).code == "no_leader"
