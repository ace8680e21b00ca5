"""A call whose answer has parts that become known at different times.

Guarantees: it is answered once, when every part is settled. Leaves to others: what the parts are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kvstore.messages import Absence, Failed, Fault, ReadResult, StaleResult, WriteResult
from kvstore.replication.answers import LATER
from kvstore.rpc.connection import Connection
from kvstore.txn.log_end import LOCKED

STILL_OPEN = Fault("outcome_unknown", "not known yet, as others of the same message are")


class PendingCall:
    """Args:
    now_ms: the wall clock, of a read; None for a write.
    asked_ms: when the call came.

    `results` has one slot for each part; `open_parts` of them are still unknown. `absences` are as in `ReadResult`.
    """

    __slots__ = ("_call", "_connection", "_now_ms", "absences", "asked_ms", "open_parts", "results")

    def __init__(self, connection: Connection, call: int, now_ms: int | None, asked_ms: int) -> None:
        self._connection = connection
        self._call = call
        self._now_ms = now_ms
        self.asked_ms = asked_ms
        self.results: list[Any] = []
        self.absences: list[Absence | None] = []
        self.open_parts = 0

    def settle(self, index: int, result: object) -> None:
        """Fill one part in; with the last one the answer leaves."""
        self.results[index] = result
        self.open_parts -= 1
        if self.open_parts == 0:
            self.send()

    def send(self) -> None:
        """Answer. `now_ms` tells a read's answer from a write's."""
        if self._now_ms is None:
            self._connection.answer(self._call, WriteResult(self.results))
        else:
            self._connection.answer(self._call, ReadResult(self._now_ms, self.results, self.absences))


class PendingUrgent(PendingCall):
    """A call that may be answered before every part is settled.

    Args:
        waiting: where such calls are found until they are answered.
    """

    __slots__ = ("_waiting",)

    def __init__(
        self, connection: Connection, call: int, now_ms: int | None, asked_ms: int, waiting: set[PendingUrgent]
    ) -> None:
        super().__init__(connection, call, now_ms, asked_ms)
        self._waiting = waiting
        waiting.add(self)

    @property
    def is_partly_known(self) -> bool:
        """Whether some parts are settled and others are not."""
        return 0 < self.open_parts < len(self.results)

    def answer_known(self) -> None:
        """Answer, though some parts are open; what comes of those is told to nobody."""
        self.results = [STILL_OPEN if result is LATER else result for result in self.results]
        self.send()

    def send(self) -> None:
        """Answer, unless that was done."""
        if self in self._waiting:
            self._waiting.discard(self)
            super().send()


class PendingOne(PendingCall):
    """A call whose only part is its answer."""

    __slots__ = ()

    def send(self) -> None:
        """Answer."""
        (result,) = self.results
        self._connection.answer(self._call, Failed(result) if isinstance(result, Fault) else result)


class PendingStale(PendingCall):
    """A stale read whose row comes later: only of a leader, which is not behind."""

    __slots__ = ()

    def send(self) -> None:
        """Answer."""
        row = self.results[0]
        body = Failed(row) if isinstance(row, Fault) else StaleResult(self._now_ms or 0, 0, row)
        self._connection.answer(self._call, body)


class PendingScan(PendingCall):
    """What a scan waits for, in partitions that each settle by their number: the ends of keys, or of transactions.

    Attributes:
        locked: the partitions in which a transaction did not end in time.

    Args:
        resume: called after that.
    """

    __slots__ = ("_resume", "locked")

    def __init__(self, resume: Callable[[], None], asked_ms: int) -> None:
        self._resume = resume
        self.asked_ms = asked_ms
        self.locked: set[int] = set()
        self.open_parts = 0

    def settle(self, index: int, result: object) -> None:
        """One part need not be waited for any more."""
        if result is LOCKED:
            self.locked.add(index)
        self.open_parts -= 1
        if self.open_parts == 0:
            self.send()

    def send(self) -> None:
        """Go on with what waited."""
        self._resume()
