"""The locks of one partition at its log's end, and who waits for them.

Guarantees: a key has one holder; whoever waits gets all its keys at once or none, in the order in which it came among
those that want one of the same keys, so nobody waits for another while it holds what that one wants; a wait ends when
its time is over; a fence of a scan holds up only what would be prepared anew. Leaves to others: who takes and gives up
locks (`participant`), what is done with them. Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from kvstore.messages import Prepare, Transact, TxnName, WriteOne
from kvstore.txn.fences import Fences

QUEUE_MAX = 1024

Request = Prepare | Transact | WriteOne


class Waiter(msgspec.Struct, frozen=True):
    """`request` wants all of `keys`, until `until_ms`."""

    ticket: object
    request: Request
    keys: Sequence[bytes]
    until_ms: int


class Locks:
    """Attributes: holders: by key, the transaction that is prepared; fences: of scans."""

    def __init__(self) -> None:
        self.holders: dict[bytes, TxnName] = {}
        self.fences = Fences()
        self._queue: list[Waiter] = []
        self._stepping: deque[Waiter] = deque()
        self._claimed: set[bytes] = set()

    def __bool__(self) -> bool:
        """Whether anything is locked, or wanted."""
        return bool(self.holders) or bool(self._claimed)

    def is_free(self, keys: Iterable[bytes]) -> bool:
        """Whether nobody holds any of these keys, or waits for one."""
        holders, claimed = self.holders, self._claimed
        return not any(key in holders or key in claimed for key in keys)

    def may_be_prepared(self, keys: Collection[bytes]) -> bool:
        """Whether these keys are free, and outside of all fences."""
        return self.is_free(keys) and not self.fences.hold(keys)

    def take(self, name: TxnName, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.holders[key] = name

    def release(self, name: TxnName, keys: Iterable[bytes]) -> None:
        for key in keys:
            if self.holders.get(key) == name:
                del self.holders[key]

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue)

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that no more may."""
        return len(self._queue) >= QUEUE_MAX

    def wait(self, waiter: Waiter) -> None:
        """Get in line."""
        self._queue.append(waiter)
        self._claimed.update(waiter.keys)

    def step(self, now_ms: int) -> Iterator[tuple[Waiter, bool]]:
        """Those whose wait is over, each with whether its keys are free; what is done with one counts for the next."""
        # Who is being gone on with, and all behind, stay here: they are sent away if going on fails.
        stepping = self._stepping = deque(self._queue)
        self._queue, self._claimed = [], set()
        while stepping:
            waiter = stepping[0]
            may_go_on = self.may_be_prepared if isinstance(waiter.request, Prepare) else self.is_free
            if may_go_on(waiter.keys):
                yield waiter, True
            elif now_ms >= waiter.until_ms:
                yield waiter, False
            else:
                self.wait(waiter)
            stepping.popleft()

    def clear(self) -> list[Waiter]:
        """Send everybody away who waits."""
        everybody = [*self._queue, *self._stepping]
        self._queue, self._stepping, self._claimed = [], deque(), set()
        return everybody

    @property
    def next_end_ms(self) -> int | None:
        """When the first wait ends."""
        return min((waiter.until_ms for waiter in self._queue), default=None)

    def holders_of(self, keys: Iterable[bytes]) -> set[TxnName]:
        """The transactions that hold any of these keys."""
        return {self.holders[key] for key in keys if key in self.holders}
