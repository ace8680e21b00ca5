"""One copy of a partition: its log, what of it is committed and applied, and what it promised.

Guarantees: state in memory runs ahead of the disk by at most the batches at hand; `durable_end` never claims more than
a finished batch holds; `data` is always a committed prefix of the log (log first, apply after commit), with the key and
byte counters, the expiry index and the outcomes that are remembered changed in the same batch. A copy that is
backfilled is such a prefix for the positions up to its cursor, and empty beyond. Leaves to others: when to commit
(`leader`, `follower`). Sans-IO. PROTOCOL "Log", "Write path", "Backfill".
"""

from __future__ import annotations

import msgspec

from kvstore.codec import encode_entry
from kvstore.map_values import Entry
from kvstore.messages import BeginBackfill, Chunk
from kvstore.replication.contents import Contents
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
    decode_row,
    encode_row,
)
from kvstore.replication.log import Held, Log
from kvstore.replication.outcomes import DATA_POSITION, Outcomes
from kvstore.storage.engine import Batch, Snapshot, Table
from kvstore.storage.journal import Journal
from kvstore.storage.records import (
    DamagedRow,
    RecordType,
    copy_prefix,
    seq_key,
)
from kvstore.transfer.records import PROGRESS, PROGRESS_ROW, Carried, Progress, carried_in
from kvstore.txn.records import PREPARED, TXN_TYPES, Effect, effects_of, payload_of
from kvstore.txn.state import TxnState

# A larger row fills pages of its own wherever it stands.
JOURNALED_ROW_BYTES_MAX = 8 * 1024


