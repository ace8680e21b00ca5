"""The copies of every partition of a running cluster, compared behind the back of its gateway.

Guarantees: digests are compared at one and the same seq, on every node that holds a copy; counters are compared with a
recount. Leaves to others: to keep the cluster quiet meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from cluster.control.map_store.embedded import EmbeddedMapStore
from kvstore.messages import DigestOf, DigestResult
from kvstore.rpc.client import Identity, dial
from kvstore.rpc.connection import Connection

PATIENCE_S = 10.0
PAUSE_S = 0.05


class Different(AssertionError):
    """Two copies of a partition differ, or a counter is wrong."""


async def cluster_id(gateway_data: Path) -> bytes:
    """The id of the cluster, read from the map store of a gateway that does not run."""
    store = EmbeddedMapStore(gateway_data)
    try:
        return (await store.load()).cluster_id
    finally:
        await store.close()


async def compare_copies(status: dict[str, Any], cluster: bytes) -> dict[str, int]:
    """Compare all copies; returns for each node how many keys are in its copies.

    Args:
        status: what `GET /v1/cluster` says.

    Raises:
        Different: two copies have another digest at the same seq, or do not come to the same seq.
    """
    keys = {node["id"]: 0 for node in status["nodes"]}
    async with AsyncExitStack() as stack:
        connections = {}
        for node in status["nodes"]:
            connection = await dial(node["address"], Identity(cluster, "probe", "admin"), lambda *_: None, lambda: None)
            stack.push_async_callback(connection.drain_and_close)
            connections[node["id"]] = connection
        for partition in status["partitions"]:
            holders = {node: connections[node] for node in partition["replicas"]}
            for node, digest in (await _at_one_seq(partition["id"], holders)).items():
                keys[node] += digest.keys
    return keys


async def _at_one_seq(pid: int, holders: dict[str, Connection]) -> dict[str, DigestResult]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    at_seq = 0
    while True:
        digests = {node: await _digest(connection, pid, at_seq) for node, connection in holders.items()}
        seqs = {digest.seq for digest in digests.values()}
        if len(seqs) == 1:
            break
        if loop.time() > deadline:
            raise Different(f"partition {pid}: copies stay at {sorted(seqs)}")
        at_seq = max(seqs)
        await asyncio.sleep(PAUSE_S)
    if len({(digest.digest, digest.keys, digest.size_bytes) for digest in digests.values()}) != 1:
        raise Different(f"partition {pid} differs at seq {at_seq}: {digests}")
    return digests


async def _digest(connection: Connection, pid: int, at_seq: int) -> DigestResult:
    answer = await connection.call(DigestOf(pid, at_seq), PATIENCE_S)
    assert isinstance(answer, DigestResult), answer
    return answer
