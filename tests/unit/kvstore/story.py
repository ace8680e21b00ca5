"""Nodes on a table: real `Partitions` on memory engines, and every batch, message and answer moved by hand.

A story says what happens in which order; nothing happens by itself but what `settle` lets happen.
"""

from __future__ import annotations

from typing import Any

from kvstore.candidate import GRACE_MS, GRACE_STEP_MS
from kvstore.doubts import TxnCall, TxnNews
from kvstore.effects import Alarm, AskCas, Effect, Reply, Send, SendAll, TakeDigests, Turn, Wake
from kvstore.instant import Instant
from kvstore.leases import PING_MS
from kvstore.map_values import Entry, Rid
from kvstore.messages import Body, Fault, ReadOne, ReadStale, StaleResult, WriteOne, Written
from kvstore.node.process import raise_boot
from kvstore.partition import Partition
from kvstore.partitions import Partitions
from kvstore.replication.answers import LATER
from kvstore.replication.bucket_digests import BucketDigests
from kvstore.replication.leader import Leader
from kvstore.replication.peer import NEWS_MS
from kvstore.storage.engine import Table
from kvstore.storage.journal import Journal
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import decode_log_row, decode_value, seq_key
from kvstore.transfers import TransferNews

PID = 1
PENDING_BYTES_MAX = 1 << 20
TICK_MS = 100
ALL_GRACE_MS = GRACE_MS + GRACE_STEP_MS + TICK_MS


