"""Where missing copies are made anew."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest

from cluster.placement import Member
from cluster.placement.ring import Ring, RingPlacement
from cluster.placement.substitutes import find_substitutes

PIDS = range(1, 65)
MANY = 1000


def members(names: str, zones: str = "") -> list[Member]:
    return [Member(name, zone) for name, zone in zip(names, zones or "z" * len(names), strict=True)]


@pytest.mark.parametrize("nodes", ["abc", "abcd", "abcdefgh"])
@pytest.mark.parametrize("gone", [0, -1])
def test_what_a_node_held_goes_to_the_others_and_none_gets_more_than_its_share_and_five_percent(
    nodes: str, gone: int
) -> None:
    placed = RingPlacement().place(PIDS, members(nodes), 2, {})
    left = nodes.replace(nodes[gone], "")
    held = {pid: {node for node in two if node != nodes[gone]} for pid, two in placed.items()}
    missing = {pid: kept for pid, kept in held.items() if len(kept) < 2}
    loads = Counter(node for kept in held.values() for node in kept)
    chosen = find_substitutes(missing, members(left), left, loads, 64, 2, MANY)
    assert chosen.keys() == missing.keys()
    assert not [pid for pid, node in chosen.items() if node in missing[pid]]
    loads.update(chosen.values())
    assert max(loads.values()) <= ceil(1.05 * 128 / len(left))


def test_where_there_is_room_it_is_the_next_node_on_the_ring_that_has_none() -> None:
    walk = Ring(members("abcdef")).walk(1)
    loads = Counter(dict.fromkeys("abcdef", 20))
    assert find_substitutes({1: {walk[0], walk[2]}}, members("abcdef"), "abcdef", loads, 64, 3, MANY) == {1: walk[1]}


def test_another_zone_comes_first() -> None:
    chosen = find_substitutes(
        {pid: {"a"} for pid in PIDS}, members("abcd", "eeew"), "abcd", Counter({"a": 64}), 64, 2, MANY
    )
    assert set(chosen.values()) == {"d"}


def test_a_partition_that_nobody_can_hold_is_left_out() -> None:
    assert find_substitutes({1: {"a"}, 2: {"b"}}, members("abc"), "a", Counter("ab"), 2, 2, MANY) == {2: "a"}


def test_no_more_are_chosen_for_than_asked_for_and_who_cannot_be_helped_takes_no_place() -> None:
    missing = {1: set("abcd"), **{pid: {"a"} for pid in range(2, 10)}}
    chosen = find_substitutes(missing, members("abcd"), "abcd", Counter("a" * 9), 9, 2, 3)
    assert chosen.keys() == {2, 3, 4}


def test_a_full_node_takes_one_more_rather_than_that_a_copy_is_missing() -> None:
    loads = Counter({"a": 60, "b": 0, "c": 60})
    assert find_substitutes({1: {"b"}}, members("abc"), "ac", loads, 64, 2, MANY).keys() == {1}


def test_the_emptiest_nodes_are_filled_up_first_until_they_are_as_full_as_the_next() -> None:
    loads = Counter({"a": 0, "b": 12, "c": 60})
    chosen = find_substitutes(dict.fromkeys(range(1, 11), ()), members("abc"), "abc", loads, 64, 2, MANY)
    assert Counter(chosen.values()) == {"a": 10}


def test_how_full_a_node_is_goes_by_its_weight() -> None:
    heavy = [Member("a", "z", 1.0), Member("b", "z", 3.0)]
    loads = Counter({"a": 6, "b": 9})
    chosen = find_substitutes(dict.fromkeys(range(1, 7), ()), heavy, "ab", loads, 64, 2, MANY)
    assert Counter(chosen.values()) == {"b": 6}


def test_where_all_are_full_each_takes_one_in_turn_the_least_overloaded_first() -> None:
    loads = Counter({"a": 60, "b": 0, "c": 59})
    one = find_substitutes({1: {"b"}}, members("abc"), "ac", loads, 64, 2, MANY)
    assert one == {1: "c"}
    two = find_substitutes({1: {"b"}, 2: {"b"}}, members("abc"), "ac", loads, 64, 2, MANY)
    assert Counter(two.values()) == {"a": 1, "c": 1}


def test_fewer_nodes_than_copies_asked_for_are_no_obstacle() -> None:
    assert find_substitutes({1: {"a"}}, members("ab"), "ab", Counter("a"), 1, 3, MANY) == {1: "b"}
