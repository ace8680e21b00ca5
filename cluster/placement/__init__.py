"""Which nodes hold and lead which partitions: the contract of all placements.

Guarantees: a placement is a pure function of its arguments, the same in every process; a copy stays where it is unless
a rule of the placement forces it to move. Leaves to others: carrying a plan out, one bounded step at a time. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Assignment = Mapping[int, tuple[str, ...]]
"""Node ids that hold each partition, its leader first."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node that may hold copies; `weight` is relative to the other members' and above zero."""

    id: str
    zone: str = "default"
    weight: float = 1.0


class Placement(Protocol):
    """Assigns the partitions of one keyspace."""

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Assign every partition to `replicas` members, or to all of them where there are fewer.

        Args:
            pids: all partitions of the keyspace.
            members: at least one, with distinct ids.
            replicas: copies asked for of each partition, at least one.
            current: what is assigned now; empty for a keyspace that was never placed.
        """
        ...
