"""What is said of a sample of keys before any strategy is thought of."""

from __future__ import annotations

import random

import pytest

from cluster.advice.sample import Sample


def test_a_key_counts_once() -> None:
    assert list(Sample([b"b", b"a", b"b"]).keys) == [b"b", b"a"]


def test_shard_keys_and_tenants_are_counted() -> None:
    sample = Sample([b"acme/{u1}/a", b"acme/{u1}/b", b"{t/u2}c", b"t/d"])
    assert sample.shard_keys == {b"u1": 2, b"t/u2": 1, b"t/d": 1}
    assert sample.tenants == {b"u1": 2, b"t": 2}
    assert (sample.share_of_shard_key, sample.share_of_tenant) == (0.5, 0.5)


@pytest.mark.parametrize("count", [64, 100, 100_000])
def test_keys_that_rise_rise(count: int) -> None:
    keys = [b"%08d" % number for number in range(count)]
    assert Sample(keys).is_rising
    random.Random(1).shuffle(keys)
    assert not Sample(keys).is_rising
