"""How long log rows are kept once they are applied.

Guarantees: the row that ends at the floor stays, so that a restart finds where its log continues; work is bounded per
call. Leaves to others: the floor. Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from dataclasses import dataclass

from kvstore.instant import Instant
from kvstore.replication.copy import Copy
from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import decode_log_row, seq_key


@dataclass(frozen=True, slots=True)
class Retention:
    """Rows older than `age_ms` go, and the oldest ones of a log beyond `size_bytes`."""

    age_ms: int
    size_bytes: int


def old_rows(
    copy: Copy, floor_seq: int, view: Snapshot, now: Instant, retention: Retention, rows_max: int
) -> tuple[list[bytes], int]:
    """The keys of rows to delete, oldest first, `rows_max` at most, and their size in bytes."""
    row_keys: list[bytes] = []
    size_bytes = 0
    for row_key, row in view.scan(Table.LOG, copy.log_start, seq_key(copy.prefix, floor_seq)):
        head = decode_log_row(row)
        over = copy.log_bytes - size_bytes > retention.size_bytes
        old = now.wall_ms - head.time_ms > retention.age_ms
        if head.last_seq >= floor_seq or not (over or old) or len(row_keys) >= rows_max:
            break
        row_keys.append(row_key)
        size_bytes += len(row)
    return row_keys, size_bytes
