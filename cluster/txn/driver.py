"""Carrying out transactions: coordinators, the calls they ask for, and their timers.

Guarantees: a transaction that was begun is driven to its end within its time, whoever still waits for the answer; who
coordinates runs in callbacks of its calls, so that a transaction costs no task and all that one loop turn asks of a
node leaves together; one whose keys have another partition by then, and that was not carried out, is begun anew;
breakers hear of every call. Leaves to others: what is asked and answered (`coordinator`), limits
of what a transaction may hold (`gateway.service`). PROTOCOL "Transactions".
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from functools import partial

from cluster.gateway.dispatch import RESERVE, Pauses
from cluster.gateway.links import NodeLinks
from cluster.gateway.router import Router, TenantNotKnown
from cluster.gateway.tenants import Tenants
from cluster.txn.coordinator import Coordinator
from cluster.txn.effects import AllFinished, Answer, Effect
from cluster.txn.exchange import Ask, Exchanges, KeysMoved
from cluster.txn.finished import FinishedNames
from cluster.txn.lookup import Lookup
from cluster.txn.names import Names
from cluster.txn.parts import keys_of, parts_of, smallest_key
from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding
from kvstore.errors import KvError, NoLeader
from kvstore.map_values import Entry
from kvstore.messages import Body, Failed, MapUpdate, TxnName
from kvstore.rpc.connection import NotSent, RpcError

Call = Callable[[str, Body, float], asyncio.Future[Body]]

# The longest a transaction takes, whatever a request may: participants ask for its outcome soon after.
TXN_S_MAX = 5.0
# So many may tell their participants when their clients have been answered; of others, participants ask.
FINISHING_MAX = 4096
CLOSE_S = 1.0


class _Run:
    """A coordinator that is driven; `answer` is what its client waits for."""

    __slots__ = ("answer", "coordinator", "is_answered", "is_cut", "timer", "wake_s")

    def __init__(self, coordinator: Coordinator, answer: asyncio.Future[TxnOutcome | KvError]) -> None:
        self.coordinator = coordinator
        self.answer = answer
        self.is_answered = False
        self.is_cut = False
        self.timer: asyncio.TimerHandle | None = None
        self.wake_s = 0.0

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Transactions:
    """Args:
    links: to the nodes of `router`'s map.
    incarnation: of this gateway, never used before.
    timeout_s: how long a request may take.
    answer_bytes_max: the values of one transaction's results take so many bytes at most.
    tenants: finds those that the map does not know.
    call: how coordinators ask a node; by `links` where none is given.
    """

    def __init__(
        self,
        links: NodeLinks,
        router: Router,
        *,
        incarnation: int,
        timeout_s: float,
        answer_bytes_max: int,
        rng: random.Random,
        tenants: Tenants,
        call: Call | None = None,
    ) -> None:
        self._tenants = tenants
        self._links = links
        self._call = call or links.call
        self._router = router
        self._names = Names(incarnation)
        self._timeout_s = min(timeout_s, TXN_S_MAX)
        self._answer_bytes_max = answer_bytes_max
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._runs: set[_Run] = set()
        self._finishing = 0
        self._finished = FinishedNames(links, self._entry_of)
        self._lookup = Lookup(links, router, timeout_s=timeout_s, rng=rng)
        self._over: asyncio.Future[None] | None = None

    async def transact(self, transaction: Transaction) -> TxnOutcome:
        """Carry a transaction out.

        Raises:
            TxnConflict: it lost to another one; nothing was changed.
            OutcomeUnknown: it may or may not have been carried out.
            KvError: as the contract says; nothing was changed.
        """
        end_s = self._loop.time() + self._timeout_s
        pauses = Pauses(self._rng, self._loop, end_s - self._timeout_s * RESERVE)
        result = await self._attempt(transaction, self._timeout_s)
        while isinstance(result, KeysMoved) and await pauses.next():
            result = await self._attempt(transaction, end_s - self._loop.time())
        if isinstance(result, KvError):
            raise result
        return result

    async def _attempt(self, transaction: Transaction, timeout_s: float) -> TxnOutcome | KvError:
        """Carry it out where its keys are by the map at hand; `KeysMoved` where they are not there."""
        smallest = smallest_key(transaction)
        layouts: dict[int, int] = {}

        def route(keyspace: str, key: bytes) -> Entry:
            entry = self._router.route(keyspace, key)
            layouts[entry.pid] = entry.layout
            return entry

        await self._settle_tenants(transaction)
        try:
            parts = parts_of(transaction, route)
            primary = route(transaction.keyspace, smallest).pid
        except NoLeader as error:
            if not self._router.is_placed(transaction.keyspace):
                raise
            return KeysMoved(error.detail)
        coordinator = Coordinator(
            transaction,
            self._names.first(transaction, primary, smallest),
            parts,
            Exchanges(self._entry_of, self._links.is_away, self._rng.random, layouts),
            timeout_s=timeout_s,
            answer_bytes_max=self._answer_bytes_max,
        )
        run = _Run(coordinator, self._loop.create_future())
        self._runs.add(run)
        self._carry_out(run, coordinator.start(self._loop.time()))
        return await run.answer

    async def _settle_tenants(self, transaction: Transaction) -> None:
        """Have those tenants a partition that have none; raises as control refuses it."""
        unknown: dict[bytes, TenantNotKnown] = {}
        for key in keys_of(transaction):
            try:
                self._router.route(transaction.keyspace, key)
            except TenantNotKnown as error:
                unknown[error.tenant] = error
            except NoLeader:
                # What else is missing is told where it is needed.
                continue
        if unknown:
            await asyncio.gather(*(self._tenants.settle(one, assign=True) for one in unknown.values()))

    async def standing(self, name: TxnName) -> TxnStanding:
        """Where a transaction stands; asking changes nothing.

        Raises:
            NotFound: nobody knows of it.
            NoLeader: who would know does not answer.
        """
        return await self._lookup.standing(name)

    def take(self, update: MapUpdate) -> None:
        """News of the map, which the router has taken: who waits for another leader may have one."""
        pids = frozenset(entry.pid for entry in update.entries)
        for run in [run for run in self._runs if run.timer is not None]:
            self._carry_out(run, run.coordinator.entries_changed(pids, self._loop.time()))

    async def close(self) -> None:
        """Let what runs come to its end for a moment, then go no further."""
        if self._runs:
            self._over = self._loop.create_future()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over, CLOSE_S)
        for run in self._runs:
            run.is_cut = True
            run.stop_timer()
        self._runs.clear()
        self._finished.close()

    def _entry_of(self, pid: int) -> Entry | None:
        return self._router.map.entries.get(pid)

    # ---- driving ------------------------------------------------------------------------------------------------

    def _carry_out(self, run: _Run, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Ask):
                try:
                    future = self._call(effect.node, effect.body, effect.timeout_s)
                except NotSent as error:
                    # What follows from that is carried out in this very loop.
                    effects += run.coordinator.not_sent(effect, str(error), self._loop.time())
                else:
                    future.add_done_callback(partial(self._settled, run, effect))
            elif isinstance(effect, Answer):
                self._answer(run, effect.result)
            else:
                assert isinstance(effect, AllFinished)
                self._finished.add(effect.txn)
        if run.coordinator.is_over:
            self._end(run)
        elif run.is_answered and self._finishing > FINISHING_MAX:
            run.is_cut = True
            self._end(run)
        else:
            self._wake_later(run)

    def _settled(self, run: _Run, ask: Ask, future: asyncio.Future[Body]) -> None:
        """A call came to its end."""
        if run.is_cut:
            return
        error = future.exception()
        now_s = self._loop.time()
        if error is None:
            self._links.answered(ask.node)
            body = future.result()
            if isinstance(body, Failed) and body.fault.entry is not None:
                self._router.take_entry(body.fault.entry)
            effects = run.coordinator.answered(ask, body, now_s)
        else:
            self._links.failed(ask.node)
            assert isinstance(error, RpcError)
            tell = run.coordinator.not_sent if isinstance(error, NotSent) else run.coordinator.lost
            effects = tell(ask, str(error), now_s)
        self._carry_out(run, effects)

    def _answer(self, run: _Run, result: TxnOutcome | KvError) -> None:
        run.is_answered = True
        self._finishing += 1
        if not run.answer.done():
            run.answer.set_result(result)

    def _wake_later(self, run: _Run) -> None:
        wake_s = run.coordinator.wake_s
        if wake_s is None:
            run.stop_timer()
        elif run.timer is None or run.wake_s != wake_s:
            run.stop_timer()
            run.wake_s = wake_s
            run.timer = self._loop.call_at(wake_s, self._wake, run)

    def _wake(self, run: _Run) -> None:
        run.timer = None
        self._carry_out(run, run.coordinator.tick(self._loop.time()))

    def _end(self, run: _Run) -> None:
        run.stop_timer()
        if run not in self._runs:
            return
        self._runs.remove(run)
        self._finishing -= run.is_answered
        if self._over is not None and not self._runs and not self._over.done():
            self._over.set_result(None)
