"""When writes on the short way leave: where there are many, for all nodes in step.

Guarantees: writes wait for no call that is answered, and for one that is late only once; whom the last calls answered
have `AGAIN_S` to ask again and come along, but not after they had it in vain; few writes wait for no other node's call.
Leaves to others: calls, and how long writes wait at most (`fast_lane`). Sans-IO.

Nodes that get their writes at the same time also get each other's rows at the same time, and each has one batch for
all of them in the place of several.
"""

from __future__ import annotations

from collections import Counter

AGAIN_S = 0.002
# Writes that wait, are under way or were just answered. Fewer would each wait longer for a batch that costs less.
MANY = 12
# For so many rounds nobody is expected after it was in vain.
VAIN_ROUNDS = 4


class WriteRounds:
    """The calls with writes that are under way, and what is expected of those whom the last ones answered."""

    __slots__ = ("_answered", "_calls", "_late", "_until_s", "_vain", "_writes")

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._writes = 0
        self._late: set[str] = set()
        self._answered = 0
        self._until_s = 0.0
        self._vain = 0

    def wait_s(self, waiting: int, now_s: float) -> float | None:
        """How long writes, so many in all, have to wait for those to other nodes; None: until a call is answered."""
        left_s = self._until_s - now_s
        answered = self._answered if left_s > 0 else 0
        if waiting + self._writes + answered < MANY:
            return 0.0
        if any(calls and node not in self._late for node, calls in self._calls.items()):
            return None
        return 0.0 if waiting >= answered or self._vain else left_s

    def is_free(self, node: str) -> bool:
        """Whether no call to that node is under way."""
        return not self._calls[node]

    def begin(self, writes: int) -> None:
        """So many writes leave: nobody who was answered before is expected any more."""
        if self._vain:
            self._vain -= 1
        elif writes < self._answered:
            self._vain = VAIN_ROUNDS
        self._answered = 0

    def sent(self, node: str, writes: int) -> None:
        """A call with so many writes is under way to that node."""
        self._calls[node] += 1
        self._writes += writes

    def answered(self, node: str, writes: int, now_s: float) -> None:
        """A call with so many writes has ended."""
        self._calls[node] -= 1
        self._writes -= writes
        self._late.discard(node)
        self._answered += writes
        self._until_s = now_s + AGAIN_S

    def held_too_long(self) -> None:
        """Writes have waited as long as they may: calls that are under way are late, and not waited for any more."""
        self._late.update(node for node, calls in self._calls.items() if calls)
