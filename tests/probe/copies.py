"""The copies of every partition of a running cluster, compared behind the back of its gateway.

Guarantees: digests are compared at one and the same seq, on every node that holds a copy. Leaves to others: comparing
the recount that it returns with the counters; where the map still changes, a gateway that serves control meanwhile.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from cluster.control.map_store.embedded import EmbeddedMapStore
from kvstore.messages import Failed, Verified, Verify
from kvstore.node_state import NODE_ROW, NodeState
from kvstore.rpc.client import Identity, dial
from kvstore.rpc.connection import Connection
from kvstore.storage.engine import Table

PATIENCE_S = 30.0
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


def cluster_id_of_node(node_data: Path) -> bytes:
    """The id of the cluster, read from the directory of a node, which may run."""
    with lmdb.open(str(node_data), readonly=True, max_dbs=len(Table)) as environment:
        meta = environment.open_db(Table.META.name.lower().encode(), create=False)
        with environment.begin(meta) as transaction:
            return msgspec.msgpack.decode(transaction.get(NODE_ROW), type=NodeState).cluster_id


async def compare_copies(status: dict[str, Any], cluster: bytes) -> dict[str, int]:
    """Compare all copies; returns for each node how many keys are in its copies, by a recount.

    Args:
        status: what `GET /v1/cluster` says.

    Raises:
        Different: two copies have other digests at the same seq, or no verdict can be had.
    """
    keys = {node["id"]: 0 for node in status["nodes"]}
    async with AsyncExitStack() as stack:
        connections = {}
        for node in status["nodes"]:
            connection = await dial(node["address"], Identity(cluster, "probe", "admin"), lambda *_: None, lambda: None)
            stack.push_async_callback(connection.drain_and_close)
            connections[node["id"]] = connection
        verifying = [_verify(connections, one["leader"], one["id"]) for one in status["partitions"]]
        for partition, found in zip(status["partitions"], await asyncio.gather(*verifying), strict=True):
            if found.state != "clean":
                raise Different(f"partition {partition}: {found}")
            for copy in found.copies:
                keys[copy.node] += copy.keys
    return keys


async def _verify(nodes: Mapping[str, Connection], leader: str, pid: int) -> Verified:
    """What came of a verification of all copies that the map names, by whichever node leads them meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    asked, entry = Verify(pid, 0, secrets.token_bytes(16)), None
    while True:
        answer = await nodes[leader].call(asked, PATIENCE_S)
        if isinstance(answer, Failed) and answer.fault.entry is not None:
            entry = answer.fault.entry
            asked = msgspec.structs.replace(asked, ver=entry.ver)
            leader = entry.leader.node if entry.leader is not None else leader
        elif isinstance(answer, Verified) and answer.state not in ("running", "unfinished"):
            holders = set() if entry is None else {rid.node for rid in entry.replicas}
            if answer.state == "different" or {copy.node for copy in answer.copies} == holders:
                return answer
            asked = msgspec.structs.replace(asked, name=secrets.token_bytes(16))
        if loop.time() > deadline:
            raise Different(f"partition {pid} comes to no verdict: {answer} by {entry}")
        await asyncio.sleep(PAUSE_S)
