"""What the transactions of a partition need of its leader. Sans-IO."""

from __future__ import annotations

from typing import Protocol

from kvstore.instant import Instant
from kvstore.messages import Fault
from kvstore.replication.answers import Later, R, Result
from kvstore.storage.engine import Snapshot
from kvstore.txn.records import Payload

CONFLICT = Fault("txn_conflict", "the transaction lost to another one")
HAS_ENDED = Fault("txn_conflict", "this attempt of the transaction has ended")
LOCKED = Fault("locked", "a transaction that is not decided yet holds the key")
CROWDED = Fault("overloaded", "too many wait for locks of the partition")

LOCK_WAIT_MS = 50


class LogEnd(Protocol):
    """The end of the log of a leader that serves; `next_seq` is that of the next record."""

    epoch: int
    next_seq: int
    is_draining: bool

    def time_ms(self, now: Instant) -> int:
        """The partition's time."""

    def live_row(self, key: bytes, view: Snapshot, now: Instant) -> bytes | None:
        """The row of a key at the log's end; one whose time is over is ended first."""

    def propose_txn(self, payload: Payload, now: Instant) -> int:
        """Append a record; returns its seq."""

    def answer(self, ticket: object, seen: int, result: R, now: Instant) -> R | Fault | Later:
        """Answer when the record `seen` is committed; at once, and as a read, where it is."""

    def answer_at(self, seq: int, ticket: object, result: Result) -> Later:
        """Answer when the record `seq`, the newest, is committed."""

    def refusal(self, needs_room: bool, full: bool) -> Fault | None:
        """Why nothing may be appended for a client now."""
