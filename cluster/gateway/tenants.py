"""Tenants of `directory` keyspaces that the map at hand does not know: control is asked which partition has their keys.

Guarantees: all who want to know of one tenant at the same time share a question; that a tenant has no keys is believed
only of a question that was asked after whoever believes it came, and never kept. Leaves to others: tenants that are
known (`router`), whose the least loaded partition is (control). PROTOCOL "Keyspaces and layout".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cluster.control.keyspace_messages import ResolveTenant, TenantResolved
from cluster.gateway.router import Router, TenantNotKnown
from kvstore.errors import NoLeader, Overloaded
from kvstore.map_values import Tenant
from kvstore.messages import MapUpdate

QUESTIONS_MAX = 1024
ANSWER_S = 3.0

Ask = Callable[[ResolveTenant], Awaitable[TenantResolved]]


class Tenants:
    """Args:
    ask: asks control; a refusal is raised as `KvError`.
    router: is told what comes of it.
    """

    def __init__(self, ask: Ask, router: Router) -> None:
        self._ask = ask
        self._router = router
        self._asked: dict[ResolveTenant, asyncio.Task[int | None]] = {}

    async def settle(self, unknown: TenantNotKnown, assign: bool) -> bool:
        """Have the router know where this tenant's keys are; False where it has none.

        Args:
            assign: it is to have a partition from now on, if it has none.

        Raises:
            NoLeader: control does not answer.
            Overloaded: too many are asked about.
            KvError: as control says.
        """
        question = ResolveTenant(unknown.keyspace, unknown.tenant, assign)
        earlier = self._asked.get(question)
        if earlier is not None and await _answer(earlier) is not None:
            return True
        # What begins from now on tells of a time after this call's beginning.
        return await _answer(self._asked.get(question) or self._begin(question)) is not None

    async def close(self) -> None:
        """Ask nothing any more."""
        for task in self._asked.values():
            task.cancel()

    def _begin(self, question: ResolveTenant) -> asyncio.Task[int | None]:
        if len(self._asked) >= QUESTIONS_MAX:
            raise Overloaded("too many tenants are new at the same time")
        task = asyncio.get_running_loop().create_task(self._find(question))
        self._asked[question] = task
        task.add_done_callback(_heard)
        return task

    async def _find(self, question: ResolveTenant) -> int | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                pid = (await self._ask(question)).pid
        except TimeoutError as error:
            raise NoLeader("control does not say which partition has the keys of this tenant") from error
        finally:
            del self._asked[question]
        if pid is not None:
            self._tell(Tenant(question.keyspace, question.tenant, pid))
        return pid

    def _tell(self, tenant: Tenant) -> None:
        """News of it may be late; where the router has nothing of it, nothing newer either."""
        known = self._router.map
        keyspace, standing = known.keyspaces.get(tenant.keyspace), known.tenant(tenant)
        if keyspace is not None and (standing is None or standing.pid not in keyspace.pids):
            self._router.take(MapUpdate(known.map_ver, [], [], tenants=[tenant]))


async def _answer(task: asyncio.Task[int | None]) -> int | None:
    """What comes of a question, which goes on where only who waits for it is cancelled."""
    return await asyncio.shield(task)


def _heard(task: asyncio.Task[int | None]) -> None:
    """A failure is told to those who wait, and to nobody else."""
    if not task.cancelled():
        task.exception()
