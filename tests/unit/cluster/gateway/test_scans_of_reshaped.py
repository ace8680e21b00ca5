"""Scans and counts while keys change their partition: every key once, in order, and of ranges only who has them."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.cluster.gateway.reshaped_world import (
    STYLE,
    TenantWorld,
    World,
    all_of_stream,
    all_pages,
    count_of,
    parts_asked,
)

from cluster.gateway.scan_merge import KeyRange
from kvstore.errors import NotFound

SEEDS = st.integers(0, 2**32)
KEYS = st.lists(st.integers(0, 9999).map(lambda number: b"%04d" % number), unique=True, max_size=80)
BOUNDS = st.lists(st.integers(1, 9999).map(lambda number: b"%04d" % number), max_size=12)
TROUBLE = st.sampled_from((0.0, 0.1, 0.4))
TENANTS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 99)).map(lambda one: b"%b/%02d" % (one[0].encode(), one[1])),
    unique=True,
    max_size=60,
)
WANTED = KeyRange(b"1", b"8")


def expected(keys: list[bytes], reverse: bool = False) -> list[bytes]:
    return sorted((key for key in keys if b"1" <= key < b"8"), reverse=reverse)


def ranges(count: int, of: int) -> World:
    """So many partitions of so many keys each."""
    keys = [b"%05d" % number for number in range(count * of)]
    return World(keys, keys[of::of], random.Random(1))


@given(KEYS, BOUNDS, SEEDS, TROUBLE, st.booleans(), st.integers(1, 20))
@settings(deadline=None)
def test_pages_give_every_key_once_while_partitions_split_and_merge(
    keys: list[bytes], bounds: list[bytes], seed: int, trouble: float, reverse: bool, limit: int
) -> None:
    world = World(keys, bounds, random.Random(seed), trouble)
    wanted = KeyRange(b"1", b"8", reverse)
    assert asyncio.run(all_pages(world, wanted, limit)) == expected(keys, reverse)


@given(KEYS, BOUNDS, SEEDS, TROUBLE, st.booleans(), st.none() | st.integers(1, 50))
@settings(deadline=None)
def test_a_stream_gives_every_key_once_while_partitions_split_and_merge(
    keys: list[bytes], bounds: list[bytes], seed: int, trouble: float, reverse: bool, limit: int | None
) -> None:
    world = World(keys, bounds, random.Random(seed), trouble)
    wanted = KeyRange(b"1", b"8", reverse)
    assert asyncio.run(all_of_stream(world, wanted, limit)) == expected(keys, reverse)[:limit]


@given(TENANTS, st.integers(1, 6), SEEDS, TROUBLE, st.booleans(), st.integers(1, 20))
@settings(deadline=None)
def test_pages_give_every_key_once_while_tenants_move(
    keys: list[bytes], partitions: int, seed: int, trouble: float, reverse: bool, limit: int
) -> None:
    world = TenantWorld(keys, partitions, random.Random(seed), trouble)
    assert asyncio.run(all_pages(world, KeyRange(reverse=reverse), limit)) == sorted(keys, reverse=reverse)


@given(KEYS, BOUNDS, SEEDS, TROUBLE)
@settings(deadline=None)
def test_a_count_counts_every_key_once_while_partitions_split_and_merge(
    keys: list[bytes], bounds: list[bytes], seed: int, trouble: float
) -> None:
    world = World(keys, bounds, random.Random(seed), trouble / 4)
    assert asyncio.run(count_of(world, WANTED)) == len(expected(keys))


@given(TENANTS, st.integers(1, 6), SEEDS, TROUBLE)
@settings(deadline=None)
def test_a_count_counts_every_key_once_while_tenants_move(
    keys: list[bytes], partitions: int, seed: int, trouble: float
) -> None:
    world = TenantWorld(keys, partitions, random.Random(seed), trouble / 4)
    assert asyncio.run(count_of(world, KeyRange())) == len(keys)


@pytest.mark.parametrize("reverse", [False, True])
async def test_a_page_of_100_keys_asks_at_most_two_of_64_partitions(reverse: bool) -> None:
    world = ranges(64, of=150)
    for start in (0, 40, 149, 4321, 9400):
        world.asked.clear()
        bound = b"%05d" % start
        keys = KeyRange(b"", bound, True) if reverse and start else KeyRange(bound, b"", reverse)
        await world.scans().page("r", keys, STYLE, 100, False, lambda _size: None)
        assert 1 <= len(parts_asked(world)) <= 2


async def test_partitions_are_asked_in_the_order_of_their_keys_and_more_at_a_time_the_further_it_goes() -> None:
    world = ranges(40, of=1)
    assert await all_of_stream(world, KeyRange(), None) == world.keys
    assert parts_asked(world)[:2] == [1, 2]
    assert len(world.asked) < 40


async def test_only_partitions_of_the_range_are_asked_and_counted() -> None:
    world = ranges(64, of=10)
    await all_of_stream(world, KeyRange(b"00105", b"00125"), None)
    assert sorted(parts_asked(world)) == [11, 12, 13]
    world.asked.clear()
    assert await world.scans().count("r", KeyRange(b"00105", b"00125"), False) == (20, [])
    assert sorted(parts_asked(world)) == [11, 12, 13]


async def test_a_split_that_only_a_node_has_told_of_is_waited_for() -> None:
    world = ranges(1, of=50)
    world.split()
    world.router.take_entry(world.entries[1])
    assert await all_pages(world, KeyRange(), 100) == world.keys
    assert world.changes == 1


async def test_a_scan_of_a_keyspace_that_is_deleted_meanwhile_ends_in_not_found() -> None:
    world = ranges(2, of=50)
    pieces = world.scans().stream("r", KeyRange(), STYLE, is_courteous=False)
    assert (await anext(pieces)).keys
    world.delete()
    with pytest.raises(NotFound):
        async for _ in pieces:
            pass
