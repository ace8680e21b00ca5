"""Gateways that coordinate transactions: the real machine, driven over simulated calls until its gateway dies.

A gateway has a map of its own, which may be old, and keeps nothing: one that dies never goes on, and another one, of
the next incarnation, takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from simulation.control import SimControl, run_now
from simulation.gateway_calls import GatewayCalls
from simulation.layouts import Layouts
from simulation.txn_requests import TxnRequests, TxnSend
from simulation.world import World

from cluster.gateway.breaker import Breaker
from cluster.txn.coordinator import Coordinator
from cluster.txn.effects import AllFinished, Answer, Effect
from cluster.txn.exchange import Ask, Exchanges
from cluster.txn.names import Names
from cluster.txn.parts import parts_of, smallest_key
from cluster.txn.transaction import Transaction, TxnOutcome
from kvstore.errors import KvError
from kvstore.map_values import Entry
from kvstore.messages import Body, Failed, TxnName, TxnsFinished

FINISHED_PAUSE_MS = 200
NEWS_MS = (50, 2000)
ANSWER_BYTES_MAX = 1 << 20

Told = Callable[[TxnOutcome | KvError], None]


class _Run:
    """A coordinator that is driven."""

    __slots__ = ("coordinator", "send", "told", "wake_s")

    def __init__(self, coordinator: Coordinator, send: TxnSend, told: Told) -> None:
        self.coordinator = coordinator
        self.send = send
        self.told = told
        self.wake_s: float | None = None


class SimGateway:
    """Args: timeout_s: how long a transaction may take."""

    def __init__(
        self,
        world: World,
        control: SimControl,
        calls: GatewayCalls,
        requests: TxnRequests,
        layouts: Layouts,
        timeout_s: float,
    ) -> None:
        self.is_alive = True
        self.on_told: Callable[[], None] = lambda: None
        self._world = world
        self._control = control
        self._calls = calls
        self._requests = requests
        self._timeout_s = timeout_s
        self._names = Names(run_now(control.store.draw_incarnation()))
        self._layouts = layouts
        self._entries: dict[int, Entry] = {}
        self._layout = 0
        self._breakers: dict[str, Breaker] = {}
        self._runs: dict[_Run, None] = {}
        self._finished: list[TxnName] = []
        self._hear()

    def die(self) -> None:
        """kill -9: what is on its way still arrives, and nothing goes on here."""
        self.is_alive = False
        self._runs.clear()

    def transact(self, transaction: Transaction, told: Told) -> None:
        """Carry a transaction out; `told` is called unless the gateway dies before."""
        if any(entry.layout > self._layout for entry in self._entries.values()):
            self._learn()
        layout, smallest = self._layout, smallest_key(transaction)
        name = self._names.first(transaction, self._layouts.pid_of(smallest, layout), smallest)
        layouts = {pid: entry.layout for pid, entry in self._entries.items()}
        exchanges = Exchanges(self._entries.get, self._is_away, self._world.rng.random, layouts)
        coordinator = Coordinator(
            transaction,
            name,
            parts_of(transaction, lambda _, key: self._entries[self._layouts.pid_of(key, layout)]),
            exchanges,
            timeout_s=self._timeout_s,
            answer_bytes_max=ANSWER_BYTES_MAX,
        )
        run = _Run(coordinator, self._requests.begin(name, transaction), told)
        self._runs[run] = None
        self._carry_out(run, coordinator.start(self._now_s))

    @property
    def _now_s(self) -> float:
        return self._world.now_ms / 1000

    # ---- the map ------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """Control tells what the map is, now and then."""
        if self.is_alive:
            self._learn()
            self._world.at(self._world.rng.uniform(*NEWS_MS), self._hear)

    def _learn(self) -> None:
        """The whole map, whose entries and layout belong together."""
        entries = self._control.map.entries
        self._layouts.follow(entries)
        self._layout = self._layouts.newest
        self._take(entries.values())

    def _take(self, entries: Iterable[Entry]) -> None:
        newer = {entry.pid: entry for entry in entries if self._is_newer(entry)}
        self._entries.update(newer)
        if newer:
            for run in list(self._runs):
                self._carry_out(run, run.coordinator.entries_changed(newer.keys(), self._now_s))

    def _is_newer(self, entry: Entry) -> bool:
        known = self._entries.get(entry.pid)
        return known is None or entry.ver > known.ver

    def _breaker(self, node: str) -> Breaker:
        return self._breakers.setdefault(node, Breaker(lambda: self._now_s, self._world.rng.random))

    def _is_away(self, node: str) -> bool:
        return self._breaker(node).is_lasting

    # ---- driving ------------------------------------------------------------------------------------------------

    def _carry_out(self, run: _Run, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Ask):
                self._call(run, effect)
            elif isinstance(effect, Answer):
                run.send.told(effect.result)
                run.told(effect.result)
                self.on_told()
            elif isinstance(effect, AllFinished):
                self._finished.append(effect.txn)
                self._world.at(FINISHED_PAUSE_MS, self._tell_finished)
        if run.coordinator.is_over:
            self._runs.pop(run, None)
        elif run.coordinator.wake_s is not None and run.coordinator.wake_s != run.wake_s:
            run.wake_s = run.coordinator.wake_s
            self._world.at(max(0.0, run.wake_s - self._now_s) * 1000, lambda: self._wake(run))

    def _call(self, run: _Run, ask: Ask) -> None:
        breaker = self._breaker(ask.node)
        if not breaker.allows() or not self._calls.is_up(ask.node):
            self._world.at(0, lambda: self._not_sent(run, ask))
            return
        self._calls.call(ask.node, ask.body, ask.timeout_s * 1000, lambda answer: self._settled(run, ask, answer))

    def _not_sent(self, run: _Run, ask: Ask) -> None:
        if self.is_alive:
            self._breaker(ask.node).failed()
            self._carry_out(run, run.coordinator.not_sent(ask, "not connected", self._now_s))

    def _settled(self, run: _Run, ask: Ask, answer: Body | None) -> None:
        if not self.is_alive:
            return
        if answer is None:
            self._breaker(ask.node).failed()
            self._carry_out(run, run.coordinator.lost(ask, "no answer", self._now_s))
            return
        self._breaker(ask.node).succeeded()
        if isinstance(answer, Failed) and answer.fault.entry is not None:
            self._take((answer.fault.entry,))
        self._carry_out(run, run.coordinator.answered(ask, answer, self._now_s))

    def _wake(self, run: _Run) -> None:
        if self.is_alive and run in self._runs and run.wake_s is not None and self._now_s >= run.wake_s:
            run.wake_s = None
            self._carry_out(run, run.coordinator.tick(self._now_s))

    def _tell_finished(self) -> None:
        names, self._finished = self._finished, []
        for name in names if self.is_alive else ():
            leader = self._entries[name.primary].leader
            if leader is not None:
                self._calls.tell(leader.node, TxnsFinished([name]))
