"""Reading a copy's data piece by piece, for a learner that the log cannot bring up to date.

Guarantees: a chunk holds every row after its cursor up to its end as they stood at one seq, `as_of`, which is applied
and so committed: the data first, then the outcomes that are remembered, then transactions, in one order of positions;
its size is bounded. Leaves to others: what the learner does with it (`copy`), when it asks (`partitions`), positions
(`outcomes`, `txn.records`). Sans-IO. PROTOCOL "Backfill".
"""

from __future__ import annotations

from collections.abc import Iterator

from kvstore.replication.copy_rows import STATE, State, decode_row
from kvstore.replication.given_rows import check_row
from kvstore.replication.outcomes import DATA_POSITION, TOKEN, transferred_rows
from kvstore.storage.engine import Snapshot, Table, range_end
from kvstore.transfer.records import PROGRESS, PROGRESS_ROW
from kvstore.txn import state as txns
from kvstore.txn.records import PREPARED

CHUNK_BYTES = 256 * 1024


def read_chunk(
    prefix: bytes, cursor: bytes, bytes_max: int, view: Snapshot
) -> tuple[State, list[tuple[bytes, bytes]], bool]:
    """Read rows after the position `cursor` (from the first on if it is empty).

    Returns:
        The copy's state in the view, (position, row) pairs of about `bytes_max` together, `CHUNK_BYTES` at most, and at
        least one if there is any, and whether there are none beyond.

    Raises:
        DamagedRow: one of them cannot be read.
    """
    bytes_max = min(bytes_max, CHUNK_BYTES)
    state_row = view.get(Table.META, prefix + STATE)
    state = State(0, 0, 0, 0, 0, 0) if state_row is None else decode_row(state_row, State)
    rows: list[tuple[bytes, bytes]] = []
    size = 0
    for position, row in _rows_after(prefix, cursor, view):
        if size >= bytes_max:
            return state, rows, False
        check_row(position, row)
        rows.append((position, row))
        size += len(prefix) + len(position) + len(row)
    return state, rows, True


def _rows_after(prefix: bytes, cursor: bytes, view: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    start = cursor + b"\x00" if cursor else DATA_POSITION
    if start < TOKEN:
        for row_key, row in view.scan(Table.DATA, prefix + start[1:], range_end(prefix)):
            yield DATA_POSITION + row_key[len(prefix) :], row
    if start < PREPARED:
        for row_key, row in transferred_rows(prefix, start, view):
            yield row_key[len(prefix) :], row
    for row_key, row in txns.transferred_rows(prefix, start, view):
        yield row_key[len(prefix) :], row
    progress = view.get(Table.META, prefix + PROGRESS_ROW) if start <= PROGRESS else None
    if progress is not None:
        yield PROGRESS, progress
