"""Percentiles of counted latencies."""

from __future__ import annotations

import math
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from latencies import percentile_ms, rounded_ms


def test_a_percentile_is_the_nearest_rank() -> None:
    counts = {1.0: 50, 2.0: 45, 9.0: 4, 70.0: 1}
    assert [percentile_ms(counts, share) for share in (0.5, 0.51, 0.95, 0.99, 1.0)] == [1.0, 2.0, 2.0, 9.0, 70.0]


def test_nothing_counted_is_no_number() -> None:
    assert math.isnan(percentile_ms({}, 0.5))


@given(st.lists(st.integers(0, 50), min_size=1), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_percentile_is_that_of_the_sorted_list(latencies: list[int], share: float) -> None:
    wanted = sorted(latencies)[max(0, math.ceil(share * len(latencies)) - 1)]
    assert percentile_ms(Counter(map(float, latencies)), share) == wanted


def test_rounding_bounds_the_number_of_different_values() -> None:
    chance = random.Random(1)
    assert len({rounded_ms(chance.random() * 100) for _ in range(50_000)}) <= 1_001
    assert rounded_ms(1.26) == 1.3
    assert rounded_ms(1234.5) in {1234.0, 1235.0}
