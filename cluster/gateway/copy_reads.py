"""Stale reads: one key, of whichever copy answers.

Guarantees: every copy that the map calls in sync is asked, one after the other, until one answers that is as near to
the present as was asked for: those in the gateway's own zone first, among them followers, the leader last, and those
with the fewest such reads under way before the others; a node that its breaker spares is passed over. A key whose
tenant has no keys is not there, as of now. Where none answers the copies are asked again, as long as the
request's patience lasts, unless all their nodes have been away for long. Leaves to others: how far behind a copy is
(the node), links and patience (`dispatch`).
"""

from __future__ import annotations

import asyncio
from collections import Counter

from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.flight import NOTHING, Flight
from cluster.gateway.operations import Get, Result
from cluster.gateway.router import Router, TenantNotKnown
from kvstore.errors import KeyNotFound, KvError, Locked, NoLeader, from_code
from kvstore.map_values import Entry
from kvstore.messages import Failed, ReadOne, ReadResult, ReadStale, StaleResult
from kvstore.rpc.connection import NotSent, RpcError

ATTEMPT_S = 1.0


class CopyReads:
    """Args:
    max_value_bytes: the largest value that is handed on.
    zone: of this gateway, empty where it is in none.
    """

    def __init__(self, dispatcher: Dispatcher, router: Router, max_value_bytes: int, zone: str) -> None:
        self._zone = zone
        self._dispatcher = dispatcher
        self._router = router
        self._max_value_bytes = max_value_bytes
        self._loop = asyncio.get_running_loop()
        self._under_way: Counter[str] = Counter()
        self._turn = 0

    async def read(self, get: Get, max_stale_ms: int | None) -> tuple[Result, int]:
        """Read one key.

        Returns:
            What was found, or an error, and how many milliseconds it may be behind.

        Raises:
            NotFound: there is no such keyspace.
            NoLeader: no copy answered that is near enough to the present.
            Locked: a transaction that is not decided yet may have changed the key.
        """
        end_s = self._dispatcher.patience_end_s()
        pauses = self._dispatcher.pauses(end_s)
        while True:
            answer = await self._attempt(get, max_stale_ms, end_s)
            if not isinstance(answer, KvError):
                return answer
            if not await pauses.next():
                raise answer

    async def _attempt(self, get: Get, max_stale_ms: int | None, end_s: float) -> tuple[Result, int] | KvError:
        """Ask every copy once, or until one answers."""
        try:
            entry = self._router.route(get.keyspace, get.key)
        except TenantNotKnown as unknown:
            if await self._dispatcher.tenants.settle(unknown, assign=False):
                return unknown
            return KeyNotFound(NOTHING), 0
        except NoLeader as unrouted:
            if not self._router.is_placed(get.keyspace):
                raise
            return unrouted
        asked = ReadStale(ReadOne(entry.pid, entry.ver, get.key), max_stale_ms, entry.layout)
        error: KvError = NoLeader(f"no copy of partition {entry.pid} can answer; none is in sync")
        nodes = self._order(entry)
        for node in nodes:
            answer = await self._ask(node, asked, end_s)
            if isinstance(answer, StaleResult):
                flight = Flight((get,), end_s, self._max_value_bytes)
                flight.entries[0] = entry
                flight.take_rows((0,), ReadResult(answer.now_ms, [answer.row]))
                return flight.results[0], answer.lag_ms
            detail = f"no copy of partition {entry.pid} can answer; {node}: {answer.detail}"
            error = Locked(detail) if isinstance(answer, Locked) else NoLeader(detail)
        if nodes and all(map(self._dispatcher.links.is_away, nodes)):
            raise error
        return error

    def _order(self, entry: Entry) -> list[str]:
        """The nodes to ask, in this order."""
        leader = "" if entry.leader is None else entry.leader.node
        nodes = [rid.node for rid in entry.in_sync]
        self._turn += 1
        start = self._turn % len(nodes) if nodes else 0
        # Sorting is stable: those with equally much to do take turns.
        return sorted(
            nodes[start:] + nodes[:start],
            key=lambda node: (self._is_far(node), node == leader, self._under_way[node]),
        )

    def _is_far(self, node: str) -> bool:
        """Whether it is in another zone than this gateway, which is in one."""
        known = self._router.map.nodes.get(node)
        return bool(self._zone) and (known is None or known.zone != self._zone)

    async def _ask(self, node: str, asked: ReadStale, end_s: float) -> StaleResult | KvError:
        """The answer of one node, or why there is none."""
        links = self._dispatcher.links
        try:
            future = links.call(node, asked, min(ATTEMPT_S, max(0.001, end_s - self._loop.time())))
        except NotSent as error:
            return NoLeader(str(error))
        self._under_way[node] += 1
        try:
            answer = await future
        except RpcError as error:
            links.failed(node)
            return NoLeader(str(error))
        finally:
            self._under_way[node] -= 1
        links.answered(node)
        if isinstance(answer, StaleResult):
            return answer
        if not isinstance(answer, Failed):
            return KvError("an answer of the wrong kind")
        if answer.fault.entry is not None:
            self._router.take_entry(answer.fault.entry)
        return from_code(answer.fault.code, answer.fault.detail)
