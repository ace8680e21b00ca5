"""How a keyspace is spread on a real cluster under load: hot keys are found, and a bad shard key is said to be one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from probe.processes import Cluster, wait_until
from probe.up import kvstore

from kvstore.client import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = ("n1", "n2")
PARTITIONS = 2
CLIENTS = 16
HOT = "user0001"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One cluster; its nodes forget most of one test's load before the next is over."""
    cluster = Cluster(tmp_path_factory.mktemp("balance"), len(NODES), KVSTORE_PARTITIONS=str(PARTITIONS))
    try:
        for name in NODES:
            cluster.start_node(name)
        await asyncio.to_thread(cluster.wait_ready)
        yield cluster
    finally:
        cluster.close()


async def together(client: Client, action: Callable[[int], Any], count: int) -> None:
    """So many calls, by number, a few at a time."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await action(number)

    await asyncio.gather(*(work() for _ in range(CLIENTS)))


def zipf(count: int) -> list[str]:
    """Keys of which the first few are most of what is drawn."""
    names = [f"user{number:04}" for number in range(1, 1001)]
    return random.Random(1).choices(names, [1 / rank**1.2 for rank in range(1, 1001)], k=count)


async def test_under_a_zipf_load_the_hottest_key_is_found(cluster: Cluster) -> None:
    drawn = zipf(6000)
    async with Client(cluster.url) as client:
        for name in sorted(set(drawn)):
            await client.put(name, b"x" * 20)
        await together(client, lambda number: client.get(drawn[number]), len(drawn))
        view = await client.balance()
        where = await client.locate(HOT)
    hottest = view["hottest_keys"][0]
    assert (hottest["key"], hottest["partition"]) == (HOT, where["partition"])
    assert hottest["operations_per_second"] > 0
    assert view["hottest_partitions"][0] == where["partition"]
    assert view["keys"] == len(set(drawn))
    assert view["bytes"] == 28 * len(set(drawn))
    assert sum(one["keys"] for one in view["partitions"]) == view["keys"]
    assert sum(one["keys"] for one in view["nodes"]) == 2 * view["keys"]
    assert sum(one["load_share"] for one in view["nodes"]) == pytest.approx(1, abs=0.01)
    assert view["reads_per_second"] > view["writes_per_second"] > 0


async def test_keys_that_rise_are_noticed_and_keys_by_chance_are_not(cluster: Cluster) -> None:
    rng = random.Random(2)
    async with Client(cluster.url) as client:
        await together(client, lambda _: client.put(f"c{rng.randrange(10**9):09}", b"x"), 3000)
        assert "rising" not in {word["code"] for word in (await client.balance())["words"]}
        await together(client, lambda number: client.put(f"id{number:09}", b"x"), 3000)
        assert "rising" in {word["code"] for word in (await client.balance())["words"]}


async def test_of_ranges_rising_keys_are_said_to_be_bad(cluster: Cluster) -> None:
    async with Client(cluster.url) as client:
        await client.create_keyspace("log", "range", partitions=1)
        log = client.keyspace("log")
        await together(client, lambda number: log.put(f"id{number:09}", b"x"), 3000)
        view = await client.balance("log")
    words = {word["code"]: word["text"] for word in view["words"]}
    assert (view["keyspace"], view["strategy"]) == ("log", "range")
    assert "one partition at a time takes all writes" in words["rising"]


async def test_of_a_directory_a_tenant_with_most_of_the_load_is_named(cluster: Cluster) -> None:
    async with Client(cluster.url) as client:
        await client.create_keyspace("shops", "directory", partitions=2)
        shops = client.keyspace("shops")
        await together(client, lambda number: shops.put(f"acme/{number % 700}", b"x"), 5000)
        await together(client, lambda number: shops.put(f"shop{number % 9}/{number}", b"x"), 500)
        view = await client.balance("shops")
    words = {word["code"]: word["text"] for word in view["words"]}
    assert "1 tenant has" in words["few_values"]
    assert "'acme'" in words["few_values"]


async def test_a_shard_key_of_few_values_is_named(cluster: Cluster) -> None:
    async with Client(cluster.url) as client:
        await together(client, lambda number: client.put(f"{{acme}}/{number % 700}", b"x"), 8000)
        words = {word["code"]: word["text"] for word in (await client.balance())["words"]}
    assert "'acme'" in words["few_values"]


async def test_a_node_that_does_not_answer_is_named_and_the_command_says_so(cluster: Cluster) -> None:
    os.kill(cluster.nodes["n2"].pid, signal.SIGSTOP)
    try:
        command = await asyncio.to_thread(kvstore, "balance", "--json", KVSTORE_GATEWAY=cluster.url)
    finally:
        os.kill(cluster.nodes["n2"].pid, signal.SIGCONT)
    assert command.returncode == 3
    view = json.loads(command.stdout)
    assert view["missing"] == ["n2"]
    assert [one["node"] for one in view["nodes"]] == ["n1"]
    assert all(one["keys"] for one in view["partitions"])
    await asyncio.to_thread(wait_until, lambda: kvstore("balance", KVSTORE_GATEWAY=cluster.url).returncode == 0)
