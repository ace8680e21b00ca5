"""How hot each partition is on this node: how much is read and written, and of which keys.

Guarantees: every read and write of one key that is served here is counted, by leaders and by copies that may be behind;
of each 32, about one is looked at (at chance, so that no pattern of the stream escapes) and stands for all of them.
Rates are averages that forget half in `HALF_LIFE_MS`. It costs an operation less than 0.3 µs, and a partition with
traffic `KEPT_KEYS` + 2 x `SAMPLE_KEYS` keys of memory. Scans do not count. Nothing outlives the process. Leaves to
others: when time passes (`partitions`). Sans-IO.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle
from math import log

from kvstore.heat.hottest import HottestKeys
from kvstore.heat.split_point import SplitPoint, is_rising, split_by_load
from kvstore.instant import Instant
from kvstore.keys import shard_key, tenant_of
from kvstore.messages import (
    AskHeat,
    CopyReport,
    FindSplit,
    GroupBy,
    Heat,
    Heated,
    HeatOf,
    OpKind,
    ReadOne,
    TxnPart,
)

HALF_LIFE_MS = 10_000
ADVANCE_MS = 500
EVERY = 32
KEPT_KEYS = 24
SAMPLE_KEYS = 64
GROUPS_MAX = 3
DISTANCES = 4093
# New weight grows with time; before it gets so large, all of it is brought back to one.
WEIGHT_MAX = float(1 << 30)
PER_SECOND = log(2) * 1000 / HALF_LIFE_MS

GROUPS: dict[GroupBy, Callable[[bytes], bytes]] = {
    GroupBy.KEY: lambda key: key,
    GroupBy.SHARD_KEY: shard_key,
    GroupBy.TENANT: tenant_of,
}


def _distances() -> list[int]:
    """How many operations lie between those that are looked at: 1 to 63, 32 on average, of no pattern (the numbers of
    a linear congruential generator)."""
    found, number = [], 1
    for _ in range(DISTANCES):
        number = (number * 1_103_515_245 + 12_345) & 0x7FFF_FFFF
        found.append(1 + (number >> 16) % (2 * EVERY - 1))
    return found


class PartitionHeat:
    """Of one copy. Attributes: reads, writes: since the process began; read_rate, write_rate: in a second."""

    __slots__ = ("_before", "_hottest", "read", "read_rate", "reads", "write_rate", "writes", "written")

    def __init__(self) -> None:
        self.reads = 0
        self.writes = 0
        self.read_rate = 0.0
        self.write_rate = 0.0
        self.read: deque[bytes] = deque(maxlen=SAMPLE_KEYS)
        self.written: deque[bytes] = deque(maxlen=SAMPLE_KEYS)
        self._hottest = HottestKeys(KEPT_KEYS)
        self._before = (0, 0)

    def look_at(self, sample: deque[bytes], key: bytes, weight: float) -> None:
        """One operation of about `EVERY`; `sample` is `read` or `written`."""
        sample.append(key)
        self._hottest.add(key, weight)

    def advance(self, passed_ms: int) -> None:
        """So much time has passed since the last call."""
        kept = 0.5 ** (passed_ms / HALF_LIFE_MS)
        reads, writes = self._before
        share = (1 - kept) * 1000 / passed_ms
        self.read_rate = self.read_rate * kept + (self.reads - reads) * share
        self.write_rate = self.write_rate * kept + (self.writes - writes) * share
        self._before = (self.reads, self.writes)

    def rescale(self, factor: float) -> None:
        """Weights count so many times as much from now on."""
        self._hottest.rescale(factor)

    def hottest(self, weight: float, count_max: int) -> list[tuple[bytes, float]]:
        """The hottest keys, and how many operations in a second each has at least."""
        return [(key, came / weight * PER_SECOND) for key, came in self._hottest.top(count_max)]

    def groups(self, by: GroupBy) -> list[tuple[bytes, float]]:
        """What most of the load is on, as shares of it."""
        group, shares = GROUPS[by], dict[bytes, float]()
        for keys, weight in zip((self.read, self.written), self._weights(), strict=True):
            for name in map(group, keys):
                shares[name] = shares.get(name, 0.0) + weight
        return sorted(shares.items(), key=lambda one: (-one[1], one[0]))[:GROUPS_MAX]

    def _weights(self) -> tuple[float, float]:
        """What share of the load one read, and one write, that was looked at stands for."""
        reads = self.read_rate if self.read else 0.0
        writes = self.write_rate if self.written else 0.0
        total = reads + writes or 1.0
        return reads / total / (len(self.read) or 1), writes / total / (len(self.written) or 1)


class NodeHeat:
    """Of all copies of a node."""

    def __init__(self) -> None:
        self._by_pid: dict[int, PartitionHeat] = {}
        self._weight = float(EVERY)
        self._left = EVERY
        self._distances = cycle(_distances())
        self._advanced_ms: int | None = None

    def forget(self, pid: int) -> None:
        """The copy is gone."""
        self._by_pid.pop(pid, None)

    def read(self, pid: int, key: bytes) -> None:
        """A read is served."""
        try:
            heat = self._by_pid[pid]
        except KeyError:
            heat = self._begin(pid)
        heat.reads += 1
        self._left -= 1
        if not self._left:
            self._left = next(self._distances)
            heat.look_at(heat.read, key, self._weight)

    def read_all(self, reads: Sequence[ReadOne]) -> None:
        """These reads are served, as `read` has it for each."""
        by_pid = self._by_pid
        for read in reads:
            try:
                by_pid[read.pid].reads += 1
            except KeyError:
                self._begin(read.pid).reads += 1
        left = self._left - len(reads)
        while left <= 0:
            heat, key = by_pid[reads[left - 1].pid], reads[left - 1].key
            heat.look_at(heat.read, key, self._weight)
            left += next(self._distances)
        self._left = left

    def write(self, pid: int, key: bytes) -> None:
        """A write is taken."""
        try:
            heat = self._by_pid[pid]
        except KeyError:
            heat = self._begin(pid)
        heat.writes += 1
        self._left -= 1
        if not self._left:
            self._left = next(self._distances)
            heat.look_at(heat.written, key, self._weight)

    def transact(self, pid: int, part: TxnPart) -> None:
        """A part of a transaction is taken: as if the branch `then` were carried out, which is not known yet."""
        for condition in part.conditions:
            self.read(pid, condition.key)
        for operation in part.then:
            (self.read if operation.kind is OpKind.GET else self.write)(pid, operation.key)

    def _begin(self, pid: int) -> PartitionHeat:
        return self._by_pid.setdefault(pid, PartitionHeat())

    def advance(self, now: Instant) -> None:
        """Time has passed."""
        if self._advanced_ms is None:
            self._advanced_ms = now.mono_ms
        passed_ms = now.mono_ms - self._advanced_ms
        if passed_ms < ADVANCE_MS:
            return
        self._advanced_ms = now.mono_ms
        self._weight *= 2 ** min(64.0, passed_ms / HALF_LIFE_MS)
        for heat in self._by_pid.values():
            heat.advance(passed_ms)
        if self._weight > WEIGHT_MAX:
            for heat in self._by_pid.values():
                heat.rescale(EVERY / self._weight)
            self._weight = float(EVERY)

    def rates(self, pid: int) -> tuple[float, float]:
        """Reads and writes of the partition in a second."""
        heat = self._by_pid.get(pid)
        return (0.0, 0.0) if heat is None else (heat.read_rate, heat.write_rate)

    def answer(self, asked: AskHeat, copies: Iterable[CopyReport]) -> Heat:
        """What is known of these copies."""
        return Heat([self._told(copy, asked) for copy in copies])

    def _told(self, copy: CopyReport, asked: AskHeat) -> HeatOf:
        heat = self._by_pid.get(copy.pid)
        if heat is None:
            return HeatOf(copy)
        hottest = [Heated(key, rate) for key, rate in heat.hottest(self._weight / EVERY, asked.keys_max)]
        groups = [Heated(name, share) for name, share in heat.groups(asked.by)]
        looked_at = len(heat.read) + len(heat.written)
        return HeatOf(copy, heat.reads, heat.writes, is_rising(list(heat.written)), looked_at, hottest, groups)

    def split_point(self, asked: FindSplit) -> SplitPoint:
        """Where to cut the partition by its load."""
        heat = self._by_pid.get(asked.pid)
        if heat is None:
            return SplitPoint(None, "too few of its reads and writes were seen")
        return split_by_load(
            list(heat.written), list(heat.read), heat.write_rate, heat.read_rate, asked.start, asked.end
        )
