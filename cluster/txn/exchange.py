"""Messages of one transaction to the leaders of its partitions, each asked again until it is answered.

Guarantees: a message is out at most once at a time, always to the leader of its partition by the newest entry, with
pauses that grow and jitter between the attempts, and never after its time; what names keys is asked only of a partition
that still has those which it had when they were sought; whether an attempt may have been carried out stays known.
Leaves to others: sending (`driver`), what answers mean and which of them are final (`coordinator`). Sans-IO. PROTOCOL
"Transactions".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from kvstore.errors import KvError, NoLeader
from kvstore.map_values import Entry
from kvstore.messages import AbortTxn, AskTxn, FinishTxn, Prepare, ResolveTxns, Transact

ATTEMPT_S = 2.0
PAUSE_S_MIN = 0.005
PAUSE_S_MAX = 0.2


class KeysMoved(NoLeader):
    """Keys have another partition by now than when it was sought; nothing was done to them."""


Question = Prepare | Transact | AbortTxn | FinishTxn | ResolveTxns | AskTxn


class Exchange:
    """A message and how far it has got.

    Args:
        patience_end_s: no attempt but the first begins after it.
        end_s: no attempt is waited for longer.

    Attributes:
        is_out: an attempt is under way.
        was_sent: an attempt may have reached the node.
        is_unknown: an attempt may have been carried out, and was not answered.
        reason: why the last attempt did not lead to an answer.
    """

    __slots__ = (
        "end_s",
        "is_out",
        "is_unknown",
        "longest_pause_s",
        "next_s",
        "patience_end_s",
        "pid",
        "question",
        "reason",
        "was_sent",
    )

    def __init__(self, pid: int, question: Question, patience_end_s: float, end_s: float) -> None:
        self.pid = pid
        self.question: Question = question
        self.patience_end_s = patience_end_s
        self.end_s = end_s
        self.is_out = False
        self.was_sent = False
        self.is_unknown = False
        self.reason: KvError | None = None
        self.next_s = 0.0
        self.longest_pause_s = PAUSE_S_MIN

    @property
    def error(self) -> KvError:
        """What it ends in where it is given up."""
        return self.reason or NoLeader("there was no time left")


class Ask(msgspec.Struct, frozen=True):
    """Effect: call `node`, and tell what became of it."""

    exchange: Exchange
    node: str
    body: Question
    timeout_s: float


class Exchanges:
    """Args:
    entry_of: the newest map entry of a partition.
    is_away: whether a node has not answered for longer than others take to lead in its place.
    draw: a random number from 0 up to 1, for the jitter.
    layouts: of the entries by which the keys' partitions were found, by partition.
    """

    def __init__(
        self,
        entry_of: Callable[[int], Entry | None],
        is_away: Callable[[str], bool],
        draw: Callable[[], float],
        layouts: Mapping[int, int],
    ) -> None:
        self._entry_of = entry_of
        self._layouts = layouts
        self._is_away = is_away
        self._draw = draw
        self._paused: list[Exchange] = []

    @property
    def wake_s(self) -> float | None:
        """When the next pause ends."""
        return min([exchange.next_s for exchange in self._paused], default=None)

    def is_led(self, pid: int) -> bool:
        """Whether the partition has a leader that may be there."""
        entry = self._entry_of(pid)
        return entry is not None and entry.leader is not None and not self._is_away(entry.leader.node)

    def attempt(self, exchange: Exchange, now_s: float, emit: Callable[[Ask], None]) -> bool:
        """Ask once more, or wait for a leader to ask; False where the time is over."""
        timeout_s = min(ATTEMPT_S, exchange.end_s - now_s)
        if timeout_s <= 0:
            return False
        entry = self._entry_of(exchange.pid)
        if isinstance(exchange.question, Prepare | Transact) and self._has_other_keys(exchange.pid, entry):
            exchange.reason = KeysMoved(f"the keys of partition {exchange.pid} have changed")
            return False
        if entry is None or entry.leader is None:
            exchange.reason = NoLeader(f"partition {exchange.pid} has no leader")
            return self.pause(exchange, now_s)
        question = exchange.question
        if not isinstance(question, ResolveTxns) and question.ver != entry.ver:
            question = exchange.question = msgspec.structs.replace(question, ver=entry.ver)
        exchange.is_out = True
        emit(Ask(exchange, entry.leader.node, question, timeout_s))
        return True

    def _has_other_keys(self, pid: int, entry: Entry | None) -> bool:
        return entry is not None and (entry.layout > self._layouts.get(pid, entry.layout) or not entry.replicas)

    def pause_unsent(self, exchange: Exchange, node: str, now_s: float) -> bool:
        """Wait for the node, or another one, unless the others have had the time to lead in its place."""
        return not self._is_away(node) and self.pause(exchange, now_s)

    def pause(self, exchange: Exchange, now_s: float) -> bool:
        """Wait for the next attempt; False where the time is over."""
        pause_s = exchange.longest_pause_s * (0.5 + self._draw() / 2)
        exchange.longest_pause_s = min(PAUSE_S_MAX, exchange.longest_pause_s * 4)
        if now_s + pause_s > exchange.patience_end_s:
            return False
        exchange.next_s = now_s + pause_s
        self._paused.append(exchange)
        return True

    def drop(self, kind: type[Question]) -> None:
        """Make no further attempts at messages of this kind."""
        if self._paused:
            self._paused = [exchange for exchange in self._paused if not isinstance(exchange.question, kind)]

    def take_due(self, now_s: float) -> list[Exchange]:
        """Those whose pause is over."""
        return self._taken([exchange for exchange in self._paused if exchange.next_s <= now_s])

    def take_waiting_for(self, pids: Collection[int]) -> list[Exchange]:
        """Those that wait for another leader of one of these partitions."""
        return self._taken([exchange for exchange in self._paused if exchange.pid in pids])

    def _taken(self, taken: list[Exchange]) -> list[Exchange]:
        if taken:
            gone = frozenset(taken)
            self._paused = [exchange for exchange in self._paused if exchange not in gone]
        return taken
