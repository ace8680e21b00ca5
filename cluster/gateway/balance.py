"""How a keyspace is spread over partitions and nodes, for whoever asks.

Guarantees: all nodes are asked at the same time, and one that does not answer is named; asking changes nothing. Leaves
to others: counting (the nodes), what the answer says of it (`balance_answer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from cluster.gateway.balance_answer import Asked
from cluster.gateway.links import NodeLinks
from cluster.gateway.router import Router
from kvstore.map_values import Standing
from kvstore.messages import AskHeat, GroupBy, Heat
from kvstore.rpc.connection import NotSent, RpcError

ATTEMPT_S = 2.0
KEYS_MAX = 10

# What keys have in common that one partition gets; of ranges there is nothing.
GROUP_BY: Mapping[str, GroupBy] = {
    "consistent": GroupBy.SHARD_KEY,
    "hash": GroupBy.SHARD_KEY,
    "geo": GroupBy.SHARD_KEY,
    "range": GroupBy.KEY,
    "directory": GroupBy.TENANT,
}


class Balance:
    """Args: links: to the nodes of `router`'s map."""

    def __init__(self, router: Router, links: NodeLinks) -> None:
        self._router = router
        self._links = links

    async def ask(self, keyspace: str) -> Asked:
        """What the nodes know of a keyspace.

        Raises:
            NotFound: there is no such keyspace.
            NoLeader: its partitions are not placed yet.
        """
        entries = self._router.entries_within(keyspace)
        cluster = self._router.map
        info = cluster.keyspaces[keyspace]
        members = [node for node in cluster.nodes.values() if node.standing is not Standing.REMOVED]
        question = AskHeat(list(info.pids), GROUP_BY.get(info.strategy, GroupBy.SHARD_KEY), KEYS_MAX)
        answers = await asyncio.gather(*(self._heat_at(node.id, question) for node in members))
        heats = {node.id: heat for node, heat in zip(members, answers, strict=True) if heat is not None}
        return Asked(info, tuple(entries), tuple(members), heats)

    async def _heat_at(self, node: str, question: AskHeat) -> Heat | None:
        try:
            answer = await self._links.call(node, question, ATTEMPT_S)
        except NotSent:
            return None
        except RpcError:
            self._links.failed(node)
            return None
        self._links.answered(node)
        return answer if isinstance(answer, Heat) else None
