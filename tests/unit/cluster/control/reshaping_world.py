"""A real controller over nodes whose leaders bring keys over, say where to split, and report what is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from unit.cluster.control.moving_world import SETTINGS, MovingWorld

from cluster.cluster_map import PutEntry, PutKeyspace, PutTenant
from cluster.control.events import AllocatePids, AskSplit, Effect, Loaded, PidsAllocated, SplitTold
from cluster.control.reshapes import segments
from cluster.control.settings import ControlSettings
from kvstore.map_values import Entry, KeyspaceInfo, Tenant, TransferState
from kvstore.messages import CopyReport

FIRST_PID = 100
FILL_TURNS = 2
NONE = KeyspaceInfo("k", "range", (), 2, 1)
RESHAPING = replace(SETTINGS, partitions=3, split_bytes=1000, split_writes_per_s=50.0, partitions_max=12)


class ReshapingWorld(MovingWorld):
    """Three nodes, the first keyspace, and one more; `size_of` and `writes_of` say what leaders report of its
    partitions, `point_of` where one is to be split."""

    def __init__(self, keyspace: KeyspaceInfo, settings: ControlSettings = RESHAPING) -> None:
        self.size_of: Callable[[int], int] = lambda pid: 0
        self.open_txns_of: Callable[[int], int] = lambda pid: 0
        self.writes_of: Callable[[int], float] = lambda pid: 0.0
        self.point_of: Callable[[AskSplit], bytes | None] = lambda asked: None
        self.asked_splits: list[AskSplit] = []
        self.brought: Counter[int] = Counter()
        self.led: Counter[str] = Counter()
        self.is_handing_over = True
        super().__init__("n1", "n2", "n3", settings=settings)
        self.next_pid = FIRST_PID + len(keyspace.pids)
        self.change(PutKeyspace(keyspace, None))
        self.until(lambda: all(self.is_led(pid) for pid in keyspace.pids))

    def is_led(self, pid: int) -> bool:
        return pid in self.stored.entries and self.stored.entries[pid].leader is not None

    @property
    def keyspace(self) -> KeyspaceInfo:
        return self.stored.keyspaces.get("k", NONE)

    @property
    def ranges(self) -> list[tuple[bytes, bytes]]:
        return [(first, last) for first, last, _ in segments(self.keyspace)]

    def change(self, *changes: Any) -> None:
        """Another gateway changes the map."""
        self.stored, landed = self.stored.changed(changes)
        assert all(landed)
        self.send(Loaded(self.stored))

    def _react(self, effect: Effect) -> None:
        match effect:
            case AllocatePids(count, keyspace=name) if name:
                first, self.next_pid = self.next_pid, self.next_pid + count
                self.send(PidsAllocated(first, keyspace=name))
            case AskSplit(node, _, pid):
                self.asked_splits.append(effect)
                self.send(SplitTold(node, pid, self.point_of(effect), "no use"))
            case _:
                super()._react(effect)

    def turn(self) -> None:
        for entry in list(self.stored.entries.values()):
            if entry.transfer is not None and entry.leader is not None:
                self.bring(entry)
        for pid in self.keyspace.pids:
            leader = self.stored.entries[pid].leader if pid in self.stored.entries else None
            if leader is not None:
                self.led[leader.node] += int(self.writes_of(pid))
        super().turn()

    def bring(self, entry: Entry) -> None:
        """What the leaders of both partitions do in half a second."""
        transfer = entry.transfer
        assert transfer is not None
        is_source = transfer.source == entry.pid
        if transfer.state is TransferState.COPYING:
            self.brought[transfer.id] += is_source
            if is_source and self.brought[transfer.id] >= FILL_TURNS and self.is_handing_over:
                self._answer(entry, msgspec.structs.replace(transfer, state=TransferState.HANDED))
        elif transfer.state is not TransferState.HANDED:
            self._answer(entry, None)

    def _answer(self, entry: Entry, transfer: Any) -> None:
        self.change(PutEntry(msgspec.structs.replace(entry, ver=entry.ver + 1, transfer=transfer)))

    def _reports(self, node: str) -> list[CopyReport]:
        return [
            msgspec.structs.replace(
                one,
                size_bytes=self.size_of(one.pid),
                writes=self.writes_of(one.pid),
                open_txns=self.open_txns_of(one.pid),
            )
            if one.pid >= FIRST_PID
            else one
            for one in super()._reports(node)
        ]

    @property
    def is_at_rest(self) -> bool:
        return super().is_at_rest and not any(entry.transfer for entry in self.stored.entries.values())


def range_world(*bounds: bytes, settings: ControlSettings = RESHAPING, least: int = 1) -> ReshapingWorld:
    pids = tuple(range(FIRST_PID, FIRST_PID + len(bounds) + 1))
    return ReshapingWorld(KeyspaceInfo("k", "range", pids, 2, 1, bounds=bounds, least_partitions=least), settings)


def directory_world(**tenants: int) -> ReshapingWorld:
    pids = tuple(range(FIRST_PID, FIRST_PID + 3))
    world = ReshapingWorld(KeyspaceInfo("k", "directory", pids, 2, 1))
    world.change(*(PutTenant(Tenant("k", name.encode(), pid), None) for name, pid in tenants.items()))
    return world
