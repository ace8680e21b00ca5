"""A learner that the log cannot bring up to date, and is filled with data."""

from __future__ import annotations

import msgspec
from unit.kvstore.story import Story

from kvstore.messages import Chunk
from kvstore.replication.retention import Retention

KEYS = 9


class Filling(Story):
    """n1 has nine keys and no log left that reaches back; n3 is added, and empty."""

    def __init__(self) -> None:
        super().__init__(nodes=3)
        self.n3 = self.nodes["n3"]
        two = self.entry.replicas[:2]
        self.entry = msgspec.structs.replace(self.entry, in_sync=two, replicas=two)
        self.lead()
        self.write_first()
        self.settle(apply=True)
        for node in self.nodes.values():
            node.partitions.truncation.advance(node.engine.snapshot(), self.now, Retention(0, 0))
        self.settle()
        self.entry = msgspec.structs.replace(self.entry, ver=self.entry.ver + 1, adding=(self.n3.rid,))
        self.push()

    def write_first(self) -> None:
        for number in range(KEYS):
            ttl_ms = 60_000 if number == 4 else None
            self.n1.put(f"w{number}", b"k%d" % number, b"v" * 40, ttl_ms=ttl_ms)
            self.settle()

    def step(self) -> list[object]:
        """Everything that is due at n1 and n2 happens, n3 forms one batch; returns what n3 got."""
        for node in (self.n1, self.n2):
            if node.partitions.needs_batch:
                node.batch()
            node.fill()
        got: list[object] = []
        for node in (self.n1, self.n2):
            got += self.deliver(node)
        if self.n3.partitions.needs_batch:
            self.n3.batch()
        self.deliver(self.n3)
        return got

    def until_filled(self) -> None:
        for _ in range(60):
            self.step()
            self.pass_ms(100)
            for node in self.nodes.values():
                node.tick()
            if not self.n3.partition.copy.is_backfilling and self.n3.partition.copy.backfill:
                return
        raise AssertionError("it is never filled")

    def until_chunk(self, number: int) -> None:
        """Go on until n3 has stored that many chunks."""
        for _ in range(60):
            got = self.step()
            number -= sum(isinstance(body, Chunk) for body in got)
            if number <= 0:
                return
            self.pass_ms(100)
            for node in self.nodes.values():
                node.tick()
        raise AssertionError("too few chunks")
