"""The process side of control: carries out what the controller decides, inside one event loop.

Guarantees: events are taken one at a time, in order, and the effects of one are carried out before the next is taken;
proposals that wait while a transaction runs share the next one, and questions the next look at the store; it is not
asked for those who have stopped waiting, nor is proposed to it what only they wanted; what other gateways change in a
shared map store is seen within `LOOK_S` and what that takes; a store that does not answer is waited for, but nothing
that somebody asks for is begun while it is known to be silent, and a change that it refuses harms no other; what makes
control unable to go on is raised by `wait_failed`, and until then by nothing else; a change that may be in the store
when control ends, or the time for its answer, is told as one whose outcome is unknown. Leaves to others: every decision
(`controller`), who waits for what (`asks`), HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import assert_never

import structlog

from cluster.cluster_map import Change, ClusterMap
from cluster.control.asks import Asks
from cluster.control.controller import Controller
from cluster.control.events import (
    AllocatePids,
    AnswerCas,
    AskCopies,
    Asked,
    AskSplit,
    Compare,
    Complain,
    Cut,
    Dial,
    Draw,
    Drawn,
    DropOrphans,
    Effect,
    Event,
    GivenUp,
    HangUp,
    Loaded,
    LookAtStore,
    Looked,
    Note,
    PidsAllocated,
    PlannerChosen,
    Propose,
    Publish,
    Refuse,
    Reply,
    RetireNode,
    Stored,
    Tell,
    Ticked,
    Withdrawn,
)
from cluster.control.interface import Control
from cluster.control.map_store import MapStore, Outcome, StoreRefused, StoreUnavailable
from cluster.control.messages import Answer, DrawIdWindow, Incarnation, Request
from cluster.control.node_link import NodeLink
from cluster.control.settings import ControlSettings
from kvstore.errors import OperatorError, ShuttingDown
from kvstore.messages import MapUpdate
from kvstore.rpc.client import Identity

_OnLink = Dial | HangUp | Cut | Tell | AskCopies | DropOrphans | Compare | AskSplit | RetireNode | AnswerCas

TICK_S = 0.25
LOOK_S = 0.25
PLANNER_S = 1.0
START_S_MAX = 10.0
SENDER = "control"

log = structlog.get_logger("control")


class ControlServer(Control):
    """Control inside one event loop.

    Args:
        store: an open map store; the server closes it.
        settings: how nodes are admitted and partitions placed.
        timeout_s: how long who asks waits for an answer at most; None for as long as it takes.
    """

    def __init__(self, store: MapStore, settings: ControlSettings, timeout_s: float | None = None) -> None:
        self._store = store
        self._controller = Controller(settings)
        self._events: deque[Event] = deque()
        self._is_handling = False
        self._is_closed = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._links: dict[str, NodeLink] = {}
        self._numbers = itertools.count(1)
        self._asks = Asks(timeout_s)
        self._subscribers: list[Callable[[MapUpdate], None]] = []
        self._waiting: list[Propose | AllocatePids | Draw | LookAtStore] = []
        self._has_waiting = asyncio.Event()
        self._loaded = ClusterMap.empty(b"")
        self._is_planner = True
        self._is_store_silent = False
        self._refusal = ""
        self._next_look_s = 0.0
        self._next_claim_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._identity = Identity(b"", SENDER, "control")

    @property
    def cluster_id(self) -> bytes:
        return self._identity.cluster_id

    @property
    def is_store_up(self) -> bool:
        """Whether the map store answered when it was asked last, which is several times a second."""
        return not self._is_store_silent

    async def start(self) -> None:
        """Load the map and begin to dial the nodes in it.

        Raises:
            OperatorError: the map store did not answer for `START_S_MAX`, or cannot be used.
        """
        give_up_s = asyncio.get_running_loop().time() + START_S_MAX
        while not self._identity.cluster_id:
            try:
                await self._look_at_store()
            except StoreUnavailable as error:
                if asyncio.get_running_loop().time() > give_up_s:
                    raise OperatorError(f"the map store does not answer: {error}") from error
                self._note_silence(error)
                await asyncio.sleep(LOOK_S)
        self._spawn(self._store_loop())
        self._spawn(self._tick_loop())

    async def close(self) -> None:
        """Give up what waits, cut every connection, then close the map store. Again: nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self._asks.give_up()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in list(self._links.values()):
            await link.close()
        if not self._failed.cancel() and not self._failed.cancelled():
            self._failed.exception()  # Nobody may have waited for it, and asyncio complains of an error not looked at.
        await self._store.close()

    async def wait_failed(self) -> None:
        await asyncio.shield(self._failed)

    async def carry_out(self, request: Request) -> Answer:
        if self._is_closed or self._failed.done():
            raise ShuttingDown("the gateway is stopping")
        number = self._asks.begin(request)
        try:
            self._emit(Asked(number, request))
            if self._is_store_silent and any(one.ask == number for one in self._waiting):
                self._asks.refuse_unhanded(number)
            return await self._asks.answered(number)
        finally:
            self._asks.end(number)

    def subscribe(self, callback: Callable[[MapUpdate], None]) -> Callable[[], None]:
        callback(self._controller.map.full_update())
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    # ---- events and effects -------------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        if self._is_handling or self._is_closed:
            return
        self._is_handling = True
        try:
            while self._events:
                now_s = asyncio.get_running_loop().time()
                for effect in self._controller.handle(self._events.popleft(), now_s):
                    self._perform(effect)
        except Exception as error:
            self._fail(error)
        finally:
            self._is_handling = False

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Propose() | AllocatePids() | Draw() | LookAtStore():
                self._waiting.append(effect)
                self._has_waiting.set()
            case Reply(ask, answer):
                self._asks.reply(ask, answer)
            case Refuse(ask, error):
                self._asks.refuse(ask, error)
            case Publish(update):
                for callback in list(self._subscribers):
                    callback(update)
            case Note(what, fields):
                log.info(what, **fields)
            case Complain(what, fields):
                log.warning(what, **fields)
            case _:
                self._perform_on_link(effect)

    def _perform_on_link(self, effect: _OnLink) -> None:
        node = effect.node
        match effect:
            case Dial(_, address):
                self._hang_up(node)
                self._links[node] = NodeLink(
                    node,
                    address,
                    self._identity,
                    lambda: self._controller.boot_floor(node),
                    lambda: next(self._numbers),
                    self._emit,
                )
            case HangUp():
                self._hang_up(node)
            case Cut(_, number, reason):
                self._links[node].cut(number, reason)
            case Tell(_, number, update):
                self._links[node].tell(number, update)
            case AskCopies():
                self._links[node].ask_copies(effect)
            case DropOrphans():
                self._links[node].drop_orphans(effect)
            case Compare():
                self._links[node].compare(effect)
            case AskSplit():
                self._links[node].ask_split(effect)
            case RetireNode():
                self._links[node].retire(effect)
            case AnswerCas():
                self._links[node].answer_cas(effect)
            case _:
                assert_never(effect)

    def _hang_up(self, node: str) -> None:
        link = self._links.pop(node, None)
        if link is not None:
            self._spawn(link.close())

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)
        self._asks.give_up()

    # ---- tasks --------------------------------------------------------------------------------------------------

    async def _tick_loop(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._emit(Ticked())

    async def _store_loop(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._has_waiting.wait()
            self._has_waiting.clear()
            try:
                await self._carry_to_store()
                await self._look_at_store()
            except StoreUnavailable as error:
                self._note_silence(error)

    async def _carry_to_store(self) -> None:
        """Propose, look up, allocate and draw all that waits, and that somebody still waits for."""
        waiting, self._waiting = self._waiting, []
        proposals = [one for one in waiting if isinstance(one, Propose) and self._is_awaited(one)]
        if proposals:
            self._asks.hand_over(proposals)
            await self._apply(proposals)
        others = [one for one in waiting if not isinstance(one, Propose) and self._is_awaited(one)]
        looks = [one for one in others if isinstance(one, LookAtStore)]
        handed_out = deque(one for one in others if not isinstance(one, LookAtStore))
        try:
            if looks:
                self._take(await self._store.load())
            while looks:
                self._emit(Looked(looks.pop().ask))
            while handed_out:
                event = await self._hand_out(handed_out[0])
                handed_out.popleft()
                self._emit(event)
        except StoreUnavailable:
            self._waiting += [*looks, *handed_out]
            raise

    def _is_awaited(self, effect: Propose | AllocatePids | Draw | LookAtStore) -> bool:
        if effect.ask is None or self._asks.is_awaited(effect.ask):
            return True
        self._emit(Withdrawn(effect.proposal) if isinstance(effect, Propose) else GivenUp(effect.ask))
        return False

    async def _hand_out(self, effect: AllocatePids | Draw) -> PidsAllocated | Drawn:
        if isinstance(effect, AllocatePids):
            return PidsAllocated(await self._store.allocate_pids(effect.count), effect.ask, effect.keyspace)
        if isinstance(effect.wanted, DrawIdWindow):
            return Drawn(effect.ask, await self._store.draw_id_window(effect.wanted))
        return Drawn(effect.ask, Incarnation(await self._store.draw_incarnation()))

    async def _look_at_store(self) -> None:
        """See what other gateways changed, and who is to plan, where it is time."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_S
        cluster = await self._store.load()
        is_planner = self._is_planner
        if now_s >= self._next_claim_s:
            self._next_claim_s = now_s + PLANNER_S
            is_planner = await self._store.may_plan()
        if self._is_store_silent:
            self._is_store_silent = False
            log.info("map_store_back")
        self._identity = Identity(cluster.cluster_id, SENDER, "control")
        if is_planner != self._is_planner:
            self._is_planner = is_planner
            self._emit(PlannerChosen(is_planner))
        self._take(cluster)

    def _take(self, cluster: ClusterMap) -> None:
        """What the store says, where that is not what it said last."""
        if cluster is not self._loaded:
            self._loaded = cluster
            self._emit(Loaded(cluster))

    def _note_refusal(self, reason: str, changes: int) -> None:
        """Once: what is refused is proposed again as long as it is wanted."""
        if reason != self._refusal:
            self._refusal = reason
            log.error("map_change_refused", reason=reason, changes=changes)

    def _note_silence(self, error: StoreUnavailable) -> None:
        if not self._is_store_silent:
            self._is_store_silent = True
            log.warning("map_store_silent", reason=str(error))

    async def _apply(self, proposals: list[Propose]) -> None:
        """Propose, in one transaction or, where the store refuses that, each proposal in its own."""
        try:
            self._emit(await self._applied(proposals))
            return
        except StoreRefused as error:
            if len(proposals) == 1:
                self._note_refusal(str(error), len(proposals[0].changes))
                refused = tuple(Outcome.CONFLICT for _ in proposals[0].changes)
                self._emit(Stored(((proposals[0].proposal, refused),), MapUpdate(0, [], [])))
                return
        for proposal in proposals:
            await self._apply([proposal])

    async def _applied(self, proposals: list[Propose]) -> Stored:
        changes: list[Change] = [change for proposal in proposals for change in proposal.changes]
        applied = await self._store.apply(changes)
        outcomes = iter(applied.outcomes)
        settled = tuple((one.proposal, tuple(itertools.islice(outcomes, len(one.changes)))) for one in proposals)
        return Stored(settled, applied.current)
