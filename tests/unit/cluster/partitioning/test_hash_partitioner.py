"""Arcs, hash tags and the explanation of the hash partitioner."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.partitioning.hash import HashPartitioner
from kvstore.keys import key_hash

keys = st.binary(min_size=1, max_size=480)


@given(keys, st.integers(1, 1024))
def test_a_key_belongs_to_the_arc_that_its_hash_is_in(key: bytes, count: int) -> None:
    index = HashPartitioner(range(count)).locate(key)
    assert index * 2**64 <= key_hash(key) * count < (index + 1) * 2**64


@given(st.binary(min_size=1, max_size=20).filter(lambda tag: b"}" not in tag and b"{" not in tag), keys, keys)
def test_keys_with_the_same_hash_tag_share_a_partition(tag: bytes, one: bytes, other: bytes) -> None:
    partitioner = HashPartitioner(range(1000))
    tagged = b"{" + tag + b"}"
    assert partitioner.locate(tagged + one) == partitioner.locate(tagged + other) == partitioner.locate(tag)


def test_partitions_are_named_by_their_uids_not_their_positions() -> None:
    plain, shifted = HashPartitioner(range(64)), HashPartitioner(range(100, 164))
    for number in range(200):
        key = b"key-%d" % number
        assert shifted.locate(key) == plain.locate(key) + 100


def test_many_keys_are_spread_over_all_partitions() -> None:
    partitioner = HashPartitioner(range(64))
    found = Counter(partitioner.locate(b"user/%d" % number) for number in range(64_000))
    assert len(found) == 64
    assert max(found.values()) < 1.2 * 1000


def test_the_steps_of_the_choice_name_hash_and_partition() -> None:
    steps = HashPartitioner(range(7, 71)).explain(b"cart/{user-1}/items")
    assert f"{key_hash(b'user-1'):016x}" in "\n".join(steps)
    assert "the part of the key inside its first {...}" in steps[0]
    assert str(HashPartitioner(range(7, 71)).locate(b"user-1")) in steps[-1]


def test_the_steps_of_the_choice_can_be_told_of_any_bytes() -> None:
    assert HashPartitioner([1]).explain(b"\xff\x00{\xfe}")


def test_a_keyspace_without_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        HashPartitioner([])
