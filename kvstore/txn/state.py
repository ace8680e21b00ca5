"""Transactions as a copy has applied them: what is prepared, and what was decided.

Guarantees: it changes by log records alone, in the batch that applies them, so two copies at the same seq hold the
same; a decision to commit stays until the record that forgets it, and then for `KEEP_MS` of log time; what no longer
counts is deleted a bounded piece at a time. Leaves to others: the rows in `data` (`copy`), what a leader does with it
(`participant`, `primary`). Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kvstore.messages import SCOPE_BYTES, TxnName
from kvstore.replication.copy_rows import decode_row, encode_row
from kvstore.storage.engine import Batch, Snapshot, Table
from kvstore.storage.records import LogRow
from kvstore.txn.records import (
    END_TIME,
    ENDED,
    PREPARED,
    UNDONE,
    Decided,
    Ended,
    Finished,
    Forgotten,
    Payload,
    Prepared,
    end_time_key,
    prepared_position,
    split_end_time,
)

KEEP_MS = 3_600_000
SINGLE_KEEP_MS = 300_000
TOMBSTONE_KEEP_MS = 300_000


def ended_of(payload: Decided | Finished, time_ms: int) -> Ended:
    """The row of a decision, or the tombstone of an abort, that was logged at `time_ms`."""
    if isinstance(payload, Finished):
        return Ended(payload.txn, False, False, payload.until_ms or time_ms + TOMBSTONE_KEEP_MS)
    kept_ms = payload.until_ms or time_ms + (SINGLE_KEEP_MS if payload.commits else KEEP_MS)
    return Ended(
        payload.txn,
        payload.commits,
        payload.then,
        0 if payload.prepares else kept_ms,
        payload.prepares,
        payload.results,
        payload.code,
        payload.detail,
    )


def tombstone_until(txn: TxnName, known: Ended | None, time_ms: int) -> int:
    """`Finished.until_ms` of an abort, where that is `known` under the token: of transactions that were decided here,
    or came with their keys, more is remembered than of one that this partition only took part in."""
    if known is None:
        return 0
    if known.commits or known.txn.attempt > txn.attempt:
        return -1
    return max(known.until_ms, time_ms + TOMBSTONE_KEEP_MS)


def single_until(known: Ended | None, time_ms: int) -> int:
    """`Decided.until_ms` of a commit in one partition, where that is `known` under the token."""
    return 0 if known is None else max(known.until_ms, time_ms + SINGLE_KEEP_MS)


def joined(known: Ended, other: Ended) -> Ended:
    """What is to be remembered of what is `known` under a token and an `other` partition's row: a commit, or else the
    later attempt, for as long as either counts."""
    if known.until_ms == 0:
        return known
    is_newer = other.commits or other.txn.attempt > known.txn.attempt
    stays = other if is_newer and not known.commits else known
    return msgspec.structs.replace(stays, until_ms=max(known.until_ms, other.until_ms))


def txn_rows(prefix: bytes, view: Snapshot, time_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """All that counts at that log time, as (key without prefix, row) in order: equal on copies at the same seq."""
    for row_key, row in transferred_rows(prefix, PREPARED, view):
        if row_key[4:5] != ENDED or decode_row(row, Ended).counts(time_ms):
            yield row_key[len(prefix) :], row


def transferred_rows(prefix: bytes, start: bytes, view: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    """Rows from the position `start` on that a learner is filled with."""
    return view.scan(Table.TXN, prefix + max(start, PREPARED), prefix + END_TIME)


class TxnState:
    """What the copy with this prefix has applied.

    Attributes:
        prepared: by name. undone: decisions to commit, by token. blocked: the keys that what is prepared may change,
            as long as a view may show what they were before.
    """

    def __init__(self, prefix: bytes) -> None:
        self.prepared: dict[TxnName, Prepared] = {}
        self.undone: dict[bytes, Ended] = {}
        self.blocked: dict[bytes, TxnName] = {}
        self._prefix = prefix
        self._moved: dict[bytes, Ended] = {}
        self._unblocked: list[tuple[bytes, TxnName]] = []
        self._oldest_ms: int | None = None

    def load(self, view: Snapshot) -> None:
        """Read it back; raises DamagedRow."""
        prefix = self._prefix
        for _, row in view.scan(Table.TXN, prefix + PREPARED, prefix + UNDONE):
            self._add(decode_row(row, Prepared))
        for row_key, row in view.scan(Table.TXN, prefix + UNDONE, prefix + ENDED):
            self.undone[row_key[len(prefix) + 1 :]] = decode_row(row, Ended)
        first = next(view.scan(Table.TXN, prefix + END_TIME, prefix + b"\xff"), None)
        self._oldest_ms = None if first is None else split_end_time(first[0])[0]

    def ended(self, token: bytes, view: Snapshot, time_ms: int) -> Ended | None:
        """What was decided last under a token, as of what `view` shows; raises DamagedRow."""
        held = self.undone.get(token) or self._moved.get(token)
        if held is not None:
            return held
        row = view.get(Table.TXN, self._prefix + ENDED + token)
        ended = None if row is None else decode_row(row, Ended)
        return ended if ended is not None and ended.counts(time_ms) else None

    def ended_in_scope(self, scope: bytes, view: Snapshot, time_ms: int) -> Iterator[Ended]:
        """What was decided under all tokens of a scope; raises DamagedRow."""
        yield from (ended for token, ended in self._moved.items() if token[:SCOPE_BYTES] == scope)
        for kind in (UNDONE, ENDED):
            start = self._prefix + kind + scope
            for _, row in view.scan(Table.TXN, start, start + b"\xff" * (len(scope) + 1)):
                ended = decode_row(row, Ended)
                if ended.counts(time_ms):
                    yield ended

    # ---- applying -----------------------------------------------------------------------------------------------

    def take(self, batch: Batch, payload: Payload | None, head: LogRow, cursor: bytes | None) -> None:
        """Apply what a record of the row `head` says beside its effects; with a cursor, only at positions up to it."""
        if isinstance(payload, Prepared):
            if _is_within(prepared_position(payload.txn), cursor):
                self._put_prepared(batch, payload)
        elif isinstance(payload, Decided):
            self._end(batch, ended_of(payload, head.time_ms), cursor)
        elif isinstance(payload, Finished):
            self._finish(batch, payload, head.time_ms, cursor)
        elif isinstance(payload, Forgotten):
            for token in payload.tokens:
                self._forget(batch, token, head.time_ms + KEEP_MS, cursor)

    def saved(self) -> None:
        """The batch with all that was taken is durable."""
        self._moved.clear()
        for key, name in self._unblocked:
            if self.blocked.get(key) == name:
                del self.blocked[key]
        self._unblocked.clear()

    def store(self, batch: Batch, position: bytes, row: bytes) -> None:
        """Take over a row that another copy has at this position; raises DamagedRow."""
        if position[:1] == PREPARED:
            self._put_prepared(batch, decode_row(row, Prepared))
        else:
            self._put_ended(batch, decode_row(row, Ended))

    def _put_prepared(self, batch: Batch, prepared: Prepared) -> None:
        batch.put(Table.TXN, self._prefix + prepared_position(prepared.txn), encode_row(prepared))
        self._add(prepared)

    def _finish(self, batch: Batch, finished: Finished, time_ms: int, cursor: bytes | None) -> None:
        position = prepared_position(finished.txn)
        if _is_within(position, cursor):
            batch.delete(Table.TXN, self._prefix + position)
            prepared = self.prepared.pop(finished.txn, None)
            for key in () if prepared is None else prepared.written:
                self._unblocked.append((key, finished.txn))
        if finished.is_remembered:
            self._end(batch, ended_of(finished, time_ms), cursor)

    def _forget(self, batch: Batch, token: bytes, until_ms: int, cursor: bytes | None) -> None:
        undone = self.undone.pop(token, None)
        if undone is None:
            return
        batch.delete(Table.TXN, self._prefix + UNDONE + token)
        self._moved[token] = ended = msgspec.structs.replace(undone, until_ms=until_ms)
        self._end(batch, ended, cursor)

    def _end(self, batch: Batch, ended: Ended, cursor: bytes | None) -> None:
        if _is_within((ENDED if ended.until_ms else UNDONE) + ended.txn.token, cursor):
            self._put_ended(batch, ended)

    def _put_ended(self, batch: Batch, ended: Ended) -> None:
        prefix, token, until_ms = self._prefix, ended.txn.token, ended.until_ms
        if not until_ms:
            batch.put(Table.TXN, prefix + UNDONE + token, encode_row(ended))
            self.undone[token] = ended
            return
        batch.put(Table.TXN, prefix + ENDED + token, encode_row(ended))
        batch.put(Table.TXN, end_time_key(prefix, until_ms, token), b"")
        if self._oldest_ms is None or until_ms < self._oldest_ms:
            self._oldest_ms = until_ms

    def _add(self, prepared: Prepared) -> None:
        self.prepared[prepared.txn] = prepared
        for key in prepared.written:
            self.blocked[key] = prepared.txn

    # ---- forgetting ---------------------------------------------------------------------------------------------

    def sweep(self, batch: Batch, view: Snapshot, applied_ms: int, rows_max: int) -> int:
        """Delete rows that no longer count, so many at most; arguments and errors as for `Outcomes.sweep`.

        Returns:
            How many rows it looked at.
        """
        if self._oldest_ms is None or self._oldest_ms > applied_ms:
            return 0
        prefix, changes = self._prefix, batch.tables[Table.TXN]
        count = 0
        for row_key, _ in view.scan(Table.TXN, prefix + END_TIME, prefix + b"\xff"):
            until_ms, token = split_end_time(row_key)
            if until_ms > applied_ms or count >= rows_max:
                self._oldest_ms = until_ms
                return count
            count += 1
            batch.delete(Table.TXN, row_key)
            ended_key = prefix + ENDED + token
            row = view.get(Table.TXN, ended_key)
            # A token under which more was decided since has a newer row, here or in this batch.
            if ended_key not in changes and row is not None and decode_row(row, Ended).until_ms == until_ms:
                batch.delete(Table.TXN, ended_key)
        self._oldest_ms = applied_ms
        return count


def _is_within(position: bytes, cursor: bytes | None) -> bool:
    return cursor is None or position <= cursor
