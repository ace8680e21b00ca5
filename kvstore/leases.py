"""Pings between nodes: who asks whom for leases and for what is committed, and what an answer is worth.

Guarantees: a lease counts from the moment its ping was sent, so it never lasts longer at the leader than the follower
meant; a pong that grants leaves only after a write of this node became durable that was begun at most a second before,
so a node whose disk hangs grants nothing, and one whose own batch hangs asks for nothing; what a pong says is committed
was so after its ping was sent. Leaves to others: whether a partition grants (`partition`), what a leader does without
(`leader`), what follows from what is committed (`stale_reads`). Sans-IO. PROTOCOL "Leases", "Read path".
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kvstore.effects import Send
from kvstore.instant import Instant
from kvstore.map_values import Rid
from kvstore.messages import Ping, Pong
from kvstore.partition import Partition
from kvstore.storage.engine import Batch, Table

PING_MS = 500
PING_OPEN_MS = 10_000
PROOF_MS = 1000
STALLED_BATCH_MS = 1500
BOOT_SHIFT = 32
PROOF_ROW = b"\x00\x00\x00\x00proof"


class Asked(msgspec.Struct, frozen=True):
    """A ping that was sent: to whom, when, and for which (pid, epoch)."""

    node: str
    sent_ms: int
    leads: list[tuple[int, int]]


class Leases:
    """Args:
    partitions: all copies of this node, by partition.
    boot: the process's boot counter. It makes the numbers of its pings others than those of any former process of the
        node, for an answer to one of those may still be on its way.
    """

    def __init__(self, partitions: Mapping[int, Partition], boot: int) -> None:
        self._partitions = partitions
        self._number = boot << BOOT_SHIFT
        self._pinged_ms = -PING_MS
        self._is_urgent = False
        self._open: dict[int, Asked] = {}
        self._due: list[Send] = []
        self._waiting: list[Send] = []
        self._batch_ms: int | None = None
        self._proof_ms: int | None = None
        self._proven_ms: int | None = None

    # ---- asking -------------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """A partition is newly led: ask at the next turn."""
        self._is_urgent = True

    def pings(self, now: Instant) -> list[Send]:
        """Ask, when it is time, every node that follows this one in a partition, or leads it in one."""
        is_due = self._is_urgent or now.mono_ms - self._pinged_ms >= PING_MS
        if not is_due or self.is_stalled(now):
            return []
        self._pinged_ms = now.mono_ms
        self._is_urgent = False
        leads: dict[str, list[tuple[int, Rid, int]]] = {}
        for partition in self._partitions.values():
            if partition.leader is not None:
                for node, peer in partition.leader.followers:
                    leads.setdefault(node, []).append((partition.pid, peer.rid, partition.leader.epoch))
            elif partition.leader_node:
                leads.setdefault(partition.leader_node, [])
        return [Send(node, self._ping(node, asked, now)) for node, asked in leads.items()]

    def is_stalled(self, now: Instant) -> bool:
        """Whether this node's own batch hangs."""
        return self._batch_ms is not None and now.mono_ms - self._batch_ms > STALLED_BATCH_MS

    def _ping(self, node: str, leads: list[tuple[int, Rid, int]], now: Instant) -> Ping:
        self._number += 1
        while self._open and now.mono_ms - next(iter(self._open.values())).sent_ms > PING_OPEN_MS:
            del self._open[next(iter(self._open))]
        self._open[self._number] = Asked(node, now.mono_ms, [(pid, epoch) for pid, _, epoch in leads])
        return Ping(self._number, leads)

    def on_pong(self, node: str, pong: Pong) -> None:
        """Leases were granted, and it was told what is committed."""
        asked = self._open.get(pong.number)
        if asked is None or asked.node != node:
            return
        del self._open[pong.number]
        refused = set(pong.refused)
        for pid, epoch in asked.leads:
            partition = self._partitions.get(pid)
            if pid not in refused and partition is not None:
                partition.granted(node, epoch, asked.sent_ms)
        for pid, commit_seq, layout in pong.commits:
            partition = self._partitions.get(pid)
            if partition is not None:
                partition.stale.learn(commit_seq, asked.sent_ms, partition.copy.applied_seq, layout)

    # ---- granting -----------------------------------------------------------------------------------------------

    def on_ping(self, node: str, ping: Ping, now: Instant) -> list[Send]:
        """Another node asks; the answer leaves at once where the disk has proven itself lately, or grants nothing.

        Args:
            now: read after the ping arrived: what is granted, and what is known to be committed, is so from then on.
        """
        refused = [pid for pid, rid, epoch in ping.leads if not self._grants(pid, rid, epoch, now)]
        told = [(pid, partition.commit_for(node, now)) for pid, partition in self._partitions.items()]
        answer = Send(node, Pong(ping.number, refused, [(pid, *known) for pid, known in told if known is not None]))
        is_proven = self._proven_ms is not None and now.mono_ms - self._proven_ms < PROOF_MS
        if is_proven or len(refused) == len(ping.leads):
            return [answer]
        self._due.append(answer)
        return []

    def _grants(self, pid: int, rid: Rid, epoch: int, now: Instant) -> bool:
        partition = self._partitions.get(pid)
        return partition is not None and partition.grants(rid, epoch, now)

    @property
    def needs_proof(self) -> bool:
        """Whether an answer waits for a write of any kind."""
        return bool(self._due)

    def begin_batch(self, batch: Batch, now: Instant) -> None:
        """A batch is complete but for the proof that waiting answers need."""
        if self._due:
            batch.put(Table.META, PROOF_ROW, now.mono_ms.to_bytes(8, "big"))
        self._waiting, self._due = self._due, []
        self._batch_ms = now.mono_ms
        self._proof_ms = now.mono_ms if batch else self._proven_ms

    def end_batch(self) -> list[Send]:
        """The batch is durable."""
        self._proven_ms, self._batch_ms = self._proof_ms, None
        answers, self._waiting = self._waiting, []
        return answers
