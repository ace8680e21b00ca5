"""How often the partitions of keyspaces were split and merged, by what gateways say of them.

Guarantees: a partition that stands long enough to be seen counts once, however old what a gateway says may be.
Leaves to others: asking, and waiting until all gateways say the same before the end is judged. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable


class Reshaped:
    """Uids are never used again: one that is new came by a split, one that is no more at last went by a merge."""

    def __init__(self) -> None:
        self._first: dict[str, frozenset[int]] = {}
        self._ever: dict[str, set[int]] = {}
        self._last: dict[str, frozenset[int]] = {}

    def see(self, keyspace: str, pids: Iterable[int]) -> None:
        """The partitions that have the keys of a keyspace now."""
        seen = frozenset(pids)
        self._first.setdefault(keyspace, seen)
        self._ever.setdefault(keyspace, set()).update(seen)
        self._last[keyspace] = seen

    @property
    def splits(self) -> int:
        """Since the first look."""
        return sum(len(ever - self._first[name]) for name, ever in self._ever.items())

    @property
    def merges(self) -> int:
        """Up to the last look."""
        return sum(len(ever - self._last[name]) for name, ever in self._ever.items())
