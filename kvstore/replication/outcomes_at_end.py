"""The outcomes that a leader knows at its log's end, those of uncommitted writes among them.

Guarantees: a write that is in the log, or was applied and may be sent again, is found; what is below a window, or of an
incarnation that was dropped, is never carried out. Leaves to others: waiting until what was found is committed
(`leader`), the applied state (`outcomes`). Sans-IO. PROTOCOL "Idempotency".
"""

from __future__ import annotations

from collections import deque

import msgspec

from kvstore.messages import SCOPE_BYTES, Fault, WriteOne, Written
from kvstore.replication.answers import FAILED_CONDITION, REUSED
from kvstore.replication.copy import Copy
from kvstore.replication.log import Held
from kvstore.replication.outcomes import FINGERPRINT_BYTES, Remembered, decode_token, token_key
from kvstore.replication.windows import WINDOW_MAX, Kind, Outcome, kind_of
from kvstore.storage.engine import Snapshot, Table
from kvstore.storage.records import Record, RecordType

STALE = Fault("stale_token", "the write's number is not remembered any more")
WINDOW_FULL = Fault("locked", "too many writes of the gateway to this partition are open")
BAD_TOKEN = Fault("bad_request", "a token is a scope and a fingerprint")


class Known(msgspec.Struct, frozen=True):
    """How a write ended that was sent before: what `told` is asked. `seen`: the record that says so, 0 where that is
    applied."""

    outcome: Outcome
    seen: int
    origin: int = 0


class OutcomesAtEnd:
    """Args: copy: the leader's own. Its unapplied records are to be taken next."""

    def __init__(self, copy: Copy) -> None:
        self.windows = copy.outcomes.windows.clone()
        self._copy = copy
        self._tokens: dict[bytes, tuple[int, Remembered]] = {}
        self._unapplied: deque[tuple[int, bytes]] = deque()

    def find(self, write: WriteOne, view: Snapshot, time_ms: int) -> Known | Fault | None:
        """The outcome of this very write, None where it is to be carried out, or why it never is."""
        if not write.origin:
            return self._find_token(write.token, view, time_ms) if write.token else None
        found = self._find_number(write)
        return Known(found, found[1]) if isinstance(found, tuple) else found

    def _find_number(self, write: WriteOne) -> Outcome | Fault | None:
        number, floor = write.number, write.floor
        window = self.windows.get(write.origin)
        if window is None:
            if write.origin <= self.windows.expired_upto or number < floor:
                return STALE
        else:
            outcome = window.outcomes.get(number)
            if outcome is not None:
                return outcome
            floor = max(floor, window.floor)
            if number < floor:
                return STALE
        return WINDOW_FULL if number - floor >= WINDOW_MAX else None

    def _find_token(self, token: bytes, view: Snapshot, time_ms: int) -> Known | Fault | None:
        if len(token) != SCOPE_BYTES + FINGERPRINT_BYTES:
            return BAD_TOKEN
        seen, remembered = self._seen(token[:SCOPE_BYTES], view)
        if remembered is None or (not seen and not remembered.counts(time_ms)):
            return None
        epoch, seq, kind = remembered.outcome
        kind = kind if remembered.fingerprint == token[SCOPE_BYTES:] else Kind.TOKEN_REUSED
        return Known((epoch, seq, kind), seen, remembered.origin)

    def _seen(self, scope: bytes, view: Snapshot) -> tuple[int, Remembered | None]:
        """What is remembered under a token, and the record that says so, 0 where that is applied."""
        at_end = self._tokens.get(scope)
        if at_end is not None:
            return at_end
        row = view.get(Table.IDEMPOTENCY, token_key(self._copy.prefix, scope))
        return 0, None if row is None else decode_token(row)

    def lacks(self, scope: bytes, row: bytes, view: Snapshot) -> bool:
        """Whether nothing as new is remembered under a token as what another partition has."""
        _, remembered = self._seen(scope, view)
        return remembered is None or remembered.time_ms < decode_token(row).time_ms

    def take_row(self, held: Held) -> None:
        """A row that a former leader left in the log. The windows may have it already: a batch under way applies it."""
        head, is_new = held.head, held.head.first_seq > self._copy.taken_seq
        for seq, record, _ in held.changes:
            if record.token or (record.origin and is_new):
                self.take(record, head.epoch, seq, head.time_ms)
        if is_new:
            self.windows.pass_to(head.time_ms)

    def take(self, record: Record, epoch: int, seq: int, time_ms: int) -> None:
        """A record that carries a number or a token joined the log's end."""
        if record.origin:
            self.windows.take(record, epoch, seq, time_ms)
        else:
            outcome = epoch, seq, kind_of(record)
            self._remember(seq, record.token[:SCOPE_BYTES], Remembered(time_ms, outcome, record.token[SCOPE_BYTES:]))

    def take_carried(self, seq: int, scope: bytes, row: bytes) -> None:
        """The record `seq`, which joined the log's end, brings what another partition remembers under a token."""
        self._remember(seq, scope, decode_token(row))

    def _remember(self, seq: int, scope: bytes, remembered: Remembered) -> None:
        self._tokens[scope] = seq, remembered
        self._unapplied.append((seq, scope))

    def forget_applied(self) -> None:
        """Drop what the copy's own state now holds."""
        applied, unapplied = self._copy.applied_seq, self._unapplied
        while unapplied and unapplied[0][0] <= applied:
            seq, scope = unapplied.popleft()
            seen = self._tokens.get(scope)
            if seen is not None and seen[0] == seq:
                del self._tokens[scope]


def told(outcome: Outcome, copies: int, origin: int = 0) -> Written | Fault:
    """How a write is told that ended so in the partition `origin` (0: this one), durable on so many copies."""
    epoch, seq, kind = outcome
    if kind <= Kind.CREATED:
        return Written(kind == Kind.CREATED, epoch, seq, copies, origin)
    if kind == Kind.FOUND_NOTHING:
        return Written(False, 0, 0, copies)
    return FAILED_CONDITION if kind == Kind.FAILED_CONDITION else REUSED


def outcome_record(write: WriteOne, kind: int) -> Record:
    """The record of a write that changed nothing: it only tells how it ended."""
    return Record(
        RecordType.OUTCOME,
        value=bytes((kind,)),
        token=write.token,
        origin=write.origin,
        number=write.number,
        floor=write.floor,
    )
