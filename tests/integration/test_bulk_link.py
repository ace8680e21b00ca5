"""A wiped node is filled over a connection of its own, and losing that connection costs nothing but time."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from probe.copies import compare_copies
from probe.processes import Cluster, ask, wait_until
from probe.proxy import Proxy

pytestmark = pytest.mark.asyncio(loop_scope="function")

# A fill takes a few seconds, and the log reaches back to no write that was made before.
SETTINGS = {
    "KVSTORE_PARTITIONS": "4",
    "KVSTORE_LOG_RETENTION_S": "0.1",
    "KVSTORE_BACKFILL_BYTES_PER_S": "400000",
}
RNG = random.Random(1)
KEYS = {f"k{number}": RNG.randbytes(4000).hex().encode() for number in range(200)}
DATA_BYTES = sum(map(len, KEYS.values()))
SHARE_MAX = 0.6
OTHER_TALK_BYTES_MAX = 200_000


@dataclass
class Pair:
    """Two nodes, each behind a proxy that runs in the test's loop: whatever waits for them does so in a thread."""

    cluster: Cluster
    proxies: dict[str, Proxy]

    @property
    def filled_bytes(self) -> int:
        """How much came to n2 as data."""
        return self.proxies["n1"].carried["bulk"]

    async def start(self, name: str) -> None:
        process = self.cluster.start_node(name, KVSTORE_ADVERTISE=self.proxies[name].address)
        await self.proxies[name].forward_to(process.pid)
        await asyncio.to_thread(process.wait_ready)

    async def put(self, key: str, value: bytes) -> None:
        assert (await asyncio.to_thread(self.cluster.put, key, value)).status in (201, 204)

    async def until(self, holds: Callable[[], bool]) -> None:
        await asyncio.to_thread(wait_until, holds)

    async def wipe(self) -> None:
        """n2 loses its disk and is started on an empty one."""
        await asyncio.to_thread(self.cluster.nodes["n2"].end, signal.SIGKILL)
        shutil.rmtree(self.cluster.data / "n2")
        for proxy in self.proxies.values():
            proxy.carried.clear()
        await self.start("n2")

    def is_healthy(self) -> bool:
        return bool(self.cluster.status()["state"] == "healthy")

    def sample(self, node: str, pattern: str) -> float:
        """The sum of the samples of a node's metrics whose line begins like `pattern`."""
        text = ask(f"http://{self.cluster.nodes[node].address}/metrics", "GET").body.decode()
        return sum(float(value) for value in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))

    def assert_whole(self, keys: dict[str, bytes]) -> None:
        for key, value in keys.items():
            assert self.cluster.ask("GET", f"/v1/kv/{key}").body == value
        for node in self.cluster.nodes.values():
            assert node.complaints == []
            assert not [line for line in node.err if '"alarm"' in line]


@pytest_asyncio.fixture
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    cluster = Cluster(tmp_path_factory.mktemp("pair"), 2, **SETTINGS)
    pair = Pair(cluster, {name: await Proxy(RNG).listen() for name in ("n1", "n2")})
    try:
        await asyncio.gather(pair.start("n1"), pair.start("n2"))
        await asyncio.to_thread(cluster.wait_ready)
        for key, value in KEYS.items():
            await pair.put(key, value)
        yield pair
    finally:
        cluster.close()
        for proxy in pair.proxies.values():
            await proxy.close()


async def compare(pair: Pair, keys: int) -> None:
    held = await compare_copies(await asyncio.to_thread(pair.cluster.status), pair.proxies["n1"].cluster_id)
    assert held == {"n1": keys, "n2": keys}


async def test_a_wiped_node_is_filled_over_a_connection_of_its_own_and_compressed(pair: Pair) -> None:
    await pair.wipe()
    await pair.until(pair.is_healthy)
    assert await asyncio.to_thread(pair.sample, "n2", "kvstore_node_backfills_total") >= 4
    chunk_bytes, wire_bytes = [
        await asyncio.to_thread(pair.sample, "n1", f"kvstore_node_{name}_total")
        for name in ("chunk_bytes", "chunk_wire_bytes")
    ]
    assert chunk_bytes >= DATA_BYTES
    assert wire_bytes < SHARE_MAX * chunk_bytes
    assert wire_bytes < pair.filled_bytes < SHARE_MAX * chunk_bytes
    assert all(proxy.carried["node"] < OTHER_TALK_BYTES_MAX for proxy in pair.proxies.values())
    await asyncio.to_thread(pair.assert_whole, KEYS)
    await compare(pair, len(KEYS))


async def test_losing_that_connection_in_the_middle_loses_nothing_and_holds_no_replication_up(pair: Pair) -> None:
    await pair.wipe()
    to_leader = pair.proxies["n1"]
    for _ in range(3):
        before = pair.filled_bytes
        await pair.until(lambda before=before: pair.filled_bytes > before + DATA_BYTES // 20)
        to_leader.cut("bulk")
        to_leader.heal()
    await pair.until(lambda: pair.filled_bytes > DATA_BYTES // 5)
    assert not await asyncio.to_thread(pair.is_healthy)

    to_leader.cut("bulk")
    for number in range(20):
        await pair.put(f"during{number}", b"more")
    assert (await asyncio.to_thread(pair.cluster.ask, "DELETE", "/v1/kv/k7")).status == 204
    await pair.until(lambda: not pair.sample("n1", r'kvstore_node_log_lag_records{follower="n2",partition="\d+"}'))
    assert await asyncio.to_thread(pair.sample, "n2", r'kvstore_node_catchup_bytes{follower="n2",partition="\d+"}') > 0
    assert not await asyncio.to_thread(pair.is_healthy)
    to_leader.heal()

    await pair.until(pair.is_healthy)
    assert to_leader.cuts >= 4
    kept = {**KEYS, **{f"during{number}": b"more" for number in range(20)}}
    del kept["k7"]
    await asyncio.to_thread(pair.assert_whole, kept)
    await compare(pair, len(kept))
