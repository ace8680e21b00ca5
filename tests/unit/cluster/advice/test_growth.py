"""The bounds of ranges that grow with the keys: none is too full, and rising keys leave full ones behind."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cluster.advice.growth import grown_bounds, limit_for

NUMBERS = [b"%06d" % number for number in range(5000)]


def sizes(keys: list[bytes], bounds: list[bytes]) -> list[int]:
    counts = Counter(bisect_right(bounds, key) for key in keys)
    return [counts[place] for place in range(len(bounds) + 1)]


@given(st.lists(st.binary(min_size=1, max_size=3), unique=True, max_size=300), st.integers(2, 40))
def test_bounds_rise_and_no_partition_reaches_the_limit(keys: list[bytes], limit: int) -> None:
    bounds = grown_bounds(keys, limit)
    assert bounds == sorted(set(bounds))
    assert all(size < limit or size == limit for size in sizes(keys, bounds))


def test_keys_by_chance_are_cut_in_the_middle() -> None:
    keys = random.Random(1).sample(NUMBERS, len(NUMBERS))
    found = sizes(keys, grown_bounds(keys, 200))
    assert min(found) >= 90
    assert max(found) < 200


def test_rising_keys_leave_full_partitions_behind_and_begin_an_empty_one() -> None:
    found = sizes(NUMBERS, grown_bounds(NUMBERS, 200))
    assert found == [200] * 25 + [0]


def test_about_as_many_partitions_come_out_as_were_asked_for() -> None:
    keys = random.Random(1).sample(NUMBERS, len(NUMBERS))
    assert 24 <= len(grown_bounds(keys, limit_for(len(keys), 32))) + 1 <= 42


def test_few_keys_are_not_cut_into_nothing() -> None:
    assert limit_for(3, 64) == 2
