"""A placement that gives its last answer again where nothing changed that it depends on.

Guarantees: the answers are those of the placement it stands before; it remembers one for each list of partitions.
Leaves to others: working an answer out, which takes seconds where there are many nodes and partitions. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.placement import Assignment, Member, Placement


class RememberedPlacement:
    """Args: placement: is asked where no answer is known."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._known: dict[
            tuple[int, ...], tuple[tuple[list[Member], int, Assignment], Mapping[int, tuple[str, ...]]]
        ] = {}

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        """Assign every partition; see `Placement.place`."""
        question = list(members), replicas, dict(current)
        asked, answer = self._known.get(tuple(pids), (None, {}))
        if asked != question:
            answer = self._placement.place(pids, members, replicas, current)
            self._known[tuple(pids)] = question, answer
        return dict(answer)
