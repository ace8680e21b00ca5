"""Stores as a loss of power left them, opened as a node opens them.

Guarantees: what a copy holds is what it would serve if it led: its data and its whole log. A store that cannot be
opened, or a damaged copy, raises. Leaves to others: which writes reached the disk (`iolog`).
"""

from __future__ import annotations

from pathlib import Path

from kvstore.effects import Alarm
from kvstore.node_state import load_node_state
from kvstore.partitions import Partitions
from kvstore.replication.copy import Copy
from kvstore.storage.engine import Snapshot, Table, range_end
from kvstore.storage.journal import Journal
from kvstore.storage.lmdb_engine import LmdbEngine
from kvstore.storage.records import Record, RecordType, decode_log_row, decode_value

Held = dict[bytes, bytes]


class Damaged(AssertionError):
    """A loss of power left what no node can use."""


def copies_of(folder: Path, map_size_bytes: int) -> dict[int, Held]:
    """By partition, the keys and values of the node's copy."""
    engine = LmdbEngine(folder, map_size_bytes)
    view = engine.snapshot()
    try:
        state = load_node_state(view)
        if state is None:
            raise Damaged(f"{folder}: an empty store")
        partitions = Partitions(state, lambda: b"", map_size_bytes)
        alarms = [effect.text for effect in partitions.load(view) if isinstance(effect, Alarm)]
        if alarms:
            raise Damaged(f"{folder}: {alarms}")
        journaled = Journal().load(view)
        return {one.pid: _held(view, one.copy, journaled.get(one.copy.number, [])) for one in partitions}
    finally:
        view.close()
        engine.close()


def _held(view: Snapshot, copy: Copy, journaled: list[bytes]) -> Held:
    prefix, end = copy.prefix, range_end(copy.prefix)
    held = {key[len(prefix) :]: decode_value(row).value for key, row in view.scan(Table.DATA, prefix, end)}
    records: dict[int, Record] = {}
    for row in (*(row for _, row in view.scan(Table.LOG, prefix, end)), *journaled):
        head = decode_log_row(row)
        records.update(enumerate(head.records(), head.first_seq))
    for seq in sorted(seq for seq in records if seq > copy.applied_seq):
        record = records[seq]
        if record.type == RecordType.PUT:
            held[record.key] = record.value
        elif record.type in (RecordType.DELETE, RecordType.EXPIRE):
            held.pop(record.key, None)
    return held
