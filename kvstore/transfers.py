"""The transfers that what a node leads takes part in, as source or as target.

Guarantees: a transfer goes on in the turn in which what it waited for has come, whoever of its two leaders is on which
node; a question that got no answer is asked again, of all nodes where its leader is not known any more; what a transfer
leaves behind is deleted before the map is asked to forget it. Leaves to others: what either end does (`transfer`), when
the map switches (control). Sans-IO. PROTOCOL "Transfer".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from kvstore.effects import Effect, Send, SendAll, Wake
from kvstore.filling import Filling
from kvstore.instant import Instant
from kvstore.map_values import Transfer, TransferState
from kvstore.messages import KeysFound, KeysPiece, PullKeys, SeekKeys
from kvstore.partition import Partition, by_number
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import DamagedRow
from kvstore.transfer.cleaning import Cleaning
from kvstore.transfer.records import Carried
from kvstore.transfer.source import Source
from kvstore.transfer.target import Target

ASK_AGAIN_MS = 1000
SEEK_AGAIN_MS = 100

TransferNews = SeekKeys | KeysFound | PullKeys | KeysPiece


class _Cleaner:
    """A leader that deletes what it does not serve, and then has the map forget the transfer."""

    def __init__(self, partition: Partition, transfer: Transfer) -> None:
        assert partition.leader is not None, "only a leader deletes"
        self.leader = partition.leader
        self.transfer = transfer
        self._copy = partition.copy
        self._cleaning = Cleaning(partition.copy, transfer)
        self._record_seq = 0

    def advance(self, view: Snapshot, now: Instant) -> bool:
        """Delete the next piece, if the one before is committed; returns whether a record was made."""
        leader = self.leader
        if leader.closed is not None or self._record_seq > self._copy.commit_seq:
            return False
        if self._cleaning.is_done:
            leader.wanted_transfer = None
            return False
        effects = self._cleaning.piece(leader, view)
        if effects:
            self._record_seq = leader.propose_carried(Carried(effects, layout=leader.layout), now)
        return bool(effects)

    @property
    def is_busy(self) -> bool:
        """Whether there may be more to delete at once."""
        is_free = self.leader.closed is None and self._record_seq <= self._copy.commit_seq
        return is_free and not self._cleaning.is_done


class Transfers:
    """Args: partitions: all copies of this node, by partition; dirty: of those, the ones with something for the next
    batch; filling: whose pace copying keeps to; node_id: of this node."""

    def __init__(
        self,
        partitions: Mapping[int, Partition],
        dirty: set[Partition],
        filling: Filling,
        node_id: Callable[[], str],
    ) -> None:
        self._partitions = partitions
        self._dirty = dirty
        self._filling = filling
        self._node_id = node_id
        self._active: set[Partition] = set()
        self._sources: dict[int, tuple[Source, str]] = {}
        self._targets: dict[int, Target] = {}
        self._cleaners: dict[int, _Cleaner] = {}
        self._news: list[tuple[str, TransferNews]] = []
        self._wake_ms: int | None = None

    def look(self, partition: Partition) -> None:
        """The partition's entry or leader may have changed."""
        entry = partition.copy.entry
        if entry is not None and entry.transfer is not None and partition.leader is not None:
            self._active.add(partition)
        elif partition in self._active:
            self.forget(partition)

    def forget(self, partition: Partition) -> None:
        """The copy is gone, leads no more, or has no transfer."""
        self._active.discard(partition)
        for known in (self._sources, self._targets, self._cleaners):
            known.pop(partition.pid, None)

    def handle(self, node: str, news: TransferNews) -> None:
        """Another node, or this one, asks or answers."""
        self._news.append((node, news))

    @property
    def is_due(self) -> bool:
        """Whether `advance` may have something to do in this loop turn."""
        return bool(self._active or self._news)

    def advance(self, view: Snapshot, now: Instant, full: bool) -> list[Effect]:
        """Go on with every transfer as far as may be now."""
        if self._wake_ms is not None and self._wake_ms <= now.mono_ms:
            self._wake_ms = None
        for partition in list(self._active):
            self.look(partition)
        for partition in self._active:
            self._assign(partition)
        effects: list[Effect] = []
        news, self._news = self._news, []
        for node, one in news:
            effects += self._guarded(one, partial(self._take, node, one, view, now, full))
        for partition in sorted(self._active, key=by_number):
            effects += self._guarded(partition, partial(self._go_on, partition, view, now))
        # What this node has told itself is gone on with in the next turn.
        return [*effects, *([Wake(0)] if self._news else [])]

    def _guarded(self, about: Partition | TransferNews, action: Callable[[], list[Effect]]) -> list[Effect]:
        """A copy whose rows cannot be read stops."""
        try:
            return action()
        except DamagedRow as error:
            partition = about if isinstance(about, Partition) else self._concerned(about)
            return [] if partition is None else partition.quarantine(str(error))

    def _concerned(self, news: TransferNews) -> Partition | None:
        pids = [target.transfer.target for target in self._targets.values() if target.transfer.id == news.transfer]
        return self._partitions.get(pids[0] if isinstance(news, KeysPiece) and pids else news.source)

    # ---- who does what ------------------------------------------------------------------------------------------

    def _assign(self, partition: Partition) -> None:
        """Begin with the part that the entry gives to this leader."""
        leader, entry, pid = partition.leader, partition.copy.entry, partition.pid
        transfer = None if entry is None else entry.transfer
        assert leader is not None, "only such are looked at"
        assert transfer is not None, "only such are looked at"
        is_source = transfer.source == pid
        cleans = transfer.state is (TransferState.SWITCHED if is_source else TransferState.ABORTING)
        if cleans:
            known = self._cleaners.get(pid)
            if known is None or known.leader is not leader or known.transfer.id != transfer.id:
                self._drop(pid)
                self._cleaners[pid] = _Cleaner(partition, transfer)
        elif is_source:
            source, node = self._sources.get(pid, (None, ""))
            if source is None or source.leader is not leader or source.transfer.id != transfer.id:
                self._drop(pid)
                self._sources[pid] = Source(partition.copy, leader, transfer), node
            elif source.transfer != transfer:
                source.transfer = transfer
        else:
            target = self._targets.get(pid)
            if target is None or target.leader is not leader or target.transfer.id != transfer.id:
                self._drop(pid)
                self._targets[pid] = Target(partition.copy, leader, transfer)
            elif target.transfer != transfer:
                target.transfer = transfer

    def _drop(self, pid: int) -> None:
        for known in (self._sources, self._targets, self._cleaners):
            known.pop(pid, None)

    # ---- news ---------------------------------------------------------------------------------------------------

    def _take(self, node: str, news: TransferNews, view: Snapshot, now: Instant, full: bool) -> list[Effect]:
        if isinstance(news, SeekKeys | PullKeys):
            source, _ = self._sources.get(news.source, (None, ""))
            if source is None or source.transfer.id != news.transfer or not source.leader.is_serving:
                return []
            if isinstance(news, SeekKeys):
                return self._send(node, KeysFound(news.transfer, news.source))
            self._sources[news.source] = source, node
            source.on_pull(news)
            return []
        for pid, target in self._targets.items():
            if target.transfer.id == news.transfer:
                self._tell(pid, target, node, news, view, now, full)
        return []

    def _tell(
        self,
        pid: int,
        target: Target,
        node: str,
        news: KeysFound | KeysPiece,
        view: Snapshot,
        now: Instant,
        full: bool,
    ) -> None:
        if isinstance(news, KeysFound):
            if not target.source_node:
                target.source_node, target.asked_ms = node, None
            return
        if target.transfer.state is TransferState.COPYING and target.leader.closed is None:
            self._filling.took(news.size_bytes)
            if target.take(news, view, now, full):
                self._dirty.add(self._partitions[pid])

    def _send(self, node: str, news: TransferNews) -> list[Effect]:
        if node != self._node_id():
            return [Send(node, news)]
        self._news.append((node, news))
        return []

    # ---- going on -----------------------------------------------------------------------------------------------

    def _go_on(self, partition: Partition, view: Snapshot, now: Instant) -> list[Effect]:
        pid = partition.pid
        effects: list[Effect] = []
        if pid in self._cleaners:
            cleaner = self._cleaners[pid]
            if cleaner.advance(view, now):
                self._dirty.add(partition)
            elif cleaner.is_busy:
                effects.append(Wake(0))
        elif pid in self._sources:
            effects += self._give(partition, view, now)
        elif pid in self._targets:
            effects += self._pull(partition, self._targets[pid], view, now)
        return [*effects, *partition.ask_transfer(now)]

    def _give(self, partition: Partition, view: Snapshot, now: Instant) -> list[Effect]:
        source, node = self._sources[partition.pid]
        piece, wakes = source.advance(view, now, self._filling)
        if source.leader.has_queue:
            self._dirty.add(partition)
        return [*self._wake(wakes, now), *([] if piece is None else self._send(node, piece))]

    def _pull(self, partition: Partition, target: Target, view: Snapshot, now: Instant) -> list[Effect]:
        leader = target.leader
        if leader.closed is not None or not target.is_committed:
            return []
        if target.transfer.state is not TransferState.COPYING:
            leader.wanted_transfer = None
            return []
        if target.is_clearing:
            target.clear(view, now)
            self._dirty.add(partition)
            return [Wake(0)]
        again_ms = ASK_AGAIN_MS if target.source_node else SEEK_AGAIN_MS
        if target.asked_ms is not None and now.mono_ms - target.asked_ms < again_ms:
            return []
        if target.asked_ms is not None:
            target.source_node = ""
        if not target.source_node:
            target.asked_ms = now.mono_ms
            seek = SeekKeys(target.transfer.id, target.transfer.source)
            self._news.append((self._node_id(), seek))
            return [SendAll(seek), *self._wake([Wake(SEEK_AGAIN_MS)], now)]
        wait_ms = 0 if target.progress.is_copied else self._filling.taking_wait_ms(now)
        if wait_ms:
            return self._wake([Wake(wait_ms + 1)], now)
        target.asked_ms = now.mono_ms
        return self._send(target.source_node, target.question(self._filling.pace.piece_bytes))

    def _wake(self, wakes: list[Effect], now: Instant) -> list[Effect]:
        """Ask to be called again, once for all that waits."""
        due = [now.mono_ms + one.ms for one in wakes if isinstance(one, Wake)]
        if not due or (self._wake_ms is not None and self._wake_ms <= min(due)):
            return []
        self._wake_ms = min(due)
        return [Wake(max(0, min(due) - now.mono_ms))]
