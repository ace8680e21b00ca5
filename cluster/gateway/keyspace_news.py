"""Keyspaces that the map at hand lacks, or has without their partitions: control is asked for news.

Guarantees: who has asked goes by the map as it stood after that, so by every keyspace whose making was answered before,
by whichever gateway; all who wait at the same time share a question. Leaves to others: what is said of a keyspace that
is not there (`router`). PROTOCOL "Keyspaces and layout".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cluster.control.keyspace_messages import KeyspacesLearnt, LearnKeyspaces
from cluster.gateway.router import Router
from kvstore.errors import NoLeader

ANSWER_S = 3.0

Ask = Callable[[LearnKeyspaces], Awaitable[KeyspacesLearnt]]


class KeyspaceNews:
    """Args:
    ask: asks control; a refusal is raised as `KvError`.
    router: whose map the news come to.
    """

    def __init__(self, ask: Ask, router: Router) -> None:
        self._ask = ask
        self._router = router
        self._question: asyncio.Task[None] | None = None

    async def settle(self, keyspace: str) -> None:
        """Have the router know of this keyspace, if there is one.

        Raises:
            NoLeader: control, or the map store, does not answer.
            KvError: as control says.
        """
        if self._router.is_placed(keyspace):
            return
        if self._question is not None:
            # It may have been answered by a map from before this call.
            await asyncio.shield(self._question)
            if self._router.is_placed(keyspace):
                return
        if self._question is None:
            self._question = asyncio.get_running_loop().create_task(self._learn())
            self._question.add_done_callback(_heard)
        await asyncio.shield(self._question)

    async def _learn(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._ask(LearnKeyspaces())
        except TimeoutError as error:
            raise NoLeader("control does not say which keyspaces there are") from error
        finally:
            self._question = None


def _heard(task: asyncio.Task[None]) -> None:
    """A failure is told to those who wait, and to nobody else."""
    if not task.cancelled():
        task.exception()
