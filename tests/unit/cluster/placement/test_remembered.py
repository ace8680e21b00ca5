"""A remembered placement answers as the one behind it, and asks that only where something changed."""

from __future__ import annotations

from collections.abc import Sequence

from cluster.placement import Assignment, Member
from cluster.placement.remembered import RememberedPlacement
from cluster.placement.ring import RingPlacement

MEMBERS = [Member("a"), Member("b"), Member("c")]


class Asked:
    """The ring, and how often it was asked."""

    times = 0

    def place(
        self, pids: Sequence[int], members: Sequence[Member], replicas: int, current: Assignment
    ) -> dict[int, tuple[str, ...]]:
        self.times += 1
        return RingPlacement().place(pids, members, replicas, current)


def test_the_same_question_is_worked_out_once_and_any_other_anew() -> None:
    asked = Asked()
    placement = RememberedPlacement(asked)
    first = placement.place((1, 2), MEMBERS, 2, {})
    assert placement.place((1, 2), list(MEMBERS), 2, {}) == first
    assert asked.times == 1
    weighted = [*MEMBERS[:2], Member("c", weight=2.0)]
    for members, replicas, current in ((weighted, 2, {}), (MEMBERS, 1, {}), (MEMBERS, 2, first), (MEMBERS, 2, {})):
        before = asked.times
        known = RingPlacement().place((1, 2), members, replicas, current)
        assert placement.place((1, 2), members, replicas, current) == known
        assert asked.times == before + 1


def test_what_was_asked_may_be_changed_afterwards_and_what_was_answered_too() -> None:
    placement = RememberedPlacement(RingPlacement())
    current = {1: ("a", "b"), 2: ("b", "c")}
    answer = placement.place((1, 2), MEMBERS, 2, current)
    current[1] = ("c", "a")
    answer.clear()
    assert placement.place((1, 2), MEMBERS, 2, current) == RingPlacement().place((1, 2), MEMBERS, 2, current)


def test_each_keyspace_is_remembered() -> None:
    asked = Asked()
    placement = RememberedPlacement(asked)
    for _ in range(3):
        placement.place((1, 2), MEMBERS, 2, {})
        placement.place((3, 4), MEMBERS, 2, {})
    assert asked.times == 2
