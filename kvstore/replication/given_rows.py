"""Rows that one copy gives to another, before they leave and before they are taken.

Guarantees: a row that passes is one that its taker can store and serve; damage is found where it lies, and takes nobody
else down. Leaves to others: what is given (`backfill`, `transfer.pieces`), and that a value is what was written: data
rows carry no checksum. Sans-IO. PROTOCOL "Backfill".
"""

from __future__ import annotations

from kvstore.replication.copy_rows import decode_row
from kvstore.replication.outcomes import DATA_POSITION, EXPIRED, EXPIRED_BYTES, TOKEN, WINDOW, decode_token
from kvstore.replication.windows import decode_window
from kvstore.storage.records import DamagedRow, check_value
from kvstore.transfer.records import PROGRESS, Progress
from kvstore.txn.records import ENDED, PREPARED, UNDONE, Ended, Prepared


def check_row(position: bytes, row: bytes) -> None:
    """Raises DamagedRow where the row at this position cannot be read."""
    kind = position[:1]
    if kind == DATA_POSITION:
        check_value(row)
    elif kind == TOKEN:
        decode_token(row)
    elif kind == WINDOW:
        decode_window(row)
    elif kind == PREPARED:
        decode_row(row, Prepared)
    elif kind in (UNDONE, ENDED):
        decode_row(row, Ended)
    elif position == PROGRESS:
        decode_row(row, Progress)
    elif position != EXPIRED or len(row) != EXPIRED_BYTES:
        raise DamagedRow(f"row of {len(row)} bytes at the position {position[:8].hex()}")