class StoryNode:
    """One node. `sent` is on its way, `replies` holds the answers by ticket, `asks` the compare-and-sets."""

    def __init__(self, story: Story, node_id: str, pending_bytes_max: int) -> None:
        self.node_id = node_id
        self.engine = MemoryEngine()
        self.sent: list[Send] = []
        self.replies: dict[str, Any] = {}
        self.asks: list[Entry] = []
        self.alarms: list[str] = []
        self.wakes: list[int] = []
        self.digesting: list[tuple[TakeDigests, Any]] = []
        self._story = story
        self._pending_bytes_max = pending_bytes_max
        self._stores = 0
        self.start()

    def start(self) -> None:
        """Start the process on what the engine holds."""
        self._turn: Turn | None = None
        self.partitions = Partitions(
            raise_boot(self.engine, self.node_id),  # type: ignore[arg-type]
            self._new_store_id,
            self._pending_bytes_max,
        )
        self.perform(self.partitions.load(self.engine.snapshot()))

    def restart(self) -> None:
        """kill -9 and start again: what was not durable is gone, and so is what was on its way."""
        self.sent, self.asks, self.replies, self.digesting = [], [], {}, []
        self.start()

    def _new_store_id(self) -> bytes:
        self._stores += 1
        return f"{self.node_id}-store-{self._stores}".encode().ljust(16, b".")

    @property
    def partition(self) -> Partition:
        partition = self.partitions.get(PID)
        assert partition is not None
        return partition

    @property
    def leader(self) -> Leader:
        assert self.partition.leader is not None, f"{self.node_id} does not lead"
        return self.partition.leader

    @property
    def rid(self) -> Rid:
        return self.partition.copy.name.rid

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append(effect)
            elif isinstance(effect, SendAll):
                self.sent += [Send(node, effect.body) for node in self._story.nodes if node != self.node_id]
            elif isinstance(effect, Reply):
                assert effect.ticket not in self.replies, "answered twice"
                self.replies[str(effect.ticket)] = effect.result
            elif isinstance(effect, AskCas):
                self.asks.append(effect.entry)
            elif isinstance(effect, TakeDigests):
                self.digesting.append((effect, self.engine.snapshot()))
            elif isinstance(effect, Wake):
                self.wakes.append(effect.ms)
            elif isinstance(effect, Alarm):
                self.alarms.append(effect.text)

    # ---- batches ------------------------------------------------------------------------------------------------

    def begin_batch(self, apply: bool = False) -> None:
        """Form a batch; what may leave beside it leaves."""
        self._turn = self.partitions.collect(self.engine.snapshot(), self._story.now, apply)
        self.perform([*self._turn.at_once])

    def end_batch(self) -> None:
        """The batch is durable."""
        assert self._turn is not None
        self.engine.commit(self._turn.batch)
        self._turn = None
        self.perform(self.partitions.durable())
        self.retry()

    def batch(self, apply: bool = False) -> None:
        self.begin_batch(apply)
        self.end_batch()

    def tick(self) -> None:
        self.perform(self.partitions.tick(self.engine.snapshot(), self._story.now))

    def digest(self) -> None:
        """What is to be digested is."""
        while self.digesting:
            asked, view = self.digesting.pop(0)
            digests = BucketDigests(asked.prefix, view, asked.buckets)
            while not digests.step():
                pass
            self.perform(self.partitions.verifications.digested(asked, digests, "", self._story.now))

    def fill(self) -> None:
        """Data that others asked for leaves, and the next is asked for, as far as the pace allows."""
        self.perform(self.partitions.filling.advance(self.engine.snapshot(), self._story.now))

    def carry(self) -> bool:
        """Transfers go on; returns whether they will again at once."""
        partitions = self.partitions
        effects = partitions.transfers.advance(self.engine.snapshot(), self._story.now, partitions.is_full)
        self.perform(effects)
        return Wake(0) in effects

    # ---- requests -----------------------------------------------------------------------------------------------

    def write(self, ticket: str, write: WriteOne) -> Any:
        """The answer, or LATER."""
        result = self.partitions.write(ticket, write, self.engine.snapshot(), self._story.now)
        if result is not LATER:
            self.replies[ticket] = result
        return result

    def put(self, ticket: str, key: bytes, value: bytes = b"value", **fields: Any) -> Any:
        return self.write(ticket, WriteOne(PID, self.partition.ver, key, value, **fields))

    def delete(self, ticket: str, key: bytes, **fields: Any) -> Any:
        return self.write(ticket, WriteOne(PID, self.partition.ver, key, None, **fields))

    def call(self, ticket: str, asked: TxnCall) -> Any:
        """The answer to a coordinator's call, or LATER."""
        view, now = self.engine.snapshot(), self._story.now
        result = self.partitions.doubts.call(ticket, asked, view, now, self.partitions.is_full)
        if result is not LATER:
            self.replies[ticket] = result
        return result

    def read(self, ticket: str, key: bytes) -> Any:
        """The value, None, a fault or LATER."""
        read = ReadOne(PID, self.partition.ver, key)
        return plain(self.partitions.reads.plain(ticket, read, self.engine.snapshot(), self._story.now))

    def read_quorum(self, ticket: str, key: bytes) -> Any:
        """The value, None, a fault or LATER; the next round of questions leaves."""
        read = ReadOne(PID, self.partition.ver, key)
        result = plain(self.partitions.reads.quorum(ticket, read, self.engine.snapshot(), self._story.now))
        self.retry()
        return result

    def read_stale(self, key: bytes, max_stale_ms: int | None = None, ticket: str = "stale") -> Any:
        """(value, lag), a fault or LATER."""
        asked = ReadStale(ReadOne(PID, self.partition.ver, key), max_stale_ms, self._story.entry.layout)
        result = self.partitions.reads.stale(ticket, asked, self.engine.snapshot(), self._story.now)
        return (plain(result.row), result.lag_ms) if isinstance(result, StaleResult) else result

    def receive(self, source: str, body: Body) -> None:
        if isinstance(body, TxnNews):
            self.perform(self.partitions.doubts.on_news(source, body, self.engine.snapshot(), self._story.now))
        elif isinstance(body, TransferNews):
            self.partitions.transfers.handle(source, body)
        else:
            self.perform(self.partitions.handle(source, body, self._story.now))  # type: ignore[arg-type]
        self.retry()

    def retry(self) -> None:
        """Go on with those who need not wait any more."""
        view, now = self.engine.snapshot(), self._story.now
        self.perform(self.partitions.reads.retry(view, now))
        self.perform(self.partitions.doubts.retry(view, now, self.partitions.is_full))

    def on_entry(self, entry: Entry) -> None:
        self.perform(self.partitions.on_entries([entry], self._story.now))

    def rows_equal(self, other: StoryNode) -> bool:
        """Whether its copy holds what the other's does."""
        return all(self.rows(table) == other.rows(table) for table in (Table.DATA, Table.EXPIRY, Table.TXN))

    def rows(self, table: Table) -> dict[bytes, bytes]:
        """What its copy of the partition has in `table`, and of the log what stands in the journal."""
        copy, view = self.partition.copy, self.engine.snapshot()
        rows = {key[4:]: row for key, row in view.scan(table, copy.prefix, copy.prefix + b"\xff" * 500)}
        if table is Table.LOG:
            for row in Journal().load(view).get(copy.number, []):
                rows[seq_key(b"", decode_log_row(row).first_seq)] = row
        return rows


