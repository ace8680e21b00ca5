"""The contract of a storage engine: named tables of sorted bytes, atomic batches, snapshots.

Guarantees that every engine gives (one suite in `tests/contract` runs on all):

- `commit` applies a batch wholly or not at all; when it returns, the batch survives the loss of power.
- a snapshot sees every batch whose `commit` returned before it was opened, and none that began later.
- `MapFull` leaves the state as it was, and the next `commit` may succeed.

Leaves to others: who calls `commit` (one caller at a time), what rows mean (`records`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Table(IntEnum):
    """The named databases of an engine."""

    DATA = 0
    LOG = 1
    TXN = 2
    IDEMPOTENCY = 3
    EXPIRY = 4
    META = 5
    JOURNAL = 6


# What each read names: an enumeration takes five times as long to look it up.
DATA = Table.DATA


class EngineError(Exception):
    """The engine can no longer be trusted; the process ends (crash only, never retried)."""


class MapFull(Exception):
    """The batch does not fit; nothing of it was applied."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Size of an engine in bytes: `used` by live pages, out of `limit`, beyond which client writes are refused; `free`
    is what its file holds besides, to be used again."""

    used: int
    limit: int
    free: int = 0


class Batch:
    """Changes that are committed together. For one key of one table the last change counts."""

    __slots__ = ("tables",)

    def __init__(self) -> None:
        self.tables: tuple[dict[bytes, bytes | None], ...] = tuple({} for _ in Table)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.tables[table][key] = value

    def delete(self, table: Table, key: bytes) -> None:
        self.tables[table][key] = None

    def __len__(self) -> int:
        """How many rows it changes."""
        return sum(map(len, self.tables))


class Snapshot(Protocol):
    """A consistent view. Close it in the turn it was opened, or keep it short: it pins pages."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value of `key`, or None."""

    def scan(self, table: Table, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < end in byte order."""

    def rows(self, table: Table, position: bytes, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """All rows from `position` on in byte order, or all before it the other way round."""

    def keys(self, table: Table, start: bytes, end: bytes, count_max: int) -> list[bytes]:
        """The first `count_max` keys with start <= key < end, in byte order."""

    def last(self, table: Table, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The row with the greatest key in start <= key < end."""

    def close(self) -> None:
        """Release the view; idempotent."""


class Engine(Protocol):
    """Tables on some medium."""

    def snapshot(self) -> Snapshot:
        """Open a view of what is committed now."""

    def commit(self, batch: Batch) -> None:
        """Make `batch` durable.

        Raises:
            MapFull: it does not fit.
            EngineError: the medium failed; the outcome of this batch is what a restart finds.
        """

    def usage(self) -> Usage:
        """How full the engine is."""

    def close(self) -> None:
        """Release files; idempotent."""


def range_end(prefix: bytes) -> bytes:
    """The smallest key after all that begin with `prefix`."""
    number = int.from_bytes(prefix, "big") + 1
    return number.to_bytes(len(prefix), "big")
