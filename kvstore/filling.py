"""Filling copies that the log cannot bring up to date: those of this node, and those that this node's leaders fill.

Guarantees: a node asks for one piece of data at a time, one copy after the other, and reads one a loop turn for others,
both as fast as its pace lets it, and so do the log rows that learners are sent which lag far behind; chunks, such rows
and what transfers copy take turns; a question that got no answer is asked again, after those of other copies; nothing
is asked for while the node's store is full; few copies begin to be filled before their turn has come; while moves are
paused nothing comes to a copy that one brings. Leaves to others: what a piece is (`backfill`, `followers`), what
becomes of it (`copy`), the pace (`pace`). Sans-IO. PROTOCOL "Backfill".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from kvstore.effects import Effect, Send, Wake
from kvstore.instant import Instant
from kvstore.map_values import Rebalance
from kvstore.messages import Append, Chunk, PullChunk
from kvstore.partition import Partition
from kvstore.replication.pace import Bucket, Pace
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import DamagedRow

PULL_AGAIN_MS = 1000
BEGUN_MAX = 4


class _Kind(Enum):
    """What goes out at one pace: log rows for learners that lag, chunks, and what transfers copy."""

    ROWS = "rows"
    CHUNK = "chunk"
    TRANSFER = "transfer"


class Filling:
    """Args: partitions: all copies of this node, by partition; is_full: whether its store refuses client writes."""

    def __init__(self, partitions: Mapping[int, Partition], is_full: Callable[[], bool]) -> None:
        self.sent_bytes = 0
        self.taken_bytes = 0
        self._partitions = partitions
        self._is_full = is_full
        self._asked: dict[tuple[str, int], PullChunk] = {}
        self._fed: dict[int, Partition] = {}
        self._pulling: Partition | None = None
        self._pulled_ms = 0
        # Copies whose last question got no answer, and when that was known.
        self._silent: dict[int, int] = {}
        self._is_waiting = False
        # Whoever has sent goes last.
        self._turns = list(_Kind)
        self._transfer_waits = False
        self._is_paused = False
        self._wake_ms: int | None = None
        self.use(Pace())

    def use(self, pace: Pace) -> None:
        """Go at this pace from now on."""
        self.pace = pace
        self._own_max = pace.bytes_per_s_max
        self._sending, self._taking = Bucket(pace), Bucket(pace)

    def set_rate(self, bytes_per_s: int) -> None:
        """Send, and take, at most so many bytes a second, but never more than the pace's own maximum; 0: no more than
        that."""
        self.pace.bytes_per_s_max = min((one for one in (self._own_max, bytes_per_s) if one), default=0)
        self._wake_ms = None

    def steer(self, rebalance: Rebalance) -> None:
        """How moves are to go, as the map says."""
        self.set_rate(rebalance.max_bytes_per_second)
        self._is_paused = rebalance.is_paused

    @property
    def is_due(self) -> bool:
        """Whether `advance` may have something to do in this loop turn."""
        return bool(self._asked or self._fed) or self._is_waiting

    def advance(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Read what others wait for, and ask for what this node waits for, where the pace allows either."""
        if self._wake_ms is not None:
            if now.mono_ms < self._wake_ms:
                return []
            self._wake_ms = None
        effects = self._send_next(view, now)
        return [*effects, *self.pull(now)] if self._is_waiting else effects

    def _send_next(self, view: Snapshot, now: Instant) -> list[Effect]:
        """Send what is first in turn. A transfer gets its turn by being left room: it sends later in this loop turn."""
        effects: list[Effect] = []
        for kind in tuple(self._turns):
            if kind is _Kind.ROWS:
                effects += self._feed_next(view, now)
            elif kind is _Kind.CHUNK:
                effects += self._serve(view, now)
            elif self._transfer_waits and not self._sending.wait_ms(now):
                self._transfer_waits = False
                return [*effects, *self._wake(1, now)]
        return effects

    def _note_sent(self, kind: _Kind, size_bytes: int) -> None:
        self.sent_bytes += size_bytes
        self._sending.take(size_bytes)
        self._turns.remove(kind)
        self._turns.append(kind)

    # ---- filling others -----------------------------------------------------------------------------------------

    def on_pull(self, node: str, pull: PullChunk) -> None:
        """A learner on `node` asks for data."""
        self._asked[node, pull.pid] = pull

    def _serve(self, view: Snapshot, now: Instant) -> list[Effect]:
        if not self._asked:
            return []
        wait_ms = self._sending.wait_ms(now)
        if wait_ms:
            return self._wake(wait_ms, now)
        node, pid = next(iter(self._asked))
        pull = self._asked.pop((node, pid))
        partition = self._partitions.get(pid)
        leader = None if partition is None else partition.leader
        effects: list[Effect] = []
        chunk = None
        if partition is not None and leader is not None:
            try:
                chunk = leader.followers.chunk(node, pull, self.pace.piece_bytes, view)
            except DamagedRow as error:
                effects += partition.quarantine(str(error))
        if chunk is not None:
            self._note_sent(_Kind.CHUNK, chunk.size_bytes)
            effects.append(Send(node, chunk))
        return [*effects, *self._wake(1, now)] if self._asked else effects

    def feed(self, partition: Partition) -> None:
        """A learner of this partition lags: send it log rows until it does no more."""
        self._fed[partition.pid] = partition

    def _feed_next(self, view: Snapshot, now: Instant) -> list[Effect]:
        for pid, partition in list(self._fed.items()):
            if not partition.has_laggard:
                del self._fed[pid]
                continue
            if self._is_paused and partition.moves_one:
                continue
            wait_ms = self._sending.wait_ms(now)
            if wait_ms:
                return self._wake(wait_ms, now)
            effects = partition.feed(self.pace.piece_bytes, view, now)
            if effects:
                self._note_sent(_Kind.ROWS, sum(_rows_bytes(one) for one in effects))
                self._fed[pid] = self._fed.pop(pid)
                return [*effects, *self._wake(1, now)]
        return []

    # ---- being filled -------------------------------------------------------------------------------------------

    def pull(self, now: Instant) -> list[Effect]:
        """Ask for the next piece of data that a copy lacks, if there is room for it."""
        if self._pulling is not None:
            if now.mono_ms - self._pulled_ms < PULL_AGAIN_MS:
                return []
            self._silent[self._pulling.pid] = now.mono_ms
        self._pulling = None
        self._is_waiting = False
        if self._is_full():
            return []
        waiting = [one for one in self._partitions.values() if one.copy.is_backfilling]
        for partition in sorted(waiting, key=lambda one: self._silent.get(one.pid, 0)):
            pull = partition.next_pull(self.pace.piece_bytes)
            if pull is None or (self._is_paused and partition.moves_in):
                continue
            wait_ms = self._taking.wait_ms(now)
            if wait_ms:
                self._is_waiting = True
                return self._wake(wait_ms, now)
            self._pulling, self._pulled_ms = partition, now.mono_ms
            return [pull]
        return []

    def may_begin(self, partition: Partition) -> bool:
        """Whether the copy may begin anew now, and not only when others are filled: until its turn has come all that is
        written to it piles up in its log."""
        if partition.copy.is_backfilling:
            return True
        begun = [one for one in self._partitions.values() if one.copy.is_backfilling and self._is_next(one)]
        return len(begun) < BEGUN_MAX

    def _is_next(self, partition: Partition) -> bool:
        is_held = partition.pid in self._silent or (self._is_paused and partition.moves_in)
        return not is_held and partition.next_pull(self.pace.piece_bytes) is not None

    def on_chunk(self, partition: Partition, chunk: Chunk) -> None:
        """A piece of data came for this copy."""
        size_bytes = chunk.size_bytes
        self.taken_bytes += size_bytes
        self._taking.take(size_bytes)
        self._silent.pop(partition.pid, None)
        if partition is self._pulling:
            self._pulling = None

    # ---- keys that change their partition -----------------------------------------------------------------------

    def sending_wait_ms(self, now: Instant) -> int:
        """For how long what is read for a transfer has to wait."""
        wait_ms = self._sending.wait_ms(now)
        self._transfer_waits = wait_ms > 0
        return wait_ms

    def taking_wait_ms(self, now: Instant) -> int:
        """For how long what a transfer brings has to wait."""
        return self._taking.wait_ms(now)

    def sent(self, size_bytes: int) -> None:
        """So much was read for a transfer."""
        self._note_sent(_Kind.TRANSFER, size_bytes)

    def took(self, size_bytes: int) -> None:
        """A transfer has brought so much."""
        self.taken_bytes += size_bytes
        self._taking.take(size_bytes)

    # ---- waiting ------------------------------------------------------------------------------------------------

    def forget(self, partition: Partition) -> None:
        """The copy is gone."""
        self._silent.pop(partition.pid, None)
        if partition is self._pulling:
            self._pulling = None
        self._fed.pop(partition.pid, None)

    def _wake(self, wait_ms: int, now: Instant) -> list[Effect]:
        """Ask to be called again, once for all that waits."""
        due_ms = now.mono_ms + wait_ms
        if self._wake_ms is not None and self._wake_ms <= due_ms:
            return []
        self._wake_ms = due_ms
        return [Wake(wait_ms + 1)]


def _rows_bytes(effect: Effect) -> int:
    return sum(map(len, effect.body.rows)) if isinstance(effect, Send) and isinstance(effect.body, Append) else 0
