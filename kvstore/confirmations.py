"""Quorum reads: that a leader still leads, confirmed by its in-sync set instead of by a clock.

Guarantees: a read is answered only after every member of the maximal in-sync set said, asked after the read came, that
it follows this leader's epoch; one question to a node carries all reads that wait at that moment, over all partitions;
a member that refuses, or stays silent for a second, ends them as refused. Leaves to others: whether a copy follows
(`partition`), the row (`leader`). Sans-IO. PROTOCOL "Read path".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal

import msgspec

from kvstore.effects import Send
from kvstore.instant import Instant
from kvstore.map_values import Rid
from kvstore.messages import Confirm, Confirmed, Fault
from kvstore.partition import Partition
from kvstore.replication.answers import ELSEWHERE, NO_LEADER
from kvstore.replication.leader import Leader

ASK_AGAIN_MS = 100
WAIT_MS_MAX = 1000

REFUSED = Fault("no_leader", "a copy of the partition follows another leader")
UNCONFIRMED = Fault("no_leader", "a copy of the partition did not confirm that it follows the leader")


class WaitingRead(msgspec.Struct, frozen=True):
    """A read that waits since `since_ms`, asked by that layout; `number` is the first round that asks for it."""

    number: int
    layout: int
    since_ms: int
    ticket: object
    key: bytes


class Waiting:
    """The reads, oldest first, that `leader` is to answer; whoever refused it last did so in round `refused`."""

    __slots__ = ("asked_ms", "is_due", "leader", "partition", "reads", "refused")

    def __init__(self, partition: Partition, leader: Leader) -> None:
        self.partition = partition
        self.leader = leader
        self.reads: deque[WaitingRead] = deque()
        self.is_due = True
        self.asked_ms = 0
        self.refused = 0

    def fault(self, read: WaitingRead, confirmed: int, now: Instant) -> Fault | Literal[False] | None:
        """Why it ends, None where the leader may answer, False where it waits on."""
        if self.partition.leader is not self.leader:
            return NO_LEADER
        if read.layout != self.leader.layout:
            return ELSEWHERE
        if read.number <= self.refused:
            return REFUSED
        if read.number <= confirmed:
            return None
        return UNCONFIRMED if now.mono_ms - read.since_ms >= WAIT_MS_MAX else False


class Confirmations:
    """Args: partitions: all copies of this node, by partition."""

    def __init__(self, partitions: Mapping[int, Partition]) -> None:
        self._partitions = partitions
        self._number = 0
        self._waiting: dict[Leader, Waiting] = {}

    # ---- asking -------------------------------------------------------------------------------------------------

    @property
    def is_waiting(self) -> bool:
        """Whether reads wait."""
        return bool(self._waiting)

    def wait(self, partition: Partition, leader: Leader, ticket: object, key: bytes, now: Instant) -> None:
        """Have a read of what `leader` leads confirmed by the next round."""
        waiting = self._waiting.get(leader)
        if waiting is None:
            waiting = self._waiting[leader] = Waiting(partition, leader)
        waiting.reads.append(WaitingRead(self._number + 1, leader.layout, now.mono_ms, ticket, key))
        waiting.is_due = True

    def questions(self, now: Instant) -> list[Send]:
        """Ask for the reads that came since the last round, and again for those that were asked a while ago."""
        due = [one for one in self._waiting.values() if one.is_due or now.mono_ms - one.asked_ms >= ASK_AGAIN_MS]
        if not due:
            return []
        self._number += 1
        asked: dict[str, list[tuple[int, Rid, int]]] = {}
        for waiting in due:
            waiting.is_due = False
            waiting.asked_ms = now.mono_ms
            for node, peer in waiting.leader.followers:
                if peer.must_ack:
                    asked.setdefault(node, []).append((waiting.partition.pid, peer.rid, waiting.leader.epoch))
        return [Send(node, Confirm(self._number, leads)) for node, leads in asked.items()]

    def on_confirmed(self, node: str, message: Confirmed) -> None:
        """A follower answered."""
        for pid, epoch in message.follows:
            leader = self._leader(pid, epoch)
            if leader is not None:
                leader.followers.confirmed(node, message.number)
        for pid, epoch in message.refused:
            leader = self._leader(pid, epoch)
            if leader in self._waiting:
                waiting = self._waiting[leader]
                waiting.refused = max(waiting.refused, message.number)

    def _leader(self, pid: int, epoch: int) -> Leader | None:
        partition = self._partitions.get(pid)
        leader = None if partition is None else partition.leader
        return leader if leader is not None and leader.epoch == epoch else None

    def settled(self, now: Instant) -> list[tuple[Waiting, WaitingRead, Fault | None]]:
        """Take out the reads that need not wait any more: None where the leader may answer."""
        settled: list[tuple[Waiting, WaitingRead, Fault | None]] = []
        for waiting in [*self._waiting.values()]:
            confirmed = waiting.leader.followers.confirmed_number
            while waiting.reads:
                fault = waiting.fault(waiting.reads[0], confirmed, now)
                if fault is False:
                    break
                settled.append((waiting, waiting.reads.popleft(), fault))
            if not waiting.reads:
                del self._waiting[waiting.leader]
        return settled

    # ---- confirming ---------------------------------------------------------------------------------------------

    def on_confirm(self, node: str, message: Confirm) -> list[Send]:
        """A leader asks."""
        follows: list[tuple[int, int]] = []
        refused: list[tuple[int, int]] = []
        for pid, rid, epoch in message.leads:
            partition = self._partitions.get(pid)
            does_follow = partition is not None and partition.follows(rid, epoch)
            (follows if does_follow else refused).append((pid, epoch))
        return [Send(node, Confirmed(message.number, follows, refused))]
