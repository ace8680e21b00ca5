"""Where a transaction stands, for whoever has its id.

Guarantees: what is said to be committed or aborted is so durably, and what is said to be unknown is neither; nothing
is changed by asking. Leaves to others: deciding (the primary). PROTOCOL "Transactions".
"""

from __future__ import annotations

import asyncio
import random

from cluster.gateway.dispatch import RESERVE, Pauses
from cluster.gateway.links import NodeLinks
from cluster.gateway.router import Router
from cluster.txn.transaction import TxnStanding, TxnState
from kvstore.errors import KvError, NoLeader, NotFound, from_code
from kvstore.map_values import Standing
from kvstore.messages import AskTxn, Body, Failed, ListPrepared, PreparedTxns, TxnKnown, TxnName
from kvstore.rpc.connection import NotSent, RpcError

ATTEMPT_S = 1.5
AGAIN = frozenset(("wrong_leader", "no_leader", "overloaded", "outcome_unknown"))
UNFIT = "the node's answer does not fit the request"


class Lookup:
    """Args:
    links: to the nodes of `router`'s map.
    timeout_s: how long one question may take in all.
    """

    def __init__(self, links: NodeLinks, router: Router, *, timeout_s: float, rng: random.Random) -> None:
        self._links = links
        self._router = router
        self._timeout_s = timeout_s
        self._rng = rng
        self._loop = asyncio.get_running_loop()

    async def standing(self, name: TxnName) -> TxnStanding:
        """As `Transactions.standing`."""
        pauses = Pauses(self._rng, self._loop, self._loop.time() + self._timeout_s * (1 - RESERVE))
        known = await self._known(name, pauses)
        if not known.is_decided:
            if await self._is_prepared(name, pauses):
                return TxnStanding(TxnState.PENDING)
            # It may have been decided, and carried out, between the two questions.
            known = await self._known(name, pauses)
        if not known.is_decided:
            raise NotFound("there is no transaction of this id")
        return TxnStanding(TxnState.COMMITTED if known.commits else TxnState.ABORTED, known.then)

    async def _known(self, name: TxnName, pauses: Pauses) -> TxnKnown:
        """What the primary knows."""
        while True:
            entry = self._router.map.entries.get(name.primary)
            if entry is None:
                raise NotFound("there is no transaction of this id")
            answer: Body | KvError
            if entry.leader is None:
                answer = NoLeader(f"partition {name.primary} has no leader")
            else:
                answer = await self._ask(entry.leader.node, AskTxn(name.primary, entry.ver, name))
            if isinstance(answer, TxnKnown):
                return answer
            if not await pauses.next():
                raise answer if isinstance(answer, KvError) else KvError(UNFIT)

    async def _is_prepared(self, name: TxnName, pauses: Pauses) -> bool:
        """Whether any node leads a partition in which it is prepared."""
        nodes = {node.id for node in self._router.map.nodes.values() if node.standing is not Standing.REMOVED}
        while True:
            failures: dict[str, Body | KvError] = {}
            asked = sorted(nodes)
            answers = await asyncio.gather(*(self._ask(node, ListPrepared(name)) for node in asked))
            for node, answer in zip(asked, answers, strict=True):
                if not isinstance(answer, PreparedTxns):
                    failures[node] = answer
                elif answer.txns:
                    return True
            # Others lead in the place of a node that is away.
            nodes = {node for node in failures if not self._links.is_away(node)}
            if not nodes:
                return False
            if not await pauses.next():
                failure = failures[min(nodes)]
                raise failure if isinstance(failure, KvError) else KvError(UNFIT)

    async def _ask(self, node: str, question: AskTxn | ListPrepared) -> Body | KvError:
        """The node's answer, or why there is none; raises what waiting does not mend."""
        try:
            call = self._links.call(node, question, ATTEMPT_S)
        except NotSent as error:
            return NoLeader(f"node {node} cannot be reached: {error}")
        try:
            answer = await call
        except RpcError as error:
            self._links.failed(node)
            return NoLeader(f"no answer from node {node}: {error}")
        self._links.answered(node)
        if not isinstance(answer, Failed):
            return answer
        fault = answer.fault
        if fault.entry is not None:
            self._router.take_entry(fault.entry)
        if fault.code not in AGAIN:
            raise from_code(fault.code, fault.detail)
        return NoLeader(fault.detail)
