"""Transactions in a simulated cluster: who makes them, and what must be true of locks in time and at rest."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from simulation.control import SimControl
from simulation.gateway_calls import Call, GatewayCalls
from simulation.history import History
from simulation.layouts import Layouts
from simulation.network import Network
from simulation.sim_node import SimNode
from simulation.timeline import Timeline
from simulation.txn_checkers import TxnWatch
from simulation.txn_clients import TxnClients
from simulation.txn_gateways import SimGateway
from simulation.txn_requests import TxnRequests
from simulation.violation import Violation
from simulation.world import World

from kvstore.messages import Prepare, ResolveTxns, Transact
from kvstore.replication.leader import Leader
from kvstore.txn import primary
from kvstore.txn.evaluate import keys_of

TIMEOUTS_S = (1.0, 3.0, 5.0)
LOOK_MS = 250
LOCKED_MS_MAX = 10_000
REPLAY_MS = (4000, 8000)


class Transacting:
    """Args: keys: those that others write too, by partition."""

    def __init__(
        self,
        world: World,
        network: Network,
        nodes: dict[str, SimNode],
        control: SimControl,
        history: History,
        timeline: Timeline,
        keys: dict[int, list[bytes]],
        layouts: Layouts,
    ) -> None:
        self.requests = TxnRequests(world, history)
        self.watch = TxnWatch(world, timeline, self.requests, layouts)
        self.calls = GatewayCalls(world, nodes, self.watch)
        self.on_told: Callable[[], None] = lambda: None
        self.clients = TxnClients(world, timeline, self.calls, self.new_gateway, keys)
        self._world = world
        self._network = network
        self._nodes = nodes
        self._control = control
        self._history = history
        self._layouts = layouts
        self._timeout_s = 0.0
        self._unwell_ms: dict[int, float] = dict.fromkeys(keys, 0.0)
        self._led: dict[int, Leader] = {}

    def new_gateway(self) -> SimGateway:
        gateway = SimGateway(self._world, self._control, self.calls, self.requests, self._layouts, self._timeout_s)
        gateway.on_told = self.on_told
        return gateway

    def begin(self) -> None:
        """Make transactions from now on."""
        self._timeout_s = self._world.rng.choice(TIMEOUTS_S)
        self.clients.begin()
        self._look()

    def heal(self) -> None:
        """Nothing new begins; everything that was ever sent arrives once more, at whoever leads then."""
        self.clients.heal()
        for call in list(self.calls.sent):
            self._history.count("txn_sent")
            self._world.at(self._world.rng.uniform(*REPLAY_MS), partial(self._replay, call))

    def _replay(self, call: Call) -> None:
        question = call.question
        pid = question.asks[0].txn.primary if isinstance(question, ResolveTxns) else question.pid
        entry = self._control.map.entries[pid]
        if entry.leader is not None:
            # Nobody asks by a newer entry for keys that have gone elsewhere.
            keys = keys_of(question.part) if isinstance(question, Prepare | Transact) else []
            is_same = all(self._layouts.pid_of(key) == pid for key in keys)
            self.calls.arrive_again(entry.leader.node, call, entry if is_same else None)

    # ---- locks in time ------------------------------------------------------------------------------------------

    def _leader(self, pid: int) -> Leader | None:
        """Who serves a partition by the map."""
        entry = self._control.map.entries[pid]
        partitions = None if entry.leader is None else self._nodes[entry.leader.node].partitions
        partition = None if partitions is None else partitions.get(pid)
        leader = None if partition is None else partition.leader
        return leader if leader is not None and leader.closed is None else None

    def _look(self) -> None:
        """No lock is old while the primary and its own partition are led and messages flow."""
        now_ms = self._world.now_ms
        for pid in self._control.map.entries:
            leader = self._leader(pid)
            is_well = self._network.is_whole and not any(node.is_stopped for node in self._nodes.values())
            if leader is None or self._led.get(pid) is not leader or not is_well:
                self._unwell_ms[pid] = now_ms
            if leader is not None:
                self._led[pid] = leader
        for (pid, name), (prepared, since_ms) in self.watch.prepared.items():
            well_ms = max(since_ms, *(self._unwell_ms.get(one, now_ms) for one in (pid, name.primary)))
            if now_ms - well_ms > LOCKED_MS_MAX:
                raise Violation(f"locks: partition {pid} holds {prepared.keys} for {name} since {since_ms:.0f}")
        self._world.at(LOOK_MS, self._look)

    # ---- rest ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing is prepared, locked or hidden, and no decision is kept for somebody who has heard of it long ago."""
        if self.watch.prepared:
            raise Violation(f"liveness: prepared after healing: {self.watch.prepared}")
        for pid in self._control.map.entries:
            leader = self._leader(pid)
            assert leader is not None, "who leads was looked at before"
            txns, copy = leader.txns, leader.txns.participant._copy
            held = txns.participant.held, txns.locks.holders, txns.participant.hidden
            if any(held) or copy.txns.prepared or copy.txns.blocked or txns.has_waiting:
                raise Violation(f"liveness: partition {pid} holds {held} after healing")
            self._check_undone(pid, leader)

    def _check_undone(self, pid: int, leader: Leader) -> None:
        kept = {token: one for token, one in self.watch.undone.items() if one.txn.primary == pid}
        undone = leader.txns.primary._undone
        if set(undone) != set(kept):
            raise Violation(f"partition {pid} keeps {sorted(undone)}, undone are {sorted(kept)}")
        age_ms = primary.UNDONE_ASK_AFTER_MS + primary.UNDONE_ASK_AGAIN_MS
        now_ms = self._nodes[self._control.map.entries[pid].leader.node].now().mono_ms  # type: ignore[union-attr]
        old = [token for token, (since_ms, _) in undone.items() if now_ms - since_ms > age_ms]
        if old:
            raise Violation(f"liveness: partition {pid} has not forgotten {old} after healing")
