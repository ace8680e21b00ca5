"""Fair shares, zones and quotas, in numbers small enough to check by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from cluster.placement import Member
from cluster.placement.shares import Group, ZoneRule, copy_shares, quotas, water_fill, zone_rules


def members(*zones: str) -> list[Member]:
    return [Member(f"n{number}", zone) for number, zone in enumerate(zones, 1)]


@pytest.mark.parametrize(
    ("zones", "copies", "rules"),
    [
        ("aaa", 2, {"a": (1, 2)}),
        ("ab", 2, {"a": (0, 1), "b": (0, 1)}),
        ("abc", 2, {"a": (0, 1), "b": (0, 1), "c": (0, 1)}),
        ("abbb", 3, {"a": (1, 1), "b": (1, 2)}),
        ("aabbcc", 4, {"a": (1, 2), "b": (1, 2), "c": (1, 2)}),
    ],
)
def test_copies_of_a_partition_are_spread_over_zones_evenly(
    zones: str, copies: int, rules: dict[str, tuple[int, int]]
) -> None:
    assert zone_rules(members(*zones), copies) == {zone: ZoneRule(*rule) for zone, rule in rules.items()}


def test_what_a_bound_takes_from_one_is_shared_by_the_others_in_proportion() -> None:
    weights = {"a": Fraction(1), "b": Fraction(2), "c": Fraction(97)}
    parts = water_fill(weights, dict.fromkeys(weights, (0, 60)), Fraction(90))
    assert parts == {"a": 10, "b": 20, "c": 60}


def test_a_lower_bound_is_paid_for_by_the_others_in_proportion() -> None:
    weights = {"a": Fraction(1), "b": Fraction(3), "c": Fraction(6)}
    parts = water_fill(weights, {"a": (28, 60), "b": (0, 60), "c": (0, 60)}, Fraction(100))
    assert parts == {"a": 28, "b": 24, "c": 48}


def test_a_node_alone_in_its_zone_holds_what_the_zone_must() -> None:
    some = members("a", "b", "b", "b")
    assert copy_shares(some, zone_rules(some, 2), 60, 2) == {"n1": 60, "n2": 20, "n3": 20, "n4": 20}


def test_quotas_stay_at_the_present_loads_within_the_slack() -> None:
    shares = {"a": Fraction(100), "b": Fraction(100), "c": Fraction(100)}
    limits = dict.fromkeys(shares, 1000)
    assert quotas(shares, {"a": 96, "b": 104, "c": 100}, limits, (), 300) == {"a": 96, "b": 104, "c": 100}
    assert quotas(shares, {"a": 150, "b": 150, "c": 0}, limits, (), 300) == {"a": 102, "b": 103, "c": 95}
    assert quotas(shares, {}, limits, (), 300) == {"a": 100, "b": 100, "c": 100}


def test_quotas_of_a_group_stay_within_its_bounds() -> None:
    shares = {"a": Fraction(50), "b": Fraction(25), "c": Fraction(25)}
    groups = [Group(("a",), 0, 50), Group(("b", "c"), 0, 50)]
    assert quotas(shares, {"a": 60, "b": 20, "c": 20}, dict.fromkeys(shares, 50), groups, 100) == {
        "a": 50,
        "b": 25,
        "c": 25,
    }
