"""The shell of a node: carries out what the protocol asks for.

Guarantees: one batch at a time goes to the writer, and none waits for others' rows (`company`) for longer than
`COMPANY_S`; what depends on it leaves only after it is durable; all that came in one loop turn shares one read
transaction, but for what `service` reads at once, and all that goes out shares one write per connection; a turn that
fails half-way ends the process, for what is left of it in memory is not what a start would find. It takes no protocol
decision. Leaves to others: the protocol (`partitions`), the meaning of calls (`service`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import structlog

from kvstore.clock import Clock
from kvstore.effects import Alarm, AskCas, Effect, Reply, Report, Send, SendAll, TakeDigests, Wake
from kvstore.instant import Instant
from kvstore.map_values import Entry, NodeInfo, Standing
from kvstore.messages import Acked, Append, CasResult, Chunk, CompareAndSet, KeysPiece, PullChunk, PullKeys
from kvstore.node.bulk import ROLE, BulkAnswers, BulkLinks
from kvstore.node.company import Company
from kvstore.node.controls import Controls
from kvstore.node.digester import Digester
from kvstore.node.ending import end_process
from kvstore.node.metrics import NodeMetrics
from kvstore.node.pending import PendingCall, PendingUrgent
from kvstore.partition import Replicated
from kvstore.partitions import Partitions
from kvstore.replication.bucket_digests import BucketDigests
from kvstore.rpc.client import Identity, Link
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection, Handler, RpcError
from kvstore.storage.engine import Batch, Engine, EngineError, MapFull, Snapshot
from kvstore.storage.writer import Writer
from kvstore.transfers import TransferNews

CAS_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 10.0
MAP_FULL_TRIES_MAX = 5
APPLY_S = 0.1
URGENT_MS = 200
# How long a large batch waits for rows of other nodes: a fraction of what it takes.
COMPANY_S = 0.002

log = structlog.get_logger("node")


class Shell:
    """Args: engine: opened; partitions: loaded; handler: gets what peers answer on links that this node dialled."""

    def __init__(
        self, engine: Engine, partitions: Partitions, clock: Clock, metrics: NodeMetrics, handler: Handler
    ) -> None:
        self.engine = engine
        self.partitions = partitions
        self.clock = clock
        self.metrics = metrics
        self.controls = Controls()
        self.peers: dict[str, Link] = {}
        self.bulk = BulkAnswers(metrics.sent_chunk)
        self.urgent: set[PendingUrgent] = set()
        self.company = Company()
        self._wait: asyncio.TimerHandle | None = None
        self._bulk_links = BulkLinks(lambda: self._identity(ROLE), self.receive)
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._writer = Writer(engine, _store_failed)
        self._digester = Digester(engine, self._digested)
        self._view: Snapshot | None = None
        self._now: Instant | None = None
        self._turn_scheduled = False
        self._is_stopped = False
        self._apply_due = False
        self._asks: dict[int, Entry] = {}
        self._after_batch: list[Callable[[], None]] = []
        self._releasing: list[Callable[[], None]] = []
        self._full_tries = 0
        self._applied_s = 0.0

    # ---- turns --------------------------------------------------------------------------------------------------

    def view(self) -> Snapshot:
        """The read transaction of this loop turn."""
        if self._view is None:
            self._view = self.engine.snapshot()
            self.schedule()
        return self._view

    def now(self) -> Instant:
        """The instant of this loop turn."""
        if self._now is None:
            self._now = self.clock.now()
            self.schedule()
        return self._now

    def fresh_now(self) -> Instant:
        """The clock, read now: the process may have stood still since this turn began."""
        self._now = None
        return self.now()

    def now_after_view(self) -> Instant:
        """The clock, read after this turn's view was opened: a lease that holds then covers what the view shows."""
        self.view()
        return self.fresh_now()

    def schedule(self) -> None:
        """Have `_turn` run at the end of this loop turn."""
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def after_batch(self, callback: Callable[[], None]) -> None:
        """Call back when everything that waits now is durable."""
        self._after_batch.append(callback)
        self.schedule()

    def apply_soon(self) -> None:
        """Have a round of applies begin with the next batch."""
        self._apply_due = True
        self.schedule()

    def _turn(self) -> None:
        if self._is_stopped:
            return
        try:
            self._take_turn()
        except Exception as error:
            _turn_failed(error)

    def _take_turn(self) -> None:
        partitions = self.partitions
        if partitions.reads.are_waiting:
            self.perform(partitions.reads.retry(self.view(), self.now_after_view()))
        if partitions.doubts.are_waiting:
            self.perform(partitions.doubts.retry(self.view(), self.now_after_view(), partitions.is_full))
        for send in partitions.stream(self.view(), self.now()):
            self._send(send)
        if partitions.filling.is_due:
            self.perform(partitions.filling.advance(self.view(), self.now()))
        if partitions.transfers.is_due:
            self.perform(partitions.transfers.advance(self.view(), self.now(), partitions.is_full))
        if self._begins_batch():
            self._form_batch()
        self._close_view()
        self._now = None
        self._turn_scheduled = False
        if self._has_batch and self._wait is None:
            self.schedule()
        control = self.controls.current
        if self._asks and control is not None:
            asks, self._asks = self._asks, {}
            self._loop.create_task(self._compare_and_set(control, list(asks.values())))

    @property
    def _has_batch(self) -> bool:
        waits = self.partitions.needs_batch or self._apply_due or bool(self._after_batch)
        return waits and not self._writer.is_busy and not self._full_tries

    def _begins_batch(self) -> bool:
        """Whether the next batch begins now, and does not wait for rows that are expected."""
        if not self._has_batch:
            return False
        if self.company.is_complete or not self.partitions.has_changes:
            return True
        if self._wait is None:
            self._wait = self._loop.call_later(COMPANY_S, self._end_wait)
        return False

    def _end_wait(self) -> None:
        self.company.give_up()
        self.schedule()

    def _form_batch(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        self.company.begin()
        turn = self.partitions.collect(self.view(), self.now(), self._apply_due)
        self._apply_due = self.partitions.applies.is_due
        self._releasing, self._after_batch = self._after_batch, []
        for send in turn.at_once:
            self._send(send)
        if turn.batch:
            self._writer.submit(turn.batch, lambda full, seconds: self._committed(turn.batch, full, seconds))
        else:
            self._release()

    def _committed(self, batch: Batch, full: MapFull | None, seconds: float) -> None:
        try:
            self._go_on_after(batch, full, seconds)
        except Exception as error:
            _turn_failed(error)

    def _go_on_after(self, batch: Batch, full: MapFull | None, seconds: float) -> None:
        self._close_view()
        if full is not None:
            self._commit_again(batch, full)
            return
        self._full_tries = 0
        self.metrics.committed(seconds, len(batch))
        self._release()

    def _release(self) -> None:
        """What waited for the batch may leave."""
        # Before anything is sent: so the turn comes first, and what it sends is in the same frames.
        self.schedule()
        self.perform(self.partitions.durable())
        releasing, self._releasing = self._releasing, []
        for callback in releasing:
            callback()

    def _commit_again(self, batch: Batch, full: MapFull) -> None:
        """The reserve is used up: nothing of the batch is lost, but without room the node cannot go on."""
        self._full_tries += 1
        if self._full_tries >= MAP_FULL_TRIES_MAX:
            _store_failed(EngineError(f"the store is full beyond its reserve ({full}); start with a larger map size"))
        log.error("map_full", tries=self._full_tries)
        self._loop.call_later(
            0.2, self._writer.submit, batch, lambda error, seconds: self._committed(batch, error, seconds)
        )

    def _close_view(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    # ---- effects ------------------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Carry effects out, in order."""
        for effect in effects:
            if isinstance(effect, Reply):
                call, index = cast(tuple[PendingCall, int], effect.ticket)
                call.settle(index, effect.result)
                self.metrics.queued -= 1
                if not call.open_parts:
                    self.partitions.filling.pace.note(self.now().mono_ms - call.asked_ms)
            elif isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, SendAll):
                for link in self.peers.values():
                    link.cast(effect.body)
            elif isinstance(effect, AskCas):
                self._asks[effect.entry.pid] = effect.entry
                self.schedule()
            elif isinstance(effect, Report):
                self.send_report()
            elif isinstance(effect, Wake):
                self._loop.call_later(effect.ms / 1000, self.schedule)
            elif isinstance(effect, TakeDigests):
                self._digester.begin(effect)
            elif isinstance(effect, Alarm):
                self.metrics.alarms += 1
                log.error("alarm", partition=effect.pid, reason=effect.text)

    def _send(self, send: Send) -> None:
        link = self.peers.get(send.node)
        if link is None:
            return
        body = send.body
        if isinstance(body, Acked):
            self.metrics.acks += 1
            link.cast(body)
        elif isinstance(body, Append):
            link.cast(body)
        elif isinstance(body, (PullChunk, PullKeys)):
            self._bulk_links.ask(link, body)
        elif isinstance(body, (Chunk, KeysPiece)):
            self.bulk.answer(send.node, body)
        else:
            link.cast(body)

    def _digested(self, asked: TakeDigests, made: BucketDigests | None, failure: str) -> None:
        self.perform(self.partitions.verifications.digested(asked, made, failure, self.now()))

    def send_report(self) -> None:
        """Tell control how this node is."""
        self.controls.report(self.partitions.report())

    async def _compare_and_set(self, control: Connection, asks: list[Entry]) -> None:
        try:
            answer = await control.call(CompareAndSet(asks), CAS_TIMEOUT_S, PRIORITY_CONTROL)
        except RpcError as error:
            log.warning("compare_and_set_unanswered", reason=str(error), partitions=len(asks))
            self.controls.failed(control)
            return
        if isinstance(answer, CasResult):
            self.on_entries(answer.entries)
        else:
            self.controls.failed(control)

    def on_entries(self, entries: list[Entry]) -> None:
        """Map entries arrived."""
        self.perform(self.partitions.on_entries(entries, self.now()))
        self.schedule()

    # ---- peers --------------------------------------------------------------------------------------------------

    def receive(self, node: str, message: Replicated | PullChunk | TransferNews) -> None:
        """A message of `node` on replication, on filling or on a transfer came."""
        if isinstance(message, Append):
            self.company.heard(node, len(message.rows))
        if not isinstance(message, (Append, Acked)) and isinstance(message, TransferNews):
            self.partitions.transfers.handle(node, message)
        else:
            self.perform(self.partitions.handle(node, message, self.now()))
        self.schedule()

    def on_nodes(self, nodes: list[NodeInfo]) -> None:
        """Keep a link to each other member of the cluster."""
        me = self.partitions.state
        for node in nodes:
            known = self.peers.get(node.id)
            is_member = node.standing is not Standing.REMOVED
            if node.id == me.node_id or (is_member and known is not None and known.address == node.address):
                continue
            if known is not None:
                self._loop.create_task(known.close())
                del self.peers[node.id]
                self._bulk_links.forget(node.id)
            if is_member:
                self.peers[node.id] = self._new_link(node)

    def _identity(self, role: str) -> Identity:
        me = self.partitions.state
        return Identity(me.cluster_id, me.node_id, role)

    def _new_link(self, node: NodeInfo) -> Link:
        link = Link(
            node.id,
            node.address,
            self._identity("node"),
            self._handler,
            on_up=lambda _: self._peer_up(node.id),
            on_down=lambda: self.partitions.unreachable(node.id, self.now()),
        )
        link.start()
        return link

    def _peer_up(self, node_id: str) -> None:
        self.perform(self.partitions.reachable(node_id, self.now()))
        self.schedule()

    def tick(self) -> None:
        """Time has passed."""
        self.partitions.usage = self.engine.usage()
        self.perform(self.partitions.tick(self.view(), self.now()))
        self._bulk_links.close_idle(self._loop.time())
        self._answer_urgent()
        if self._loop.time() - self._applied_s >= APPLY_S:
            self._applied_s = self._loop.time()
            self.apply_soon()
        self.schedule()

    def _answer_urgent(self) -> None:
        """Nobody waits for long for what others of the same message wait for."""
        since_ms = self.now().mono_ms - URGENT_MS
        for call in [one for one in self.urgent if one.asked_ms <= since_ms and one.is_partly_known]:
            call.answer_known()

    async def close(self) -> None:
        """Save what is there, and stop; where that takes too long or fails, the process ends.

        After it the engine may be closed, which must not happen underneath the writer, and no turn is taken.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._save_and_stop()
        except TimeoutError:
            end_process(f"the store took longer than {CLOSE_TIMEOUT_S:g} s to save what is there, the process ends")
        except Exception as error:
            end_process(f"the stop failed half-way, the process ends: {error!r}", error)

    async def _save_and_stop(self) -> None:
        saved = asyncio.Event()
        self.after_batch(saved.set)
        await saved.wait()
        # A turn that is due by now, or that the end of a link brings about, would meet a closed engine.
        self._is_stopped = True
        for link in self.peers.values():
            await link.close()
        await self._bulk_links.close()
        await self._digester.close()
        await asyncio.to_thread(self._writer.close)
        self._close_view()


def _store_failed(error: EngineError) -> None:
    end_process(f"the store failed, the process ends: {error}")


def _turn_failed(error: Exception) -> None:
    end_process(f"a turn failed half-way, the process ends: {error!r}", error)
