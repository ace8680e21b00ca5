"""Where a range is cut: by load, by size, and where keys rise with time."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.heat.middle import PIECE_ROWS, MiddleKey
from kvstore.heat.split_point import SplitPoint, is_rising, separator, split_by_load
from kvstore.keys import KEY_BYTES_MAX
from kvstore.storage.engine import Batch, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import copy_prefix, encode_value


def by_load(written: list[bytes], read: list[bytes] | None = None, start: bytes = b"", end: bytes = b"") -> SplitPoint:
    return split_by_load(written, read or [], float(len(written)), float(len(read or [])), start, end)


def shuffled(count: int, seed: int = 1) -> list[bytes]:
    keys = [b"key%05d" % number for number in range(count)]
    random.Random(seed).shuffle(keys)
    return keys


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_a_separator_is_after_one_key_not_after_the_other_and_none_is_shorter(one: bytes, other: bytes) -> None:
    if one == other:
        return
    lower, upper = sorted((one, other))
    found = separator(lower, upper)
    assert lower < found <= upper
    assert not found[:-1] > lower


@pytest.mark.parametrize(
    ("lower", "upper", "found"),
    [(b"apple", b"banana", b"b"), (b"user1", b"user2x", b"user2"), (b"a", b"a\x00b", b"a\x00"), (b"", b"xyz", b"x")],
)
def test_a_separator_is_short(lower: bytes, upper: bytes, found: bytes) -> None:
    assert separator(lower, upper) == found


def test_half_of_the_load_is_on_each_side() -> None:
    written = shuffled(64)
    point = by_load(written).key
    assert point is not None
    assert sum(key < point for key in written) == 32


def test_reads_weigh_by_how_many_there_are() -> None:
    written, read = [b"w%02d" % n for n in random.Random(2).sample(range(50), 50)], [b"r%02d" % n for n in range(50)]
    mostly_read = split_by_load(written, read, 1.0, 99.0, b"", b"").key
    mostly_written = split_by_load(written, read, 99.0, 1.0, b"", b"").key
    assert mostly_read is not None
    assert mostly_read <= b"r26"
    assert mostly_written is not None
    assert mostly_written >= b"w24"


def test_where_keys_rise_the_point_is_right_after_the_newest() -> None:
    written = [b"id%05d" % number for number in range(64)]
    found = by_load(written)
    assert found.key == b"id00063\x00"
    assert "rise" in found.reason


def test_keys_rise_though_many_clients_write_them() -> None:
    rng = random.Random(3)
    written = sorted((b"id%05d" % number for number in range(64)), key=lambda key: int(key[2:]) + rng.uniform(0, 6))
    assert is_rising(written)
    assert by_load(written).key == b"id00063\x00"


@pytest.mark.parametrize("seed", range(20))
def test_keys_by_chance_do_not_rise(seed: int) -> None:
    assert not is_rising(shuffled(64, seed))


def test_one_key_that_is_far_beyond_does_not_hide_that_keys_rise() -> None:
    assert is_rising([b"zzz", *(b"id%05d" % number for number in range(63))])


def test_the_first_bound_is_never_the_point() -> None:
    written = [b"m"] * 30 + [b"mm"] * 10
    random.Random(1).shuffle(written)
    assert by_load(written, start=b"m").key == b"mm"


def test_keys_that_are_not_of_the_range_do_not_count() -> None:
    written = shuffled(40) + [b"z%02d" % number for number in range(40)]
    point = by_load(written, end=b"z").key
    assert point is not None
    assert point < b"key00030"
    assert by_load(written, start=b"zz").key is None


def test_a_load_on_one_key_cannot_be_cut_and_the_key_is_named() -> None:
    found = by_load([b"hot"] * 60 + [b"a", b"b"])
    assert found.key is None
    assert "'hot'" in found.reason


def test_too_few_samples_are_no_ground_for_a_cut() -> None:
    assert by_load(shuffled(31)).key is None
    assert by_load(shuffled(32)).key is not None


def test_after_the_longest_key_there_is_no_point() -> None:
    longest = b"z" * KEY_BYTES_MAX
    assert by_load([*(b"id%05d" % number for number in range(63)), longest]).key is None


PREFIX = copy_prefix(1)
PREFIX_END = copy_prefix(2)


def stored(values: dict[bytes, int]) -> MemoryEngine:
    engine, batch = MemoryEngine(), Batch()
    for key, size in values.items():
        batch.put(Table.DATA, PREFIX + key, encode_value(1, 1, 0, "", b"v" * size))
    batch.put(Table.DATA, PREFIX_END + b"other", encode_value(1, 1, 0, "", b"v"))
    engine.commit(batch)
    return engine


def middle(values: dict[bytes, int]) -> tuple[SplitPoint, int]:
    engine = stored(values)
    machine = MiddleKey(PREFIX, PREFIX_END, sum(len(key) + size for key, size in values.items()))
    steps = 0
    while True:
        steps += 1
        point = machine.step(engine.snapshot())
        if point is not None:
            return point, steps


def test_half_of_the_bytes_is_on_each_side() -> None:
    values = {b"key%05d" % number: 10 for number in range(2_000)}
    point, steps = middle(values)
    assert point.key == b"key01"
    assert steps == 1 + 1000 // PIECE_ROWS


def test_large_values_weigh_more_than_many_keys() -> None:
    values = {b"a%02d" % number: 1 for number in range(50)} | {b"b": 10_000, b"c": 10_000}
    assert middle(values)[0].key == b"c"


def test_a_first_key_with_most_of_the_bytes_stays_alone() -> None:
    assert middle({b"a": 100_000, b"b": 1, b"c": 1})[0].key == b"b"


@pytest.mark.parametrize("values", [{}, {b"a": 5}])
def test_fewer_than_two_keys_have_no_middle(values: dict[bytes, int]) -> None:
    assert middle(values)[0].key is None


def test_what_shrank_meanwhile_is_cut_before_its_last_key() -> None:
    machine = MiddleKey(PREFIX, PREFIX_END, 1_000_000)
    point = machine.step(stored({b"a": 1, b"b": 1, b"c": 1}).snapshot())
    assert point is not None
    assert point.key == b"c"
