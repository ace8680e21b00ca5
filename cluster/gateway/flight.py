"""Operations under way together: what is asked for each, and what became of it.

Guarantees: every operation has one result at any time, the last one it was given, but a write whose attempt may have
been carried out stays unknown until its own outcome is told; a write is sent again under the same number or token only;
answers are turned into results within the bytes allowed. Leaves to others: sending, and when to try again (`dispatch`).
PROTOCOL "Idempotency".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cluster.gateway.numbers import Lane
from cluster.gateway.operations import Change, Deleted, Found, Get, Operation, Result, Stored
from cluster.gateway.router import TenantNotKnown
from kvstore.errors import BodyTooLarge, KeyNotFound, KvError, NoLeader, OutcomeUnknown
from kvstore.map_values import Entry
from kvstore.messages import Absence, Body, Fault, ReadOne, ReadResult, WriteOne, Written
from kvstore.storage.records import DamagedRow, split_value
from kvstore.versions import etag

WRONG_LEADERS_MAX = 5
# Of a write that has a token of its client's, and needs no number.
NO_LANE = Lane(0, 0)
NOTHING = "nothing is stored under this key"
# Tells the absence of a tenant's key from no other: a tenant that once had keys is known for ever.
NEVER_THERE: Absence = (0, 0, 0, 0)
ANSWER_IS_FULL = "the answer is full: get this key in another batch"


class Flight:
    """Args:
    deadline_s: when each operation must have its result, on the event loop's clock.
    answer_bytes_max: reads whose values do not fit in this many bytes together end in BodyTooLarge.
    is_quorum: reads are asked as such.
    tells_absences: reads that find nothing are to tell what tells absences from each other.
    """

    __slots__ = (
        "absences",
        "again",
        "answer_bytes_left",
        "deadline_s",
        "entries",
        "homeless",
        "is_quorum",
        "numbers",
        "operations",
        "results",
        "sent",
        "tells_absences",
        "unknown",
        "wrong_leaders",
    )

    def __init__(
        self,
        operations: Sequence[Operation],
        deadline_s: float,
        answer_bytes_max: int,
        is_quorum: bool = False,
        tells_absences: bool = False,
    ) -> None:
        self.operations = operations
        self.is_quorum = is_quorum
        self.tells_absences = tells_absences
        self.absences: dict[int, Absence] = {}
        self.deadline_s = deadline_s
        self.answer_bytes_left = answer_bytes_max
        self.results: list[Result] = [_UNTRIED] * len(operations)
        self.entries: dict[int, Entry] = {}
        self.again: list[int] = []
        self.homeless: list[tuple[int, TenantNotKnown]] = []
        self.sent: list[tuple[str, Sequence[int], asyncio.Future[Body]]] = []
        self.wrong_leaders: dict[int, int] = {}
        self.numbers: dict[int, tuple[Lane, int]] = {}
        self.unknown: set[int] = set()

    # ---- what is asked ------------------------------------------------------------------------------------------

    def reads(self, positions: Sequence[int]) -> list[ReadOne]:
        """The reads of those positions, as a node is asked."""
        entries, operations = self.entries, self.operations
        return [ReadOne((entry := entries[at]).pid, entry.ver, operations[at].key) for at in positions]

    def write_one(self, position: int) -> WriteOne:
        """The write of that position, as a node is asked."""
        change = self.operations[position]
        assert isinstance(change, Change)
        lane, number = self.numbers.get(position, (NO_LANE, 0))
        return write_of(self.entries[position], change, lane, number, position in self.unknown)

    def draw(self, position: int, lane: Lane) -> bool:
        """Give a write its number, where it has none.

        Returns:
            False where it must not be sent: an attempt is unknown, and its number means nothing in this partition.
        """
        drawn = self.numbers.get(position)
        if drawn is None or (drawn[0] is not lane and position not in self.unknown):
            self.drop_number(position)
            self.numbers[position] = lane, lane.draw()
            return True
        return drawn[0].pid == lane.pid

    def settle(self) -> None:
        """Nothing of this is sent again."""
        for lane, number in self.numbers.values():
            lane.settle(number)

    # ---- what became of it --------------------------------------------------------------------------------------

    def fail(self, positions: Sequence[int], error: KvError) -> None:
        """These ended in `error`, which tells nothing of earlier attempts whose outcome is unknown."""
        for position in positions:
            if position not in self.unknown:
                self.results[position] = error

    def fail_again(self, positions: Sequence[int], error: KvError) -> None:
        """These attempts did nothing, and others may be made; `error` is the result if they are not."""
        self.fail(positions, error)
        self.again.extend(positions)

    def fail_wrong_leader(self, position: int, error: KvError) -> None:
        """The node asked does not lead: try again, but not for ever, for two nodes may each name the other."""
        count = self.wrong_leaders[position] = self.wrong_leaders.get(position, 0) + 1
        (self.fail if count >= WRONG_LEADERS_MAX else self.fail_again)((position,), error)

    def lose(self, positions: Sequence[int], reason: str) -> None:
        """Nobody knows what became of these attempts: others may be made, of writes under the same number or token."""
        for position in positions:
            if not isinstance(self.operations[position], Get):
                self.unknown.add(position)
                self.results[position] = OutcomeUnknown(reason)
        self.fail_again(positions, NoLeader(reason))

    def drop_number(self, position: int) -> None:
        """The number of this write is not used; it takes another one if it is tried again."""
        if position in self.numbers:
            lane, number = self.numbers.pop(position)
            lane.settle(number)

    def take_absent(self, position: int) -> None:
        """The key of a read belongs to nobody who has any keys."""
        self.results[position] = KeyNotFound(NOTHING)
        if self.tells_absences:
            self.absences[position] = NEVER_THERE

    def take_rows(self, positions: Sequence[int], answer: ReadResult) -> list[tuple[int, Fault]]:
        """Reads were answered; returns those that were refused."""
        refused: list[tuple[int, Fault]] = []
        for position, row in zip(positions, answer.results, strict=True):
            if isinstance(row, bytes):
                self.results[position] = self._found(position, row, answer.now_ms)
            elif row is None:
                self.results[position] = KeyNotFound(NOTHING)
            else:
                refused.append((position, row))
        return refused

    def _found(self, position: int, row: bytes, now_ms: int) -> Found | KvError:
        try:
            found = found_in(self.entries[position].pid, row, now_ms)
        except DamagedRow as error:
            return KvError(f"the node sent a row that cannot be read: {error}")
        self.answer_bytes_left -= len(found.value)
        return BodyTooLarge(ANSWER_IS_FULL) if self.answer_bytes_left < 0 else found

    def take_written(self, position: int, written: Written) -> None:
        """A write was carried out."""
        change = self.operations[position]
        if isinstance(change, Change) and change.value is None:
            self.results[position] = _DELETED
            return
        version = etag(written.origin or self.entries[position].pid, written.epoch, written.seq)
        self.results[position] = Stored(written.created, version, written.copies)


def found_in(pid: int, row: bytes, now_ms: int) -> Found:
    """What a row of that partition holds; raises DamagedRow."""
    epoch, seq, expiry_ms, content_type, value, origin = split_value(row)
    ttl_s = max(0, expiry_ms - now_ms) / 1000 if expiry_ms else None
    return Found(value, content_type, etag(origin or pid, epoch, seq), ttl_s)


def write_of(entry: Entry, change: Change, lane: Lane, number: int, is_again: bool = False) -> WriteOne:
    """A write as a node is asked; `is_again`: an earlier attempt may have been carried out."""
    return WriteOne(
        entry.pid,
        entry.ver,
        change.key,
        change.value,
        change.content_type,
        change.ttl_ms,
        change.if_match,
        change.if_none_match,
        change.token,
        lane.origin,
        number,
        lane.floor,
        is_again,
    )


_DELETED = Deleted()
_UNTRIED = KvError("not tried")
