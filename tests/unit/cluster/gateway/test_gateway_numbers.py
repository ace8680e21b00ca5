"""Numbers are drawn once, and the floor is the lowest that may still be sent again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.numbers import Numbers


@given(st.lists(st.integers(0, 30), max_size=60))
def test_the_floor_is_the_lowest_open_number_and_never_falls(steps: list[int]) -> None:
    """0 draws, anything else settles one of the open numbers."""
    lane = Numbers(3).lane(1)
    still_open: list[int] = []
    drawn: list[int] = []
    floor = lane.floor
    for step in steps:
        if step == 0 or not still_open:
            number = lane.draw()
            drawn.append(number)
            still_open.append(number)
        else:
            lane.settle(still_open.pop(step % len(still_open)))
        assert lane.floor >= floor
        floor = lane.floor
        assert floor == min(still_open, default=len(drawn) + 1)
    assert drawn == list(range(1, len(drawn) + 1))


def test_settling_twice_changes_nothing() -> None:
    lane = Numbers(3).lane(1)
    first, second = lane.draw(), lane.draw()
    lane.settle(first)
    lane.settle(first)
    assert lane.floor == second


def test_partitions_have_lanes_of_their_own_and_a_new_incarnation_begins_anew() -> None:
    numbers = Numbers(3)
    lane = numbers.lane(1)
    assert numbers.lane(1) is lane
    assert numbers.lane(2) is not lane
    lane.draw()
    numbers.renew(4)
    assert (numbers.lane(1).origin, numbers.lane(1).draw()) == (4, 1)
    assert lane.origin == 3
