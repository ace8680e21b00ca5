"""For tests: an engine that knows the durable steps of the protocol in the batches it commits, and crashes at one.

Guarantees: the contract of the engine it wraps; a step is known by the rows that it changes, so the protocol knows
nothing of this. Leaves to others: the names of the steps (`crash_point`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from kvstore.codec import decode_entry
from kvstore.crash_point import CrashPoint
from kvstore.leases import PROOF_ROW
from kvstore.map_values import Entry
from kvstore.node_state import NODE_ROW
from kvstore.replication.copy_rows import BACKFILL, ENTRY, NAME, PROMISE, STATE, Backfill, Promise, State
from kvstore.replication.gone import GONE_PREFIX
from kvstore.storage.engine import Batch, Engine, Snapshot, Table, Usage, range_end
from kvstore.storage.journal import split_row
from kvstore.storage.records import LogRow, RecordType, copy_prefix, decode_log_row, seq_key

PREFIX_BYTES = 4
# What a leader appends for transactions; any record of a leader's is `append` too, but a barrier.
TXN_STEPS = {
    RecordType.PREPARE: "prepare",
    RecordType.DECIDE: "decide",
    RecordType.FINISH: "finish",
    RecordType.FORGET: "forget",
}


@dataclass
class _Known:
    """What a copy's rows said last."""

    promise: Promise
    applied_seq: int = 0
    log_end: int = 0
    entry: Entry | None = None


class StepFinder:
    """Follows the batches of one node, and names the steps in each. `node_id` is that of the node."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._copies: dict[bytes, _Known] = {}

    def load(self, view: Snapshot) -> None:
        """Learn what stands in a store that was written before."""
        batch = Batch()
        for key, row in view.scan(Table.META, b"", b"\xff" * PREFIX_BYTES):
            batch.put(Table.META, key, row)
        self.steps(batch)
        for prefix, known in self._copies.items():
            last = view.last(Table.LOG, prefix, range_end(prefix))
            known.log_end = decode_log_row(last[1]).last_seq if last else 0
        for _, row in view.scan(Table.JOURNAL, b"", b"\xff" * 9):
            self._of_journal(row)

    def steps(self, batch: Batch) -> set[str]:
        """The steps that the batch makes durable."""
        found = set(self._of_meta(batch.tables[Table.META]))
        backfilled = {key[:PREFIX_BYTES] for key in batch.tables[Table.META] if key[PREFIX_BYTES:] == BACKFILL}
        found |= set(self._of_log(batch.tables[Table.LOG]))
        for row in batch.tables[Table.JOURNAL].values():
            found |= {"move"} if row is None else self._of_journal(row)
        for key in batch.tables[Table.DATA]:
            prefix = key[:PREFIX_BYTES]
            if prefix not in backfilled:
                found.add("apply" if prefix in self._copies else "sweep")
        return found

    def _of_meta(self, rows: dict[bytes, bytes | None]) -> Iterator[str]:
        for key, row in rows.items():
            if row is None:
                self._copies.pop(key[:PREFIX_BYTES], None)
                yield "sweep"
            elif key == NODE_ROW:
                yield "node"
            elif key == PROOF_ROW:
                yield "proof"
            elif key.startswith(GONE_PREFIX):
                yield "give_up"
            else:
                known = self._copies.setdefault(key[:PREFIX_BYTES], _Known(Promise(0, 0, [])))
                yield from self._of_copy(known, key[PREFIX_BYTES:], row)

    def _of_copy(self, known: _Known, name: bytes, row: bytes) -> Iterator[str]:
        if name == NAME and known.entry is None and not known.promise.promised:
            yield "create"
        elif name == STATE:
            known.applied_seq = msgspec.msgpack.decode(row, type=State).applied_seq
        elif name == PROMISE:
            before, known.promise = known.promise, msgspec.msgpack.decode(row, type=Promise)
            if known.promise.promised > before.promised:
                yield "promise"
            if known.promise.reconciled != before.reconciled:
                yield "reconcile"
        elif name == ENTRY:
            entry, known.entry = known.entry, decode_entry(row)
            yield from self._of_entry(entry, known.entry)
        elif name == BACKFILL:
            backfill = msgspec.msgpack.decode(row, type=Backfill)
            yield "end_backfill" if backfill.done else ("chunk" if backfill.cursor else "begin_backfill")

    def _of_entry(self, before: Entry | None, entry: Entry) -> Iterator[str]:
        if before is None or entry.epoch > before.epoch:
            if entry.leader is not None and entry.leader.node == self._node_id:
                yield "lead"
        elif set(entry.in_sync) != set(before.in_sync):
            yield "in_sync"

    def _of_log(self, rows: dict[bytes, bytes | None]) -> Iterator[str]:
        for key, row in rows.items():
            prefix = key[:PREFIX_BYTES]
            known = self._copies.get(prefix)
            if known is None:
                yield "sweep"
            elif row is not None:
                yield from self._of_row(known, decode_log_row(row))
            elif key > seq_key(prefix, known.applied_seq):
                known.log_end = min(known.log_end, int.from_bytes(key[PREFIX_BYTES:], "big") - 1)
                yield "cut"
            else:
                yield "truncate"

    def _of_journal(self, row: bytes) -> set[str]:
        found: set[str] = set()
        for number, log_row in split_row(row):
            known = self._copies.get(copy_prefix(number))
            if known is not None:
                found |= set(self._of_row(known, decode_log_row(log_row)))
        return found

    def _of_row(self, known: _Known, head: LogRow) -> Iterator[str]:
        if head.last_seq <= known.log_end:
            return  # It was durable before, in the journal.
        known.log_end = head.last_seq
        entry = known.entry
        leader = None if entry is None or entry.epoch != head.epoch else entry.leader
        if leader is None or leader.node != self._node_id:
            yield "follow"
            return
        types = {record.type for record in head.records()}
        yield "barrier" if RecordType.BARRIER in types else "append"
        yield from (step for kind, step in TXN_STEPS.items() if kind in types)


class CrashingEngine:
    """Args: engine: opened; point: where to crash; node_id: of the node whose store it is."""

    def __init__(self, engine: Engine, point: CrashPoint, node_id: str) -> None:
        self._engine = engine
        self._point = point
        self._finder = StepFinder(node_id)
        view = engine.snapshot()
        self._finder.load(view)
        view.close()

    def snapshot(self) -> Snapshot:
        return self._engine.snapshot()

    def commit(self, batch: Batch) -> None:
        with self._point.around(self._finder.steps(batch)):
            self._engine.commit(batch)

    def usage(self) -> Usage:
        return self._engine.usage()

    def close(self) -> None:
        self._engine.close()
