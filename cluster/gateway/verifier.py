"""Comparing the copies of every partition, for whoever asks.

Guarantees: every partition of the map as it was at the beginning has a verdict in the answer, or there is no answer but
an error that names one that has none; one comparison runs at a time, with few partitions under way at each leader, so
that it can run under load. Leaves to others: the verdict (the leader), the map (`router`). PROTOCOL "Verify".
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict

from cluster.gateway.links import NodeLinks
from cluster.gateway.router import Router
from cluster.gateway.verify_answer import Comparison
from kvstore.errors import KvError, NoLeader, Overloaded
from kvstore.map_values import Entry
from kvstore.messages import Failed, Verified, Verify
from kvstore.rpc.connection import NotSent, RpcError

PER_LEADER_MAX = 4
POLL_S = 0.1
ATTEMPT_S = 2.0
# Longer than a change of leader takes, and than a leader waits for a copy of which it hears nothing.
PATIENCE_S = 20.0


class Verifier:
    """Args: links: to the nodes of `router`'s map."""

    def __init__(self, router: Router, links: NodeLinks) -> None:
        self._router = router
        self._links = links
        self._is_running = False
        self._loop = asyncio.get_running_loop()

    async def verify(self) -> list[Comparison]:
        """Compare all copies in sync.

        Raises:
            NoLeader: a partition came to no verdict for `PATIENCE_S`, or none are placed yet.
            Overloaded: a comparison is running.
        """
        if self._is_running:
            raise Overloaded("the copies are being compared already")
        pids = sorted(self._router.map.living)
        if not pids:
            raise NoLeader("no partitions are placed yet")
        self._is_running = True
        places: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PER_LEADER_MAX))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._compare(pid, places)) for pid in pids]
        except ExceptionGroup as failed:
            # What an `except*` raises, some releases of Python 3.11 wrap in a group again.
            refusals, others = failed.split(KvError)
            if refusals is None or others is not None:
                raise
            raise refusals.exceptions[0] from None
        finally:
            self._is_running = False
        return [task.result() for task in tasks]

    async def _compare(self, pid: int, places: dict[str, asyncio.Semaphore]) -> Comparison:
        leader = self._router.map.entries[pid].leader
        async with places["" if leader is None else leader.node]:
            verified = await self._verdict(pid)
        entry = self._router.map.entries[pid]
        compared = {copy.node for copy in verified.copies}
        return Comparison(verified, tuple(node for node in _holders(entry) if node not in compared))

    async def _verdict(self, pid: int) -> Verified:
        """Ask the leader, whoever that is, until there is an outcome."""
        name = secrets.token_bytes(16)
        give_up_s = self._loop.time() + PATIENCE_S
        while True:
            answer = await self._ask(pid, name)
            if isinstance(answer, Verified):
                if answer.state in ("clean", "different"):
                    return answer
                if answer.state == "running":
                    give_up_s = self._loop.time() + PATIENCE_S
                reason = answer.detail
            else:
                reason = answer
            if self._loop.time() > give_up_s:
                raise NoLeader(f"the copies of partition {pid} could not be compared: {reason}")
            await asyncio.sleep(POLL_S)

    async def _ask(self, pid: int, name: bytes) -> Verified | str:
        """How the verification stands, or why that cannot be told."""
        entry = self._router.map.entries[pid]
        if entry.leader is None:
            return "it has no leader"
        node = entry.leader.node
        try:
            future = self._links.call(node, Verify(pid, entry.ver, name), ATTEMPT_S)
        except NotSent as error:
            return f"{node}: {error}"
        try:
            answer = await future
        except RpcError as error:
            self._links.failed(node)
            return f"{node}: {error}"
        self._links.answered(node)
        if isinstance(answer, Verified):
            return answer
        if not isinstance(answer, Failed):
            return f"{node}: an answer of the wrong kind"
        if answer.fault.entry is not None:
            self._router.take_entry(answer.fault.entry)
        return f"{node}: {answer.fault.detail}"


def _holders(entry: Entry) -> list[str]:
    return [rid.node for rid in (*entry.replicas, *entry.adding)]