class Story:
    """Partition 1 on nodes n1 (the preferred leader) and n2, others, each preferring the next node, if asked for, and
    what stands in the map."""

    def __init__(
        self, nodes: int = 2, pending_bytes_max: int = PENDING_BYTES_MAX, pids: tuple[int, ...] = (PID,)
    ) -> None:
        self.now = Instant(10_000, 1_700_000_000_000)
        self.nodes = {
            node_id: StoryNode(self, node_id, pending_bytes_max)
            for node_id in [f"n{number}" for number in range(1, nodes + 1)]
        }
        self.n1 = self.nodes["n1"]
        self.entries: dict[int, Entry] = {}
        for first, pid in enumerate(pids):
            rids = [rid for node in self.nodes.values() for _, rid in node.partitions.create_copies([pid])]
            rids = rids[first % nodes :] + rids[: first % nodes]
            self.entries[pid] = Entry(pid, "default", 1, 0, None, tuple(rids), tuple(rids))
        for node in self.nodes.values():
            node.batch()

    @property
    def entry(self) -> Entry:
        return self.entries[PID]

    @entry.setter
    def entry(self, entry: Entry) -> None:
        self.entries[PID] = entry

    @property
    def n2(self) -> StoryNode:
        return self.nodes["n2"]

    def pass_ms(self, ms: int) -> None:
        self.now = Instant(self.now.mono_ms + ms, self.now.wall_ms + ms)

    def push(self) -> None:
        """Control tells every node which entry stands."""
        for node in self.nodes.values():
            for entry in self.entries.values():
                node.on_entry(entry)

    def land(self, node: StoryNode) -> Entry:
        """Control judges the oldest compare-and-set of `node` and answers with what then stands."""
        asked = node.asks.pop(0)
        stands = self.entries.get(asked.pid, self.entry)
        if asked.ver == stands.ver + 1:
            stands = self.entries[asked.pid] = asked
        node.on_entry(stands)
        return stands

    def deliver(self, source: StoryNode, kind: type[Body] | None = None) -> list[Body]:
        """What `source` sent arrives: all of it, or the messages of one kind."""
        moving = [send for send in source.sent if kind is None or isinstance(send.body, kind)]
        source.sent = [send for send in source.sent if send not in moving]
        for send in moving:
            self.nodes[send.node].receive(source.node_id, send.body)
        return [send.body for send in moving]

    def drop(self, *nodes: StoryNode) -> None:
        """What these nodes sent is lost."""
        for node in nodes or self.nodes.values():
            node.sent.clear()

    def settle(self, apply: bool = False) -> None:
        """Let everything that is due happen, until nothing is; with `apply`, all copies apply what is committed."""
        self._drain()
        if apply:
            self.pass_ms(NEWS_MS)
            for node in self.nodes.values():
                node.tick()
            self._drain()
            for node in self.nodes.values():
                node.batch(apply=True)
            self._drain()

    def _drain(self) -> None:
        for _ in range(100):
            busy = False
            for node in self.nodes.values():
                while node.asks:
                    self.land(node)
                    self.push()
                    busy = True
                if node.partitions.needs_batch:
                    node.batch()
                    busy = True
                node.fill()
                node.digest()
                busy = node.carry() or busy
                busy = bool(self.deliver(node)) or busy
            if not busy:
                return
        raise AssertionError("it never settles")

    def beat(self) -> None:
        """Leaders ask for their leases, and get them."""
        self.pass_ms(PING_MS)
        for node in self.nodes.values():
            node.tick()
        self._drain()

    def lead(self) -> StoryNode:
        """n1 becomes leader and serves, and everybody knows."""
        self.push()
        self.settle()
        assert self.n1.leader.is_serving
        return self.n1

    def restart(self, node: StoryNode) -> None:
        """The process of `node` ends and starts again; control and the others find it."""
        node.restart()
        for other in self.nodes.values():
            if other is not node:
                other.partitions.unreachable(node.node_id, self.now)
                other.sent = [send for send in other.sent if send.node != node.node_id]
        for entry in self.entries.values():
            node.on_entry(entry)
        for other in self.nodes.values():
            if other is not node:
                other.perform(other.partitions.reachable(node.node_id, self.now))


def alone(story: Story, node: StoryNode, ms: int) -> None:
    """Time passes at `node`, and nothing that anybody sends arrives."""
    for _ in range(ms // TICK_MS):
        story.pass_ms(TICK_MS)
        node.tick()
        if node.partitions.needs_batch:
            node.batch()
        story.drop()


def taken_over(story: Story) -> StoryNode:
    """n1 is gone, n2 leads and serves."""
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    story.land(n2)
    n2.batch()
    assert n2.leader.is_serving
    return n2


def returned(story: Story, n1: StoryNode) -> StoryNode:
    """n2 took over, n1 is back in sync."""
    n2 = taken_over(story)
    n1.on_entry(story.entry)
    n2.perform(n2.partitions.reachable("n1", story.now))
    story.settle()
    for _ in range(4):
        story.beat()
    assert len(story.entry.in_sync) == 2
    return n2


def plain(row: Any) -> Any:
    """A stored row as its value; anything else as it is."""
    return decode_value(row).value if isinstance(row, bytes) else row


def version(written: Any) -> tuple[int, int]:
    assert isinstance(written, Written), written
    return written.epoch, written.seq


def code(result: Any) -> str:
    assert isinstance(result, Fault), result
    return result.code
