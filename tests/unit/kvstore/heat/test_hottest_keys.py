"""The sketch of the hottest keys: bounded, and never far from the truth."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.heat.hottest import HottestKeys

SIZE = 24


def zipf(count: int, keys: int, seed: int) -> list[bytes]:
    weights = [1 / rank for rank in range(1, keys + 1)]
    return [b"key%d" % number for number in random.Random(seed).choices(range(keys), weights, k=count)]


@pytest.mark.parametrize("seed", range(5))
def test_of_a_zipf_stream_the_hottest_are_found_within_the_bound(seed: int) -> None:
    stream = zipf(20_000, 2_000, seed)
    truth, sketch = Counter(stream), HottestKeys(SIZE)
    for key in stream:
        sketch.add(key, 1.0)
    top = dict(sketch.top(SIZE))
    bound = len(stream) / SIZE
    assert {key for key, count in truth.items() if count > bound} <= top.keys()
    assert all(truth[key] - bound <= count <= truth[key] for key, count in top.items())
    assert [key for key, _ in sketch.top(3)] == [b"key0", b"key1", b"key2"]


@given(st.lists(st.tuples(st.sampled_from([b"%d" % n for n in range(12)]), st.integers(1, 9)), max_size=200))
def test_what_is_told_is_at_most_the_truth_and_short_of_it_by_the_bound(stream: list[tuple[bytes, int]]) -> None:
    truth, sketch = Counter[bytes](), HottestKeys(4)
    for key, weight in stream:
        truth[key] += weight
        sketch.add(key, weight)
    bound = sum(truth.values()) / 4
    top = sketch.top(12)
    assert len(top) <= 4
    assert all(truth[key] - bound <= count <= truth[key] for key, count in top)
    assert {key for key, count in truth.items() if count > bound} <= {key for key, _ in top}


def test_what_all_weighs_the_same_has_no_key_that_stands_out() -> None:
    sketch = HottestKeys(SIZE)
    for number in range(24 * 100):
        sketch.add(b"%d" % number, 1.0)
    assert max(count for _, count in sketch.top(SIZE)) == 1.0


def test_new_weight_may_count_more_and_all_be_brought_back() -> None:
    sketch = HottestKeys(2)
    sketch.add(b"old", 10.0)
    sketch.add(b"new", 1000.0)
    sketch.rescale(0.01)
    assert sketch.top(2) == [(b"new", pytest.approx(10.0)), (b"old", pytest.approx(0.1))]
