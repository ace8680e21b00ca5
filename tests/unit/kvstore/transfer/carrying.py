"""Two partitions on two nodes, n1 leading the source and n2 the target, and control played by hand."""

from __future__ import annotations

from typing import Any

import msgspec
from unit.kvstore.story import Story, StoryNode, plain

from kvstore.map_values import Entry, Transfer, TransferState
from kvstore.messages import ReadOne, WriteOne
from kvstore.partition import Partition
from kvstore.replication.answers import LATER
from kvstore.replication.leader import Leader
from kvstore.storage.engine import Table

SOURCE, TARGET = 1, 2
TOKEN = b"scope-of-a-write" + b"what it asks for"


class Carrying(Story):
    """Keys below `m` stay, those from `m` on go."""

    def __init__(self) -> None:
        super().__init__(pids=(SOURCE, TARGET))
        self.lead()
        for number in range(4):
            self.put(b"a%d" % number)
            self.put(b"x%d" % number)
        self.put(b"b", pid=TARGET)
        self.settle(apply=True)
        self.beat()

    # ---- control ------------------------------------------------------------------------------------------------

    def reshape(
        self, given: TransferState | None, taken: TransferState | None, layout: int = 0, transfer_id: int = 1
    ) -> None:
        """Both entries change at once, and everybody hears of it."""
        transfer = Transfer(transfer_id, SOURCE, TARGET, TransferState.COPYING, b"m")
        for pid, state in ((SOURCE, given), (TARGET, taken)):
            entry = self.entries[pid]
            changed = None if state is None else msgspec.structs.replace(transfer, state=state)
            self.entries[pid] = msgspec.structs.replace(
                entry, ver=entry.ver + 1, layout=layout or entry.layout, transfer=changed
            )
        self.push()

    def begin(self) -> None:
        self.reshape(TransferState.COPYING, TransferState.COPYING)

    def switch(self) -> None:
        self.reshape(TransferState.SWITCHED, TransferState.SWITCHED, layout=1)

    def abort(self) -> None:
        self.reshape(None, TransferState.ABORTING)

    def hand_over(self) -> None:
        """All goes its way up to the point where the source has handed its keys over."""
        self.begin()
        self.go_on()
        assert self.state(SOURCE) is TransferState.HANDED

    def go_on(self) -> None:
        """Time passes for the pace of copying."""
        for _ in range(4):
            self.pass_ms(20)
            self.settle()

    def step(self) -> None:
        """Each node takes a turn, and what it says arrives."""
        self.pass_ms(20)
        for node in self.nodes.values():
            node.carry()
            self.deliver(node)
            if node.partitions.needs_batch:
                node.batch()

    def state(self, pid: int) -> TransferState | None:
        transfer = self.entries[pid].transfer
        return None if transfer is None else transfer.state

    # ---- nodes --------------------------------------------------------------------------------------------------

    def of(self, pid: int, node: StoryNode | None = None) -> Partition:
        """A copy: of the one who leads by the map, where no node is named."""
        leader = self.entries[pid].leader
        assert leader is not None
        partition = (node or self.nodes[leader.node]).partitions.get(pid)
        assert partition is not None
        return partition

    def leader(self, pid: int) -> Leader:
        leader = self.of(pid).leader
        assert leader is not None
        return leader

    def node(self, pid: int) -> StoryNode:
        leader = self.entries[pid].leader
        assert leader is not None
        return self.nodes[leader.node]

    def put(self, key: bytes, value: bytes | None = b"value", pid: int = SOURCE, ticket: str = "", **how: Any) -> Any:
        """Write, as the newest entry says; the answer, or LATER."""
        ticket = ticket or f"{pid}-{key!r}-{value!r}-{self.entries[pid].ver}"
        return self.node(pid).write(ticket, WriteOne(pid, self.entries[pid].ver, key, value, **how))

    def read(self, key: bytes, pid: int = SOURCE) -> Any:
        node = self.node(pid)
        row = self.row(key, pid)
        assert row is not LATER, node
        return plain(row)

    def row(self, key: bytes, pid: int) -> Any:
        node = self.node(pid)
        return node.partitions.reads.plain(
            "r", ReadOne(pid, self.entries[pid].ver, key), node.engine.snapshot(), self.now
        )

    def keys(self, pid: int, node: StoryNode) -> list[bytes]:
        """What a copy has in its data."""
        copy = self.of(pid, node).copy
        return [key[4:] for key, _ in node.engine.snapshot().scan(Table.DATA, copy.prefix, copy.prefix_end)]


def entry_of(partition: Partition) -> Entry:
    assert partition.copy.entry is not None
    return partition.copy.entry
