"""The choice of records: bounds hold, frequencies are those that each distribution promises."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from distributions import DISTRIBUTIONS, SCRAMBLED_RANKS, SCRAMBLED_ZETA, THETA, Latest, ScrambledZipfian, Zipfian
from fnv import fnv64
from hypothesis import given
from hypothesis import strategies as st

DRAWS = 100_000
ALMOST_ONE = 1 - 2**-53


def shares(name: str, count: int) -> Counter[int]:
    choice = DISTRIBUTIONS[name](random.Random(7).random)
    return Counter(choice.pick(count) for _ in range(DRAWS))


@given(
    name=st.sampled_from(sorted(DISTRIBUTIONS)),
    count=st.integers(1, 5_000),
    draw=st.floats(0, ALMOST_ONE) | st.just(ALMOST_ONE),
)
def test_a_pick_is_a_record_that_exists(name: str, count: int, draw: float) -> None:
    assert 0 <= DISTRIBUTIONS[name](lambda: draw).pick(count) < count


def test_ranks_are_as_frequent_as_zipf_says() -> None:
    count = 1_000
    choice = Zipfian(random.Random(7).random)
    picked = Counter(choice.pick(count) for _ in range(DRAWS))
    zeta = sum(1 / rank**THETA for rank in range(1, count + 1))
    # The generator is exact for the first two ranks and an approximation by a power law beyond.
    for rank, tolerance in [(0, 0.03), (1, 0.05), (2, 0.35), (9, 0.35), (99, 0.35)]:
        assert picked[rank] == pytest.approx(DRAWS / (rank + 1) ** THETA / zeta, rel=tolerance)
    top_tenth = sum(picked[rank] for rank in range(count // 10))
    expected = sum(1 / rank**THETA for rank in range(1, count // 10 + 1)) / zeta
    assert top_tenth / DRAWS == pytest.approx(expected, rel=0.05)


def test_the_hottest_scrambled_record_has_the_same_share_whatever_the_count() -> None:
    for count in (1_000, 50_000):
        record, picked = shares("zipfian", count).most_common(1)[0]
        assert record == fnv64(0) % count
        assert picked / DRAWS == pytest.approx(1 / SCRAMBLED_ZETA, rel=0.15)


def test_hot_scrambled_records_are_spread_over_all() -> None:
    hottest = [record for record, _ in shares("zipfian", 10_000).most_common(200)]
    assert all(any(first <= record < first + 1_000 for record in hottest) for first in range(0, 10_000, 1_000))


def test_hot_scrambled_records_stay_hot_when_more_come() -> None:
    still, growing = (ScrambledZipfian(random.Random(3).random) for _ in range(2))
    assert [still.pick(999) for _ in range(100)] == [growing.pick(count) for count in range(999, 1_099)]


def test_scrambled_picks_keep_to_the_records_that_are_left() -> None:
    choice = ScrambledZipfian(random.Random(3).random)
    choice.pick(1_000)
    assert all(choice.pick(3) < 3 for _ in range(100))


def test_the_constant_for_scrambled_ranks_is_the_sum_that_it_stands_for() -> None:
    head = 100_000
    summed = sum(1 / rank**THETA for rank in range(1, head + 1))
    # Beyond the head the sum is the integral, by Euler and Maclaurin, to ten digits.
    tail = (SCRAMBLED_RANKS ** (1 - THETA) - head ** (1 - THETA)) / (1 - THETA) - 0.5 / head**THETA
    assert summed + tail == pytest.approx(SCRAMBLED_ZETA, rel=1e-6)


def test_latest_prefers_the_newest() -> None:
    picked = shares("latest", 1_000)
    assert picked.most_common(1)[0][0] == 999
    assert sum(picked[record] for record in range(900, 1_000)) > 0.6 * DRAWS
    assert picked[999] > 5 * picked[990] > 5 * picked[500]


def test_latest_follows_records_that_come_and_go() -> None:
    choice = Latest(lambda: 0.0)
    assert [choice.pick(count) for count in (1, 10, 11, 500, 7)] == [0, 9, 10, 499, 6]


@given(steps=st.lists(st.integers(1, 300), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_a_count_that_grew_picks_as_if_it_had_always_been_so(steps: list[int], seed: int) -> None:
    grown = Zipfian(random.Random(seed).random)
    for count in steps:
        grown.pick(count)
    fresh, last = Zipfian(random.Random(seed).random), steps[-1]
    for _ in steps:
        fresh.pick(last)
    assert [grown.pick(last) for _ in range(20)] == [fresh.pick(last) for _ in range(20)]


def test_uniform_picks_all_alike() -> None:
    picked = shares("uniform", 100)
    assert len(picked) == 100
    assert all(count == pytest.approx(DRAWS / 100, rel=0.2) for count in picked.values())


def test_the_same_draws_give_the_same_picks() -> None:
    first, second = (ScrambledZipfian(random.Random(3).random) for _ in range(2))
    assert [first.pick(999) for _ in range(100)] == [second.pick(999) for _ in range(100)]
