"""Reads that need no more than a look: of keys that nothing holds up, by leaders that hold their leases.

Guarantees: a row that is found here is the one that `Leader.read` would answer with, and nothing is changed by the
look. Leaves to others: every read that takes more than that (`partitions`). Sans-IO. PROTOCOL "Read path".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kvstore.instant import Instant
from kvstore.messages import ReadOne
from kvstore.partition import Partition
from kvstore.storage.engine import DATA, Snapshot
from kvstore.storage.records import expiry_of, is_lasting


def rows_at_once(
    partitions: Mapping[int, Partition], reads: Sequence[ReadOne], view: Snapshot, now: Instant, bytes_max: int
) -> list[bytes | None] | None:
    """The committed rows of these keys, None for those that are not there.

    Args:
        now: read after `view` was opened.
        bytes_max: how many bytes of rows there may be together.

    Returns:
        None where one of the reads takes more, or there are more bytes: all have to be asked one by one.
    """
    rows: list[bytes | None] = []
    mono_ms, row_of = now.mono_ms, view.get
    for read in reads:
        partition = partitions.get(read.pid)
        leader = None if partition is None else partition.leader
        if partition is None or leader is None:
            return None
        key = read.key
        if not leader.serves_every_key(read.ver, mono_ms) or key in leader.txns.in_doubt:
            return None
        held = leader.overlay.committed.get(key)
        row = row_of(DATA, partition.copy.prefix + key) if held is None else held[1]
        if row is not None:
            bytes_max -= len(row)
            if bytes_max < 0 or not (is_lasting(row) or expiry_of(row) > leader.time_ms(now)):
                return None
        rows.append(row)
    return rows
