"""The log of one copy, as far as it is in memory.

Guarantees: rows are dense and chained: each begins one seq after the row before and carries its checksum. Rows that
are not yet applied are always held, so a cut of the tail never needs the disk. Leaves to others: what is durable and
what is committed (`copy`). Sans-IO. PROTOCOL "Log".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import (
    LogRow,
    Record,
    RecordType,
    decode_log_row,
    encode_value,
    expiry_of,
    seq_key,
    value_bytes,
)

ROW_BYTES_MAX = 4 * 1024 * 1024

RECORD_OVERHEAD_BYTES = 64

Change = tuple[int, Record, bytes | None]


class Held:
    """A log row in memory, with the changes it makes decoded at first use."""

    __slots__ = ("_changes", "head", "row")

    def __init__(self, row: bytes, head: LogRow, changes: list[Change] | None = None) -> None:
        self.row = row
        self.head = head
        self._changes = changes

    @property
    def changes(self) -> list[Change]:
        """(seq, record, the data row it leaves or None) of each record; raises DamagedRow."""
        if self._changes is None:
            head = self.head
            self._changes = [
                (head.first_seq + offset, record, data_row(head.epoch, head.first_seq + offset, record))
                for offset, record in enumerate(head.records())
            ]
        return self._changes


def data_row(epoch: int, seq: int, record: Record) -> bytes | None:
    """The row that `record` leaves in `data`, None where it leaves none."""
    if record.type != RecordType.PUT:
        return None
    return encode_value(epoch, seq, record.expiry_ms, record.content_type, record.value)


def slices(changes: list[Change]) -> Iterator[list[Change]]:
    """Cut a queue into rows of bounded size; a verify record ends its row."""
    part: list[Change] = []
    size = 0
    for change in changes:
        length = len(change[1].value)
        if part and size + length > ROW_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(change)
        size += length
        if change[1].type == RecordType.VERIFY:
            yield part
            part, size = [], 0
    if part:
        yield part


def weight(record: Record) -> int:
    """The bytes that an uncommitted record takes of its node's budget."""
    return len(record.key) + len(record.value) + RECORD_OVERHEAD_BYTES


def replaced(key: bytes, row: bytes | None) -> tuple[int, int]:
    """The size and the expiry of the data row that a record replaces: (-1, 0) where there is none."""
    return (-1, 0) if row is None else (len(key) + value_bytes(row), expiry_of(row))


class Log:
    """Args: end, end_checksum: of the last row (0, 0 for an empty log); time_ms: the highest time in the log;
    starts: the first seq of each epoch; held: the rows after what is applied."""

    def __init__(
        self, end: int, end_checksum: int, time_ms: int, starts: list[tuple[int, int]], held: Iterable[Held]
    ) -> None:
        self.end = end
        self.end_checksum = end_checksum
        self.time_ms = time_ms
        self.starts = starts
        self._held = deque(held)

    def append(self, held: Held) -> None:
        """Add the next row; the caller has checked that it follows."""
        head = held.head
        assert head.first_seq == self.end + 1, "a log is dense"
        assert head.previous == self.end_checksum, "a log is chained"
        if not self.starts or self.starts[-1][0] != head.epoch:
            self.starts.append((head.epoch, head.first_seq))
        self._held.append(held)
        self.end = head.last_seq
        self.end_checksum = head.checksum
        self.time_ms = max(self.time_ms, head.time_ms)

    def cut(self, end: int) -> list[Held]:
        """Drop every row after `end`, which is the end of a row; returns the dropped rows, the last one first."""
        dropped = []
        while self._held and self._held[-1].head.last_seq > end:
            head = self._held[-1].head
            assert head.first_seq > end, "a cut falls between rows"
            dropped.append(self._held.pop())
            self.end = head.first_seq - 1
            self.end_checksum = head.previous
        self.starts = [(epoch, seq) for epoch, seq in self.starts if seq <= self.end]
        return dropped

    @property
    def base(self) -> tuple[int, int]:
        """The seq before the first row in memory, and the checksum of the row that ends there."""
        if not self._held:
            return self.end, self.end_checksum
        head = self._held[0].head
        return head.first_seq - 1, head.previous

    def release(self, upto: int) -> None:
        """Forget rows that end at or before `upto`; they stand in the engine."""
        held = self._held
        while held and held[0].head.last_seq <= upto:
            held.popleft()

    def held_after(self, seq: int) -> list[Held]:
        """The rows in memory that begin after `seq`; mostly the last few, hence searched from the end."""
        after: list[Held] = []
        for held in reversed(self._held):
            if held.head.first_seq <= seq:
                break
            after.append(held)
        after.reverse()
        return after

    def rows_after(self, seq: int, bytes_max: int, prefix: bytes, view: Snapshot) -> tuple[list[bytes], int, int]:
        """Rows that follow `seq`, at least one if there is any, and about `bytes_max` at most.

        Returns:
            The rows, the checksum of the row before the first, and the last seq among them; no rows where there are
            none, or where the row that follows `seq` is no longer kept.
        """
        first_held = self._held[0].head.first_seq if self._held else self.end + 1
        source: Iterable[tuple[bytes, LogRow]]
        if seq + 1 >= first_held:
            source = ((held.row, held.head) for held in self.held_after(seq))
        else:
            stored = view.scan(Table.LOG, seq_key(prefix, seq + 1), seq_key(prefix, first_held))
            source = ((row, decode_log_row(row)) for _, row in stored)
        rows: list[bytes] = []
        size, last, previous = 0, seq, self.end_checksum
        for row, head in source:
            if rows and size + len(row) > bytes_max:
                break
            if not rows:
                if head.first_seq != seq + 1:
                    return [], 0, seq
                previous = head.previous
            rows.append(row)
            size += len(row)
            last = head.last_seq
        return rows, previous, last


def common_end(mine: list[tuple[int, int]], my_end: int, theirs: list[tuple[int, int]], their_end: int) -> int:
    """The last seq up to which two logs of one partition are equal, from their epoch vectors.

    An epoch has one leader, which never takes a row back, so two logs agree on the part of an epoch that both have
    (KIP-101). 0 where they have no epoch in common.
    """
    ends = {epoch: end for (epoch, _), end in zip(mine, _ends(mine, my_end), strict=True)}
    for (epoch, _), end in reversed(list(zip(theirs, _ends(theirs, their_end), strict=True))):
        if epoch in ends:
            return min(end, ends[epoch])
    return 0


def _ends(starts: list[tuple[int, int]], end: int) -> list[int]:
    return [following - 1 for _, following in starts[1:]] + ([end] if starts else [])
