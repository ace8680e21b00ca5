"""What a batch waits for before it begins.

Guarantees: where batches are large, one is complete when all those nodes have sent rows that sent some for the batch
before, so that what all nodes were sent at one time is in one batch of each; a small one is complete as it is. Leaves
to others: to end the wait for a node that has nothing to send (`shell`). Sans-IO.

A leader's own rows lose little by that: their followers, who have to hold them too, get them no sooner.
"""

from __future__ import annotations

# Of writes, and of rows from leaders, in the batch before.
LARGE = 8


class Company:
    """The rows of the batch that is to begin next, and of the one before."""

    __slots__ = ("_before", "_count", "_heard", "_is_large")

    def __init__(self) -> None:
        self._before: set[str] = set()
        self._heard: set[str] = set()
        self._count = 0
        self._is_large = False

    def wrote(self, count: int) -> None:
        """So many writes came of a gateway."""
        self._count += count

    def heard(self, node: str, rows: int) -> None:
        """So many rows came of the leaders on that node."""
        if rows:
            self._heard.add(node)
            self._count += rows

    @property
    def is_complete(self) -> bool:
        """Whether nobody is expected."""
        return not self._is_large or self._heard >= self._before

    def give_up(self) -> None:
        """Nobody is expected any more."""
        self._before.clear()

    def begin(self) -> None:
        """The batch begins."""
        if self._count:
            self._is_large = self._count >= LARGE
            self._before, self._heard = self._heard, self._before
            self._heard.clear()
            self._count = 0
