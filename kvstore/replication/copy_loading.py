"""Reading a copy back from what its node's store holds.

Guarantees: what is loaded is what the last batch left, or it is found damaged. Leaves to others: the rest of a copy
(`copy`), its log (`log_loading`). Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import (
    BACKFILL,
    ENTRY,
    NAME,
    PROMISE,
    STATE,
    Backfill,
    CopyName,
    Promise,
    State,
    decode_entry_row,
    decode_row,
)
from kvstore.replication.log_loading import load_log, unapplied_rows
from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import DamagedRow, copy_prefix
from kvstore.transfer.records import PROGRESS_ROW, Progress


def load_name(number: int, view: Snapshot) -> CopyName:
    """What the copy with that number is a copy of.

    Raises:
        DamagedRow: its name is missing or damaged.
    """
    row = view.get(Table.META, copy_prefix(number) + NAME)
    if row is None:
        raise DamagedRow(f"copy {number} has no name")
    return decode_row(row, CopyName)


def load_copy(number: int, name: CopyName, view: Snapshot, journaled: list[bytes]) -> Copy:
    """Read a copy back.

    Args:
        journaled: the rows of its log in the journal.

    Raises:
        DamagedRow: a row of its state or of its unapplied log is missing or damaged.
    """
    prefix = copy_prefix(number)
    promise_row = view.get(Table.META, prefix + PROMISE)
    if promise_row is None:
        raise DamagedRow(f"copy {number} has no promise")
    entry = view.get(Table.META, prefix + ENTRY)
    copy = Copy(number, name, decode_entry_row(entry) if entry is not None else None)
    promise = decode_row(promise_row, Promise)
    copy.promised, copy.reconciled, copy.heard_ver = promise.promised, promise.reconciled, promise.heard_ver
    backfill_row = view.get(Table.META, prefix + BACKFILL)
    copy.backfill = decode_row(backfill_row, Backfill) if backfill_row is not None else None
    state_row = view.get(Table.META, prefix + STATE)
    state = decode_row(state_row, State) if state_row is not None else State(0, 0, 0, 0, 0, 0)
    copy.commit_seq = copy.applied_seq = copy._saving_applied = state.applied_seq
    copy.contents.keys, copy.contents.size_bytes = state.keys, state.size_bytes
    copy.applied_ms = state.applied_ms
    progress_row = view.get(Table.META, prefix + PROGRESS_ROW)
    copy.progress = decode_row(progress_row, Progress) if progress_row is not None else None
    copy.outcomes.load(view)
    copy.txns.load(view)
    rows = unapplied_rows(prefix, state.applied_seq, view, journaled)
    copy.log = load_log(prefix, promise, state, copy.backfill or Backfill(0, 0), view, rows)
    copy._journaled = copy.log.held_after(state.applied_seq) if journaled else []
    copy.log_bytes = state.log_bytes + sum(len(held.row) for held in copy.log.held_after(0))
    copy.durable_end = copy._saving_end = copy.log.end
    copy._meta_changed = False
    return copy
