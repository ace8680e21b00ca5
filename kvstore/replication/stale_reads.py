"""Reads of one copy that may be behind, and how far behind it may be.

Guarantees: a bound counts, by this copy's own clock, from when the leader was asked, and only once all is applied that
the leader then called committed; so the row that is told was the committed one at some moment within the bound. A copy
that the map does not call in sync, or that knows no bound, answers nothing, nor does one for a key that a transaction
may have changed: its decision may have been told before the bound begins. Leaves to others: asking the leader
(`leases`), trying another copy (the gateway). Sans-IO. PROTOCOL "Read path".
"""

from __future__ import annotations

from kvstore.instant import Instant
from kvstore.messages import Fault, ReadStale, StaleResult
from kvstore.replication.answers import ELSEWHERE, Later
from kvstore.replication.copy import Copy
from kvstore.replication.leader import Leader
from kvstore.replication.peer import NEVER_MS
from kvstore.storage.engine import Snapshot, Table
from kvstore.txn.log_end import LOCKED

# A clock is read in whole milliseconds.
CLOCK_STEP_MS = 1

NO_BOUND = Fault("no_leader", "this copy does not know yet how far behind it is")
LEFT = Fault("no_leader", "keys have left this copy, and it does not know yet which")
TOO_STALE = Fault("no_leader", "this copy may be further behind than asked for")


class StaleReads:
    """What a copy was told of its leader's commit seq: the newest that is applied, and at most two that are not yet."""

    __slots__ = ("_last", "_layout", "_next", "_since_ms")

    def __init__(self) -> None:
        self._layout = 0
        self._since_ms = NEVER_MS
        self._next: tuple[int, int] | None = None
        self._last: tuple[int, int] | None = None

    def learn(self, commit_seq: int, asked_ms: int, applied_seq: int, layout: int = 0) -> None:
        """The leader, asked at `asked_ms`, knew for sure that nothing beyond `commit_seq` was committed, in this
        layout. What was told in an earlier one tells nothing of keys that have come since.

        The oldest that waits stays, however fast others come: so a copy that applies late still gets on.
        """
        if layout < self._layout:
            return
        if layout > self._layout:
            self._layout, self._since_ms = layout, NEVER_MS
            self._next = self._last = None
        self.since_ms(applied_seq)
        newest_ms = self._last[1] if self._last else self._next[1] if self._next else self._since_ms
        if asked_ms <= newest_ms:
            return
        if self._next is None:
            self._next = (commit_seq, asked_ms)
        else:
            self._last = (commit_seq, asked_ms)

    def since_ms(self, applied_seq: int) -> int:
        """Everything that was committed before this moment is applied."""
        while self._next is not None and self._next[0] <= applied_seq:
            self._since_ms = self._next[1]
            self._next, self._last = self._last, None
        return self._since_ms

    def read(
        self, ticket: object, asked: ReadStale, copy: Copy, leader: Leader | None, view: Snapshot, now: Instant
    ) -> StaleResult | Fault | Later:
        """Answer as far as this copy knows its bound; a leader that surely leads answers as to any read.

        Args:
            leader: the copy's own role, if it leads.
            now: read after `view` was opened.
        """
        entry, key = copy.entry, asked.read.key
        if entry is None or copy.name.rid not in entry.in_sync or copy.is_backfilling:
            newer = entry if entry is not None and entry.ver > asked.read.ver else None
            return Fault("no_leader", "this copy is not in sync", newer)
        if entry.layout != asked.layout:
            newer = entry if entry.layout > asked.layout else None
            return Fault("no_leader", "this copy knows of other keys than were asked for", newer)
        if copy.left_layout > entry.layout:
            return LEFT
        if entry.hidden is not None and entry.hidden.takes(key):
            return ELSEWHERE
        since_ms = self.since_ms(copy.applied_seq) if self._layout == entry.layout else NEVER_MS
        if leader is not None:
            if now.mono_ms < leader.sole_until_ms:
                row = leader.read(ticket, key, view, now)
                return row if isinstance(row, Fault | Later) else StaleResult(now.wall_ms, 0, row)
            if copy.applied_seq >= copy.commit_seq:
                since_ms = max(since_ms, leader.sole_until_ms)
        if key in copy.txns.blocked:
            return LOCKED
        if since_ms < 0:
            return NO_BOUND
        lag_ms = now.mono_ms - since_ms + CLOCK_STEP_MS
        if asked.max_stale_ms is not None and lag_ms > asked.max_stale_ms:
            return TOO_STALE
        return StaleResult(now.wall_ms, lag_ms, view.get(Table.DATA, copy.prefix + key))
