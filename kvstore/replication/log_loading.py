"""Reading a copy's log back from the journal and the table of the log.

Guarantees: the rows after what is applied, dense and chained, or the log is found damaged. Leaves to others: the rest
of a copy (`copy`). Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from kvstore.replication.copy_rows import Backfill, Promise, State
from kvstore.replication.log import Held, Log
from kvstore.storage.engine import Snapshot, Table, range_end
from kvstore.storage.records import DamagedRow, decode_log_row, seq_key


def unapplied_rows(prefix: bytes, applied_seq: int, view: Snapshot, journaled: list[bytes]) -> list[Held]:
    """The log rows after `applied_seq` in order, once each wherever they stand; raises DamagedRow."""
    rows = {}
    stored = (row for _, row in view.scan(Table.LOG, seq_key(prefix, applied_seq + 1), range_end(prefix)))
    for row in (*stored, *journaled):
        head = decode_log_row(row)
        if head.first_seq > applied_seq:
            rows[head.first_seq] = Held(row, head)
    return [rows[first_seq] for first_seq in sorted(rows)]


def load_log(
    prefix: bytes, promise: Promise, state: State, backfill: Backfill, view: Snapshot, rows: list[Held]
) -> Log:
    """The log with `rows`, which follow what `state` has applied; raises DamagedRow."""
    last = view.last(Table.LOG, prefix, seq_key(prefix, state.applied_seq + 1))
    end, checksum = backfill.base_seq, backfill.base_checksum
    if last is not None:
        applied = decode_log_row(last[1])
        end, checksum = applied.last_seq, applied.checksum
    if end != state.applied_seq:
        raise DamagedRow(f"the log row that ends at {state.applied_seq} is missing")
    log = Log(end, checksum, state.time_ms, [], [])
    for held in rows:
        head = held.head
        if head.first_seq != log.end + 1 or head.previous != log.end_checksum:
            raise DamagedRow(f"the log row at {head.first_seq} does not follow {log.end}")
        log.append(held)
    log.starts = [(epoch, seq) for epoch, seq in promise.starts if seq <= log.end]
    return log