class Copy:
    """Args: number: the local copy number; name: what it is a copy of."""

    def __init__(self, number: int, name: CopyName, entry: Entry | None = None) -> None:
        self.number = number
        self.prefix = copy_prefix(number)
        self.prefix_end = copy_prefix(number + 1)
        self.name = name
        self.entry = entry
        self.promised = 0
        self.reconciled = 0
        self.heard_ver = 0
        self.log = Log(0, 0, 0, [], [])
        self.durable_end = 0
        self.commit_seq = 0
        self.applied_seq = 0
        self.applied_ms = 0
        self.outcomes = Outcomes(self.prefix)
        self.txns = TxnState(self.prefix)
        self.contents = Contents(self.prefix)
        self.log_bytes = 0
        self.log_start = self.prefix
        self.backfill: Backfill | None = None
        self.progress: Progress | None = None
        self.left_layout = 0
        self.verify_due: tuple[int, int, bytes] | None = None
        self._chunk: Chunk | None = None
        self._state_changed = False
        self._unsaved: list[Held] = []
        self._journaled: list[Held] = []
        self._cut: list[int] = []
        self._truncated: list[bytes] = []
        self._meta_changed = True
        self._saving_end = 0
        self._saving_applied = 0

    # ---- changes in memory --------------------------------------------------------------------------------------

    def promise(self, epoch: int) -> None:
        """Never again accept anything of an epoch below `epoch`."""
        assert epoch >= self.promised, "a promise is not taken back"
        if epoch > self.promised:
            self.promised = epoch
            self._chunk = None
            self._meta_changed = True

    def reconcile(self, epoch: int) -> None:
        """Note that the log is a prefix of the log of the leader of `epoch`."""
        if self.reconciled != epoch:
            self.reconciled = epoch
            self._meta_changed = True

    def hear(self, ver: int) -> None:
        """A leader named this copy by this version of the map entry."""
        if ver > self.heard_ver:
            self.heard_ver = ver
            self._meta_changed = True

    def is_dropped_by(self, entry: Entry) -> bool:
        """Whether the map named this copy before and, by this entry, does so no more: then it never will again, unless
        its node offers it once more, which it is asked for by a newer entry than this one."""
        is_newer = self.entry is not None and entry.ver > max(self.entry.ver, self.heard_ver)
        return is_newer and self.name.rid not in (*entry.replicas, *entry.adding)

    def adopt(self, entry: Entry) -> None:
        """Keep the newest map entry."""
        self.entry = entry
        self._meta_changed = True

    def append(self, held: Held) -> None:
        """Add the next row to the log; it is saved with the next batch."""
        self._meta_changed = self._meta_changed or not self.log.starts or self.log.starts[-1][0] != held.head.epoch
        self.log.append(held)
        self._unsaved.append(held)

    def cut(self, end: int) -> None:
        """Drop the tail of the log after `end`.

        Raises:
            DamagedRow: that would reach below what is applied, which no correct leader asks for.
        """
        if end < self.applied_seq or end < self._saving_applied:
            raise DamagedRow(f"a cut to {end} below what is applied ({self.applied_seq})")
        unsaved_from = self._unsaved[0].head.first_seq if self._unsaved else self.log.end + 1
        for held in self.log.cut(end):
            self._cut.append(held.head.first_seq)
            if held.head.first_seq < unsaved_from:
                self.log_bytes -= len(held.row)
        self._unsaved = [held for held in self._unsaved if held.head.last_seq <= end]
        self._journaled = [held for held in self._journaled if held.head.last_seq <= end]
        self._saving_end = min(self._saving_end, end)
        self.durable_end = min(self.durable_end, end)
        self._meta_changed = True

    def commit(self, seq: int) -> None:
        """Everything up to `seq`, the end of a row, is committed."""
        assert seq <= self.log.end, "only what is in the log can be committed"
        self.commit_seq = max(self.commit_seq, seq)

    @property
    def is_backfilling(self) -> bool:
        """Whether data is still missing: nothing is applied then but together with a chunk."""
        return self.backfill is not None and not self.backfill.done

    @property
    def wants_chunk(self) -> bool:
        """Whether the next piece of data is missing and not at hand."""
        return self.is_backfilling and self._chunk is None and self.reconciled == self.promised

    def take_chunk(self, chunk: Chunk) -> None:
        """Keep a chunk until the log has reached the seq at which it was read; a late or doubled one is ignored."""
        continues = self.backfill is not None and chunk.cursor == self.backfill.cursor
        if self.wants_chunk and continues and chunk.as_of >= self.taken_seq:
            self._chunk = chunk

    @property
    def unapplied(self) -> int:
        """How many committed records are not yet in a batch that applies them, and may be."""
        return 0 if self.is_backfilling else self.commit_seq - self.taken_seq

    @property
    def taken_seq(self) -> int:
        """What is applied with the batch at hand."""
        return max(self.applied_seq, self._saving_applied)

    @property
    def has_changes(self) -> bool:
        """Whether something waits to be saved, applies aside."""
        return bool(self._unsaved or self._cut or self._truncated or self._meta_changed) or self._has_whole_chunk

    @property
    def _has_whole_chunk(self) -> bool:
        return self._chunk is not None and self._chunk.as_of <= self.log.end

    @property
    def is_journaled(self) -> bool:
        """Whether rows of its log stand in the journal only."""
        return bool(self._journaled)

    @property
    def empties_journal(self) -> bool:
        """Whether the next batch has to empty the journal: rows of the log were cut that may stand there."""
        return bool(self._cut)

    # ---- saving -------------------------------------------------------------------------------------------------

    def save(self, batch: Batch, apply: bool, journal: Journal | None) -> None:
        """Put all unsaved changes into `batch`, and with `apply` the effects of what is committed.

        Args:
            journal: takes the new rows of the log; None where the batch empties the journal, and all rows that stand
                there go to the log's own table.
        """
        for first_seq in self._cut:
            batch.delete(Table.LOG, seq_key(self.prefix, first_seq))
        for row_key in self._truncated:
            batch.delete(Table.LOG, row_key)
        self._state_changed = self._state_changed or bool(self._truncated)
        self._save_rows(batch, None if apply or self._has_whole_chunk else journal)
        self._cut, self._truncated, self._unsaved = [], [], []
        if self._meta_changed:
            self._save_meta(batch)
        self._saving_end = self.log.end
        if self._has_whole_chunk:
            self._store_chunk(batch)
        elif apply and self.unapplied > 0:
            self._apply(batch, self.commit_seq, None)
        if self._state_changed:
            self._save_state(batch)

    def saved(self) -> bool:
        """The batch of the last `save` is durable; returns whether it applied anything."""
        self.durable_end = self._saving_end
        self.txns.saved()
        if self._saving_applied <= self.applied_seq:
            return False
        self.applied_seq = self._saving_applied
        self.log.release(self.applied_seq)
        return True

    def sweep(self, batch: Batch, view: Snapshot, tokens_max: int) -> int:
        """Delete what of so many tokens counts no more; returns of how many. Raises DamagedRow."""
        swept = self.outcomes.sweep(batch, view, self.applied_ms, tokens_max)
        return swept + self.txns.sweep(batch, view, self.applied_ms, tokens_max)

    def truncate(self, row_keys: list[bytes], size_bytes: int) -> None:
        """Delete these log rows, the oldest, `size_bytes` in all, with the next batch."""
        self._truncated += row_keys
        self.log_bytes -= size_bytes
        self.log_start = row_keys[-1] + b"\x00"

    def save_journaled(self, batch: Batch) -> None:
        """Put what stands in the journal only into the log's table: the batch empties the journal."""
        for held in self._journaled:
            batch.put(Table.LOG, seq_key(self.prefix, held.head.first_seq), held.row)
        self._journaled = []

    def _save_rows(self, batch: Batch, journal: Journal | None) -> None:
        """Rows that are small are only journaled at first: a batch then changes few pages, however many copies it is
        of. What is applied stands in the log's table, from where it is read back."""
        if journal is None:
            self.save_journaled(batch)
        for held in self._unsaved:
            self.log_bytes += len(held.row)
            if journal is None or len(held.row) > JOURNALED_ROW_BYTES_MAX:
                batch.put(Table.LOG, seq_key(self.prefix, held.head.first_seq), held.row)
            else:
                journal.add(self.number, held.row)
                self._journaled.append(held)

    def _save_meta(self, batch: Batch) -> None:
        self._meta_changed = False
        promise = Promise(self.promised, self.reconciled, self.log.starts, self.heard_ver)
        batch.put(Table.META, self.prefix + NAME, encode_row(self.name))
        batch.put(Table.META, self.prefix + PROMISE, encode_row(promise))
        if self.entry is not None:
            batch.put(Table.META, self.prefix + ENTRY, encode_entry(self.entry))
        if self.backfill is not None:
            batch.put(Table.META, self.prefix + BACKFILL, encode_row(self.backfill))

    def _apply(self, batch: Batch, upto: int, cursor: bytes | None) -> None:
        """Apply rows that end at or before `upto`; with a cursor, only what they do at positions up to it. Without one
        a verify record is the last that is applied, so that the batch leaves the very state at its seq."""
        self._saving_applied, outcomes, change = self.taken_seq, self.outcomes, self.contents.change
        for held in self.log.held_after(self._saving_applied):
            head = held.head
            if head.last_seq > upto:
                break
            for seq, record, row in held.changes:
                if record.type <= RecordType.EXPIRE:
                    if cursor is None or DATA_POSITION + record.key <= cursor:
                        change(batch, record.key, row, record.replaced_bytes, record.replaced_expiry_ms)
                elif record.type in TXN_TYPES:
                    payload = payload_of(record)
                    self._apply_effects(batch, effects_of(payload), cursor)
                    self.txns.take(batch, payload, head, cursor)
                elif record.type == RecordType.TRANSFER:
                    self._apply_carried(batch, carried_in(record), cursor)
                if record.origin or record.token:
                    outcomes.take(batch, record, head, seq, cursor)
            outcomes.windows.pass_to(head.time_ms)
            self._saving_applied = head.last_seq
            self.applied_ms = head.time_ms
            self._state_changed = True
            last = held.changes[-1][1]
            if last.type == RecordType.VERIFY and cursor is None:
                self.verify_due = head.epoch, head.last_seq, last.value
                break
        outcomes.save(batch)
        assert self._saving_applied <= self.commit_seq, "I4: applied is committed"

    def _apply_effects(self, batch: Batch, effects: list[Effect], cursor: bytes | None) -> None:
        for effect in effects:
            if cursor is None or DATA_POSITION + effect.key <= cursor:
                self.contents.change(batch, effect.key, effect.row, effect.replaced_bytes, effect.replaced_expiry_ms)

    def _apply_carried(self, batch: Batch, carried: Carried, cursor: bytes | None) -> None:
        self._apply_effects(batch, carried.effects, cursor)
        self.left_layout = max(self.left_layout, carried.layout)
        for position, row in carried.remembered:
            if cursor is None or position <= cursor:
                self._store(batch, position, row)
        if carried.progress is not None and (cursor is None or cursor >= PROGRESS):
            self._store(batch, PROGRESS, encode_row(carried.progress))

    def _store(self, batch: Batch, position: bytes, row: bytes) -> None:
        """Take over a row behind the data that another copy, or another partition, has at this position."""
        if position == PROGRESS:
            batch.put(Table.META, self.prefix + PROGRESS_ROW, row)
            self.progress = decode_row(row, Progress)
        elif position < PREPARED:
            self.outcomes.store(batch, position, row)
        else:
            self.txns.store(batch, position, row)

    def _store_chunk(self, batch: Batch) -> None:
        """Bring what is here to the seq at which the chunk was read, add the chunk, and move the cursor behind it."""
        chunk, backfill = self._chunk, self.backfill
        assert chunk is not None, "only a chunk that is at hand is stored"
        assert backfill is not None, "only a copy that is backfilled takes chunks"
        self._chunk = None
        self.commit(chunk.as_of)
        self._apply(batch, chunk.as_of, backfill.cursor)
        for position, row in chunk.rows:
            if position[:1] == DATA_POSITION:
                self.contents.change(batch, position[1:], row)
            else:
                self._store(batch, position, row)
        self._saving_applied = chunk.as_of
        self.applied_ms = chunk.as_of_ms
        self._state_changed = True
        self.backfill = msgspec.structs.replace(backfill, cursor=chunk.end, done=chunk.done)
        batch.put(Table.META, self.prefix + BACKFILL, encode_row(self.backfill))

    def _save_state(self, batch: Batch) -> None:
        self._state_changed = False
        applied = self._saving_applied
        log_bytes = self.log_bytes - sum(len(held.row) for held in self.log.held_after(applied))
        time_ms = self.log.time_ms
        state = State(
            self.commit_seq, applied, self.contents.keys, self.contents.size_bytes, time_ms, log_bytes, self.applied_ms
        )
        batch.put(Table.META, self.prefix + STATE, encode_row(state))


def begin_backfill(number: int, former: Copy, message: BeginBackfill) -> Copy:
    """The empty copy, under a fresh number, that takes the place of `former`, which the log cannot bring up to date."""
    copy = Copy(number, former.name, former.entry)
    base = message.base_seq
    copy.promised, copy.reconciled, copy.heard_ver = former.promised, message.epoch, former.heard_ver
    copy.log = Log(base, message.base_checksum, message.time_ms, list(message.starts), [])
    copy.durable_end = copy._saving_end = base
    copy.commit_seq = copy.applied_seq = copy._saving_applied = base
    copy.backfill = Backfill(base, message.base_checksum)
    copy._state_changed = True
    return copy
