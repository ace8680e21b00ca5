"""A node process in the simulation: the real `Partitions`, a simulated disk, no decision of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulation.control import SimControl
from simulation.disk import SimDisk
from simulation.network import Network
from simulation.world import World

from kvstore.effects import Alarm, AskCas, Effect, Reply, Send
from kvstore.instant import Instant
from kvstore.messages import Body, Entry, Fault, ReadOne, WriteOne
from kvstore.node.process import raise_boot
from kvstore.partitions import Partitions
from kvstore.replication.leader import LATER

TICK_MS = 100
PENDING_BYTES_MAX = 1 << 20

Answered = Callable[[Any], None]


class SimNode:
    """Args: wall_offset_ms: the error of this node's calendar."""

    def __init__(self, world: World, node_id: str, disk: SimDisk, network: Network, control: SimControl) -> None:
        self.node_id = node_id
        self.disk = disk
        self.partitions: Partitions | None = None
        self.alarms: list[Alarm] = []
        self.wall_offset_ms = world.rng.randint(-5000, 5000)
        self._world = world
        self._network = network
        self._control = control
        self._incarnation = 0
        self._turn_due = False
        self._apply_due = False

    @property
    def is_up(self) -> bool:
        return self.partitions is not None

    def now(self) -> Instant:
        return self._world.instant(self.wall_offset_ms)

    # ---- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process on what its disk holds."""
        assert self.partitions is None
        self._incarnation += 1
        state = raise_boot(self.disk, self.node_id)  # type: ignore[arg-type]
        rng = self._world.rng
        self.partitions = Partitions(state, lambda: rng.randbytes(16), PENDING_BYTES_MAX)
        self._perform(self.partitions.load(self.disk.snapshot()))
        self._turn_due = self._apply_due = False
        incarnation = self._incarnation
        self._world.at(rng.uniform(0, TICK_MS), lambda: self._tick(incarnation))

    def crash(self) -> None:
        """kill -9."""
        self.partitions = None
        self._incarnation += 1
        self.disk.crash()

    def _tick(self, incarnation: int) -> None:
        if incarnation != self._incarnation or self.partitions is None:
            return
        self._perform(self.partitions.tick(self.disk.snapshot(), self.now()))
        self._apply_due = True
        self._schedule()
        self._world.at(TICK_MS, lambda: self._tick(incarnation))

    # ---- events -------------------------------------------------------------------------------------------------

    def receive(self, source: str, body: Body) -> None:
        """A message of another node."""
        if self.partitions is not None:
            self._perform(self.partitions.handle(source, body, self.now()))  # type: ignore[arg-type]
            self._schedule()

    def on_entries(self, entries: list[Entry]) -> None:
        """Map entries arrived."""
        if self.partitions is not None:
            self._perform(self.partitions.on_entries(entries, self.now()))
            self._schedule()

    def reachable(self, peer: str) -> None:
        """A connection to `peer` stands."""
        if self.partitions is not None:
            self._perform(self.partitions.reachable(peer, self.now()))
            self._schedule()

    def unreachable(self, peer: str) -> None:
        """The connection to `peer` is gone."""
        if self.partitions is not None:
            self.partitions.unreachable(peer)

    def read(self, read: ReadOne, answered: Answered) -> None:
        """A gateway's read."""
        if self.partitions is None:
            answered(Fault("no_leader", "down"))
            return
        row = self.partitions.read(answered, read, self.disk.snapshot(), self.now())
        if row is not LATER:
            answered(row)
        self._schedule()

    def write(self, write: WriteOne, answered: Answered) -> None:
        """A gateway's write."""
        if self.partitions is None:
            answered(Fault("no_leader", "down"))
            return
        result = self.partitions.write(answered, write, self.disk.snapshot(), self.now())
        if result is not LATER:
            answered(result)
        self._schedule()

    # ---- turns --------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            incarnation = self._incarnation
            self._world.at(0, lambda: self._turn(incarnation))

    def _turn(self, incarnation: int) -> None:
        partitions = self.partitions
        if incarnation != self._incarnation or partitions is None:
            return
        self._turn_due = False
        if partitions.has_reads_waiting:
            self._perform(partitions.retry_reads(self.disk.snapshot(), self.now()))
        if self.disk.is_busy or not (partitions.needs_batch or self._apply_due):
            return
        turn = partitions.collect(self.disk.snapshot(), self.now(), self._apply_due)
        self._apply_due = False
        for send in turn.at_once:
            self._network.send(self.node_id, send.node, send.body)
        self.disk.submit(turn.batch, lambda: self._durable(incarnation))

    def _durable(self, incarnation: int) -> None:
        if incarnation != self._incarnation or self.partitions is None:
            return
        self._perform(self.partitions.durable())
        self._schedule()

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._network.send(self.node_id, effect.node, effect.body)
            elif isinstance(effect, Reply):
                effect.ticket(effect.result)  # type: ignore[operator]
            elif isinstance(effect, AskCas):
                self._control.ask(self.node_id, effect.entry)
            elif isinstance(effect, Alarm):
                self.alarms.append(effect)
