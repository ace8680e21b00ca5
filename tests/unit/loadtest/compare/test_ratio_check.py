"""A ratio fails only below its floor, and by its median."""

from __future__ import annotations

import pytest
from compare.ratio_check import FLOOR_SHARE, USUAL, judge


@pytest.mark.parametrize(
    ("ratios", "is_held"),
    [([1.0, 0.1, 1.2], True), ([0.99, 0.99, 5.0], False), ([0.1, 1.0, 9.0], True)],
)
def test_the_median_is_held_against_half_of_what_is_usual(ratios: list[float], is_held: bool) -> None:
    assert FLOOR_SHARE == 0.5
    [(line, found)] = judge({"GET": ratios}, {"GET": 2.0})
    assert found is is_held
    assert "usual 2.00, floor 1.00" in line


def test_every_operation_has_a_floor_above_nothing() -> None:
    assert all(usual > 0 for usual in USUAL.values())
    assert [is_held for _, is_held in judge({op: [0.0] for op in USUAL}, USUAL)] == [False, False]
