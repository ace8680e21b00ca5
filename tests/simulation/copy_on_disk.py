"""One copy of a partition as a disk holds it, whatever its process believes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from kvstore.map_values import Rid
from kvstore.replication.copy_rows import BACKFILL, NAME, Backfill, CopyName
from kvstore.replication.gone import GONE_PREFIX
from kvstore.storage.engine import Table, range_end
from kvstore.storage.journal import Journal
from kvstore.storage.memory import MemorySnapshot
from kvstore.storage.records import LogRow, decode_log_row, seq_key


def mark(row: LogRow) -> tuple[int, int]:
    """What tells a log row from others at its place, and its past from other pasts: rows are chained."""
    return row.epoch, row.checksum


@dataclass(frozen=True)
class CopyOnDisk:
    """The rows under `prefix`."""

    view: MemorySnapshot
    prefix: bytes

    @classmethod
    def find(cls, rid: Rid, view: MemorySnapshot) -> CopyOnDisk | None:
        """That copy, if it is there and was not given up."""
        for key, row in view.scan(Table.META, b"", b"\xff" * 8):
            if key[4:] == NAME and msgspec.msgpack.decode(row, type=CopyName).rid == rid:
                prefix = key[:4]
                if view.get(Table.META, GONE_PREFIX + prefix) is None:
                    return cls(view, prefix)
        return None

    def complete_end(self) -> int:
        """The end of its log, -1 where data is missing."""
        row = self.view.get(Table.META, self.prefix + BACKFILL)
        backfill = Backfill(0, 0, b"", True) if row is None else msgspec.msgpack.decode(row, type=Backfill)
        last = self.view.last(Table.LOG, self.prefix, range_end(self.prefix))
        rows = [*self._journaled(), *([last[1]] if last else [])]
        end = max((decode_log_row(row).last_seq for row in rows), default=backfill.base_seq)
        return end if backfill.done else -1

    def row(self, first_seq: int) -> LogRow | None:
        """The row of its log that begins there, if it is kept."""
        stored = self.view.get(Table.LOG, seq_key(self.prefix, first_seq))
        if stored is not None:
            return decode_log_row(stored)
        return next((head for head in map(decode_log_row, self._journaled()) if head.first_seq == first_seq), None)

    def rows(self) -> Iterator[LogRow]:
        """Every row of its log that is kept."""
        for _, row in self.view.scan(Table.LOG, self.prefix, range_end(self.prefix)):
            yield decode_log_row(row)
        yield from map(decode_log_row, self._journaled())

    def _journaled(self) -> list[bytes]:
        return Journal().load(self.view).get(int.from_bytes(self.prefix, "big"), [])
