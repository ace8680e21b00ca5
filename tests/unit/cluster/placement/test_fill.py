"""Preference, exchange and shedding of places."""

from __future__ import annotations

from cluster.placement.fill import Fill
from cluster.placement.shares import ZoneRule

NODES = {"a": "", "b": "", "c": ""}
ONE = {"": ZoneRule(1, 1)}


def test_places_are_taken_in_the_order_of_preference_while_there_is_room() -> None:
    fill = Fill({1: ["a", "b"], 2: ["a", "b"], 3: ["b", "a"]}, NODES, ONE, wanted=1)
    assert fill.fill([1, 2, 3], {"a": 1, "b": 2, "c": 0}) == []
    assert fill.places == {1: ["a"], 2: ["b"], 3: ["b"]}


def test_a_partition_that_finds_no_room_gets_it_by_a_chain_of_exchanges() -> None:
    fill = Fill({1: ["a", "b"], 2: ["b", "c"], 3: ["a"]}, NODES, ONE, wanted=1)
    assert fill.fill([1, 2, 3], {"a": 1, "b": 1, "c": 1}) == []
    assert fill.places == {1: ["b"], 2: ["c"], 3: ["a"]}


def test_a_partition_that_no_chain_can_help_is_named() -> None:
    fill = Fill({1: ["a"], 2: ["a"]}, NODES, ONE, wanted=1)
    assert fill.fill([1, 2], {"a": 1, "b": 1, "c": 1}) == [2]
    assert fill.reachable(2) == ["a"]


def test_an_exchange_may_change_the_zone_of_another_partition() -> None:
    zone_of = {"x": "east", "y": "west", "z": "north"}
    rules = dict.fromkeys(("east", "west", "north"), ZoneRule(0, 1))
    fill = Fill({1: ["x", "y", "z"], 2: ["x", "y"]}, zone_of, rules, wanted=2)
    assert fill.fill([1, 2], {"x": 2, "y": 1, "z": 1}) == []
    assert {pid: set(nodes) for pid, nodes in fill.places.items()} == {1: {"x", "z"}, 2: {"x", "y"}}


def test_a_node_above_its_quota_gives_up_followers_before_leaders() -> None:
    fill = Fill({1: ["a", "b"], 2: ["a", "b"], 3: ["b", "a"]}, NODES, {"": ZoneRule(2, 2)}, wanted=2)
    for pid, nodes in {1: "ab", 2: "ab", 3: "ba"}.items():
        for node in nodes:
            fill.keep(pid, node)
    fill.shed({"a": 2, "b": 3, "c": 3})
    assert fill.places == {1: ["a", "b"], 2: ["a", "b"], 3: ["b"]}


def test_a_place_that_the_rules_of_zones_forbid_is_not_kept() -> None:
    zone_of = {"x": "east", "y": "east", "z": "west"}
    fill = Fill({1: ["x", "y", "z"]}, zone_of, {"east": ZoneRule(0, 1), "west": ZoneRule(0, 1)}, wanted=2)
    for node in ("x", "y", "gone"):
        fill.keep(1, node)
    assert fill.places == {1: ["x"]}


def test_two_nodes_above_their_quotas_give_up_copies_of_different_partitions() -> None:
    fill = Fill({pid: ["c", "a", "b"] for pid in (1, 2)}, NODES, {"": ZoneRule(3, 3)}, wanted=3)
    for pid in (1, 2):
        for node in "cab":
            fill.keep(pid, node)
    fill.shed({"a": 1, "b": 1, "c": 2})
    assert sorted(len(nodes) for nodes in fill.places.values()) == [2, 2]


def test_an_exchange_puts_no_more_copies_into_a_zone_than_its_rule_allows() -> None:
    zone_of = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b", "b3": "b"}
    candidates = {1: ["a1", "a2", "b1", "b2", "b3"], 2: ["a1", "a3", "b1", "b2"]}
    fill = Fill(candidates, zone_of, {"a": ZoneRule(1, 2), "b": ZoneRule(1, 2)}, wanted=4)
    assert fill.fill([1, 2], {"a1": 1, "a2": 1, "a3": 1, "b1": 2, "b2": 2, "b3": 1}) == [2]
    assert fill.places[1] == ["a1", "a2", "b1", "b2"]
