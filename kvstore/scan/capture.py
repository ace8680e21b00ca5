"""Which partitions of a node may answer a scan, and the state of each at one moment.

Guarantees: what is captured is all that was committed of a partition when the view was opened, by a leader that held
its lease afterwards; no copy that is filled, cleaned or behind is among it. Leaves to others: opening the view in the
same turn (`node.scanner`), reading it (`page`, `count`). Sans-IO. PROTOCOL "Range scans".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec

from kvstore.instant import Instant
from kvstore.map_values import Transfer
from kvstore.messages import Fault
from kvstore.partition import Partition
from kvstore.reads import find_leader
from kvstore.storage.records import DamagedRow
from kvstore.txn.fences import is_within


class CapturedPart(msgspec.Struct, frozen=True):
    """One partition as it stood: its rows from `prefix` to `prefix_end` in the view, but for the keys in `overlay`,
    whose rows (None: absent) are newer. Keys whose time was over at `time_ms` are overdue. `hidden` are those that a
    transaction may change, or has changed, for it may have been decided elsewhere. Keys that `away` takes are not of
    this partition, whatever rows of them are here."""

    pid: int
    ver: int
    prefix: bytes
    prefix_end: bytes
    overlay: Mapping[bytes, bytes | None]
    time_ms: int
    hidden: Sequence[bytes] = ()
    away: Transfer | None = None

    def hides(self, start: bytes, end: bytes) -> bool:
        """Whether a hidden key is within; an empty `end` is none."""
        return any(is_within(key, start, end) for key in self.hidden)


class DamagedPart(DamagedRow):
    """A row of the partition `pid` cannot be read."""

    def __init__(self, pid: int, error: DamagedRow) -> None:
        super().__init__(str(error))
        self.pid = pid


# Of a partition, the keys from a first to an end (empty: no end).
Within = tuple[CapturedPart, bytes, bytes]

Captured = tuple[list[CapturedPart], list[tuple[int, Fault]]]


def capture(
    partitions: Mapping[int, Partition],
    parts: Iterable[tuple[int, int]],
    start: bytes,
    end: bytes,
    now: Instant,
    times: dict[int, int],
) -> Captured:
    """Capture partitions, each by its map entry's version, for the keys from `start` to `end` (empty: no end).

    Args:
        now: read after the view was opened.
        times: the time of each partition when it was first captured for this answer, which this call adds to: what is
            overdue stays the same when the answer is begun anew.

    Returns:
        What may be read, and why the others may not be.
    """
    captured: list[CapturedPart] = []
    faults: list[tuple[int, Fault]] = []
    for pid, ver in parts:
        partition = partitions.get(pid)
        leader = None if partition is None else partition.leader
        if partition is None or leader is None or leader.followers.entry.ver != ver:
            faults.append((pid, cast(Fault, find_leader(partitions, pid, ver))))
            continue
        refusal = leader.refuses_reads(now)
        if refusal is not None:
            faults.append((pid, refusal))
            continue
        newer = leader.overlay.within(start, end) if leader.overlay.committed else {}
        hidden = leader.txns.hidden_within(start, end) if leader.txns.in_doubt else ()
        time_ms = times.setdefault(pid, leader.time_ms(now))
        copy = partition.copy
        captured.append(CapturedPart(pid, ver, copy.prefix, copy.prefix_end, newer, time_ms, hidden, leader.hidden))
    return captured, faults
