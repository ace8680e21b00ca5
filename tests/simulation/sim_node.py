"""A node process in the simulation: the real `Partitions`, a simulated disk, no decision of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulation.control import SimControl
from simulation.disk import SimDisk
from simulation.network import CLUSTER_ID, Network
from simulation.sim_scan import SimScan
from simulation.world import World

from kvstore.doubts import TxnCall, TxnNews
from kvstore.effects import Alarm, AskCas, Effect, Reply, Send, SendAll, TakeDigests, Wake
from kvstore.instant import Instant
from kvstore.map_values import Entry, Rid
from kvstore.messages import Body, Fault, ReadOne, ReadStale, ResolveTxns, Scan, TxnsResolved, Verify, WriteOne
from kvstore.node.process import raise_boot
from kvstore.partitions import Partitions
from kvstore.replication.answers import LATER
from kvstore.replication.bucket_digests import BucketDigests
from kvstore.replication.peer import LEASE_MS
from kvstore.replication.retention import Retention
from kvstore.storage.memory import MemorySnapshot
from kvstore.transfers import TransferNews

TICK_MS = 100
APPLY_CHANCE = 0.5
PENDING_BYTES_MAX = 1 << 20
# So few that a round takes several batches of the little that is written here.
SHARE_RECORDS = 4
STOPS_MS = tuple(int(LEASE_MS * share) for share in (0.5, 1, 3, 15))
STOP_CHANCE = 0.003

Answered = Callable[[Any], None]


class SimNode:
    """A node whose clocks are wrong and run at a rate of their own. `changes` counts what may have changed it.

    `reads_clock_first` plants a shell that reads the clock before it opens the snapshot of a read.
    """

    reads_clock_first = False

    def __init__(self, world: World, node_id: str, disk: SimDisk, network: Network, control: SimControl) -> None:
        self.node_id = node_id
        self.disk = disk
        self.partitions: Partitions | None = None
        self.alarms: list[Alarm] = []
        self.changes = 0
        self.peers: list[str] = []
        self.wall_offset_ms = world.rng.randint(-5000, 5000)
        self.rate = world.rng.uniform(0.96, 1.04)
        self.stop_chance = STOP_CHANCE
        self._held: list[Callable[[], None]] | None = None
        self._naps = 0
        self._in_batch = False
        self._world = world
        self._network = network
        self._control = control
        self._incarnation = 0
        self._turn_due = self._apply_due = False
        self._backfill_bytes_per_s = world.rng.choice((0, 0, 4000))
        self._retention = Retention(world.rng.choice((200, 2000, 600_000)), world.rng.choice((500, 1 << 30)))
        self._after_batch: list[Callable[[], None]] = []
        self._releasing: list[Callable[[], None]] = []
        self._boot = 0
        self.is_new = True

    @property
    def is_up(self) -> bool:
        return self.partitions is not None

    @property
    def is_stopped(self) -> bool:
        """Whether the process stands still."""
        return self._held is not None

    def now(self) -> Instant:
        return self._world.instant(self.wall_offset_ms, self.rate)

    # ---- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process on what its disk holds."""
        assert self.partitions is None
        self.changes += 1
        self._incarnation += 1
        state = raise_boot(self.disk, self.node_id)  # type: ignore[arg-type]
        if state.is_retired:
            self.disk = SimDisk(self._world)
            state = raise_boot(self.disk, self.node_id)  # type: ignore[arg-type]
        self.is_new = not state.cluster_id
        rng = self._world.rng
        self.partitions = Partitions(state, lambda: rng.randbytes(16), PENDING_BYTES_MAX)
        self.partitions.filling.set_rate(self._backfill_bytes_per_s)
        self.partitions.applies.share_records = SHARE_RECORDS
        self.partitions.join(CLUSTER_ID, self._boot)
        self._boot = self.partitions.state.boot
        self._perform(self.partitions.load(self.disk.snapshot()))
        self._turn_due = self._apply_due = self._in_batch = False
        incarnation = self._incarnation
        self._world.at(rng.uniform(0, TICK_MS), lambda: self._tick(incarnation))

    def crash(self) -> None:
        """kill -9."""
        self.partitions = None
        self._incarnation += 1
        self._after_batch, self._releasing = [], []
        self._held = None
        self.disk.crash()

    def pause(self, ms: float) -> None:
        """SIGSTOP for so long: nothing happens here, and what arrives waits."""
        if self.partitions is not None and self._held is None:
            self._held = []
            self._naps += 1
            nap = self._naps
            self._world.at(ms, lambda: self.wake() if nap == self._naps else None)

    def wake(self) -> None:
        """SIGCONT: what waited happens, in its order."""
        held, self._held = self._held or [], None
        for then in held:
            self._world.at(0, then)

    def _sleeps(self, then: Callable[[], None]) -> bool:
        """Whether the process stands still; `then` is done when it goes on."""
        if self._held is None:
            return False
        self._held.append(then)
        return True

    def wipe(self) -> None:
        """The disk of a node that is down is replaced by an empty one."""
        assert self.partitions is None
        self.disk = SimDisk(self._world)

    def create_copy(self, pid: int, made: Callable[[Rid], None]) -> None:
        """Control asks for a copy; `made` is called once it is durable."""
        if self.partitions is not None:
            ((_, rid),) = self.partitions.create_copies([pid])
            self._after_batch.append(lambda: made(rid))
            self._schedule()

    def retire(self, noted: Callable[[], None]) -> None:
        """Control says that this node is a member no more; `noted` is called once that is durable."""
        if self._sleeps(lambda: self.retire(noted)):
            return
        if self.partitions is not None:
            self.partitions.retire()
            self._after_batch.append(noted)
            self._schedule()

    def _tick(self, incarnation: int) -> None:
        if incarnation != self._incarnation or self.partitions is None:
            return
        if self._sleeps(lambda: self._tick(incarnation)):
            return
        self._perform(self.partitions.tick(self.disk.snapshot(), self.now()))
        self._perform(self.partitions.truncation.advance(self.disk.snapshot(), self.now(), self._retention))
        self._apply_due = self._apply_due or self._world.rng.random() < APPLY_CHANCE
        self._schedule()
        self._world.at(TICK_MS, lambda: self._tick(incarnation))

    # ---- events -------------------------------------------------------------------------------------------------

    def receive(self, source: str, body: Body) -> None:
        """A message of another node."""
        if isinstance(body, TxnNews):
            self.txn_news(source, body)
            return
        if self._sleeps(lambda: self.receive(source, body)):
            return
        if self.partitions is not None:
            if isinstance(body, TransferNews):
                self.partitions.transfers.handle(source, body)
            else:
                self._perform(self.partitions.handle(source, body, self.now()))  # type: ignore[arg-type]
            self._schedule()

    def on_entries(self, entries: list[Entry]) -> None:
        """Map entries arrived."""
        if self._sleeps(lambda: self.on_entries(entries)):
            return
        if self.partitions is not None:
            self._perform(self.partitions.on_entries(entries, self.now()))
            self._schedule()

    def drop_copies(self, entries: list[Entry]) -> None:
        """Control says which copies nobody needs."""
        if self._sleeps(lambda: self.drop_copies(entries)):
            return
        if self.partitions is not None:
            self._perform(self.partitions.drop_copies(entries))
            self._schedule()

    def reachable(self, peer: str) -> None:
        """A connection to `peer` stands."""
        if self._sleeps(lambda: self.reachable(peer)):
            return
        if self.partitions is not None:
            self._perform(self.partitions.reachable(peer, self.now()))
            self._schedule()

    def unreachable(self, peer: str) -> None:
        """The connection to `peer` is gone."""
        if self._sleeps(lambda: self.unreachable(peer)):
            return
        if self.partitions is not None:
            self.partitions.unreachable(peer, self.now())

    def read(self, read: ReadOne, answered: Answered, is_quorum: bool = False) -> None:
        """A gateway's read of what this node should lead."""

        def ask(partitions: Partitions, view: MemorySnapshot, now: Instant) -> Any:
            if is_quorum:
                return partitions.reads.quorum(answered, read, view, now)
            rows = partitions.reads.at_once([read], view, now, 1 << 20)
            return partitions.reads.plain(answered, read, view, now) if rows is None else rows[0]

        self._read(ask, answered)

    def read_stale(self, asked: ReadStale, answered: Answered) -> None:
        """A gateway's read of any copy."""

        self._read(lambda partitions, view, now: partitions.reads.stale(answered, asked, view, now), answered)

    def scan(self, scan: Scan, answered: Answered) -> None:
        """A gateway's scan of what this node should lead; the answer is a page, or why there is none."""
        job = SimScan(scan, lambda: self._world.at(self._world.rng.uniform(0, 50), go_on))

        def go_on() -> None:
            self._read(job.ask, answered)

        go_on()

    def _read(self, ask: Callable[[Partitions, MemorySnapshot, Instant], Any], answered: Answered) -> None:
        """As the shell does it: the snapshot first, then the clock. The process may be stopped in between."""
        if self._sleeps(lambda: self._read(ask, answered)):
            return
        if self.partitions is None:
            answered(Fault("no_leader", "down"))
            return
        view = None if self.reads_clock_first else self.disk.snapshot()
        now = self.now() if self.reads_clock_first else None
        if self._world.rng.random() < self.stop_chance:
            self.pause(self._world.rng.choice(STOPS_MS))
        self._finish_read(ask, answered, view, now, self._incarnation)

    def _finish_read(
        self,
        ask: Callable[[Partitions, MemorySnapshot, Instant], Any],
        answered: Answered,
        view: MemorySnapshot | None,
        now: Instant | None,
        incarnation: int,
    ) -> None:
        if incarnation != self._incarnation or self.partitions is None:
            return
        if self._sleeps(lambda: self._finish_read(ask, answered, view, now, incarnation)):
            return
        answer = ask(self.partitions, view or self.disk.snapshot(), now or self.now())
        if answer is not LATER:
            answered(answer)
        self._schedule()

    def write(self, write: WriteOne, answered: Answered) -> None:
        """A gateway's write."""
        if self._sleeps(lambda: self.write(write, answered)):
            return
        if self.partitions is None:
            answered(Fault("no_leader", "down"))
            return
        result = self.partitions.write(answered, write, self.disk.snapshot(), self.now())
        if result is not LATER:
            answered(result)
        self._schedule()

    def transact(self, asked: TxnCall, answered: Answered) -> None:
        """A call of a coordinator."""

        def ask(partitions: Partitions, view: MemorySnapshot, now: Instant) -> Any:
            return partitions.doubts.call(answered, asked, view, now, partitions.is_full)

        self._read(ask, answered)

    def txn_news(self, source: str, news: TxnNews) -> None:
        """Another node, or a gateway, asks or tells of transactions."""

        def take(partitions: Partitions, view: MemorySnapshot, now: Instant) -> Any:
            self._perform(partitions.doubts.on_news(source, news, view, now))
            return LATER

        if self.partitions is not None:
            self._read(take, lambda _: None)

    def txn_ask(self, asked: ResolveTxns, answered: Answered) -> None:
        """A gateway asks who leads the primary for decisions."""

        def take(partitions: Partitions, view: MemorySnapshot, now: Instant) -> Any:
            told = partitions.doubts.on_news("", asked, view, now)
            return told[0].body if told and isinstance(told[0], Send) else TxnsResolved([])

        if self.partitions is not None:
            self._read(take, answered)

    def verify(self, asked: Verify, answered: Answered) -> None:
        """Somebody has the copies of a partition compared; nobody answers where the process stands still."""
        if self.partitions is None or self._held is not None:
            answered(Fault("no_leader", "down"))
            return
        answered(self.partitions.verifications.ask(asked, self.now()))
        self._schedule()

    # ---- turns --------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        self.changes += 1
        if not self._turn_due:
            self._turn_due = True
            incarnation = self._incarnation
            self._world.at(0, lambda: self._turn(incarnation))

    def _turn(self, incarnation: int) -> None:
        partitions = self.partitions
        if incarnation != self._incarnation or partitions is None:
            return
        if self._sleeps(lambda: self._turn(incarnation)):
            return
        self._turn_due = False
        self.changes += 1
        if partitions.reads.are_waiting:
            self._perform(partitions.reads.retry(self.disk.snapshot(), self.now()))
        if partitions.doubts.are_waiting:
            self._perform(partitions.doubts.retry(self.disk.snapshot(), self.now(), partitions.is_full))
        for send in partitions.stream(self.disk.snapshot(), self.now()):
            self._network.send(self.node_id, send.node, send.body)
        if partitions.filling.is_due:
            self._perform(partitions.filling.advance(self.disk.snapshot(), self.now()))
        if partitions.transfers.is_due:
            self._perform(partitions.transfers.advance(self.disk.snapshot(), self.now(), partitions.is_full))
        if self._in_batch or not (partitions.needs_batch or self._apply_due or self._after_batch):
            return
        turn = partitions.collect(self.disk.snapshot(), self.now(), self._apply_due)
        self._apply_due = False
        self._releasing, self._after_batch = self._after_batch, []
        for send in turn.at_once:
            self._network.send(self.node_id, send.node, send.body)
        self._in_batch = True
        self.disk.submit(turn.batch, lambda: self._durable(incarnation))

    def _durable(self, incarnation: int) -> None:
        if incarnation != self._incarnation or self.partitions is None:
            return
        if self._sleeps(lambda: self._durable(incarnation)):
            return
        self._in_batch = False
        self._perform(self.partitions.durable())
        releasing, self._releasing = self._releasing, []
        for callback in releasing:
            callback()
        self._schedule()

    def _digest(self, asked: TakeDigests) -> None:
        """The snapshot of now, digested for a while."""
        digests = BucketDigests(asked.prefix, self.disk.snapshot(), asked.buckets)
        incarnation = self._incarnation

        def step() -> None:
            if incarnation != self._incarnation or self.partitions is None or self._sleeps(step):
                return
            if digests.step():
                self._perform(self.partitions.verifications.digested(asked, digests, "", self.now()))
                self._schedule()
            else:
                self._world.at(5, step)

        self._world.at(self._world.rng.uniform(0, 500), step)

    def _perform(self, effects: list[Effect]) -> None:
        self.changes += 1
        for effect in effects:
            if isinstance(effect, Send):
                self._network.send(self.node_id, effect.node, effect.body)
            elif isinstance(effect, SendAll):
                for peer in self.peers:
                    self._network.send(self.node_id, peer, effect.body)
            elif isinstance(effect, Reply):
                effect.ticket(effect.result)  # type: ignore[operator]
            elif isinstance(effect, AskCas):
                self._control.ask(self.node_id, effect.entry)
            elif isinstance(effect, TakeDigests):
                self._digest(effect)
            elif isinstance(effect, Wake):
                self._world.at(effect.ms, self._schedule)
            elif isinstance(effect, Alarm):
                self.alarms.append(effect)
