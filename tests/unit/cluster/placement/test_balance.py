"""Who leads, when everybody would like the same one to."""

from __future__ import annotations

from collections import Counter

from cluster.placement import Member
from cluster.placement.balance import pick_leaders

MEMBERS = [Member("a"), Member("b"), Member("c")]


def test_the_preferred_copy_leads_while_that_is_fair() -> None:
    copies = {1: ("a", "b"), 2: ("b", "c"), 3: ("c", "a")}
    assert pick_leaders(copies, MEMBERS, {}) == {1: "a", 2: "b", 3: "c"}


def test_leaders_are_shared_out_though_all_prefer_one_node() -> None:
    copies = {pid: ("a", "b") if pid % 2 else ("a", "c") for pid in range(1, 61)}
    led = Counter(pick_leaders(copies, MEMBERS, {}).values())
    assert led == {"a": 20, "b": 20, "c": 20}


def test_present_leaders_stay_unless_their_node_has_too_many() -> None:
    copies = dict.fromkeys(range(1, 61), ("a", "b", "c"))
    leaders = {pid: "a" if pid <= 40 else "b" for pid in copies}
    picked = pick_leaders(copies, MEMBERS, leaders)
    assert Counter(picked.values()) == {"a": 21, "b": 20, "c": 19}
    assert sum(picked[pid] != leaders[pid] for pid in copies) == 19


def test_a_leader_that_holds_no_copy_any_more_is_replaced() -> None:
    assert pick_leaders({1: ("b", "c")}, MEMBERS, {1: "a"}) == {1: "b"}


def test_a_fair_share_that_the_copies_do_not_allow_is_exceeded_by_the_least_loaded() -> None:
    copies = {1: ("a",), 2: ("a",), 3: ("a",), 4: ("a", "b"), 5: ("b", "c"), 6: ("c", "b")}
    picked = pick_leaders(copies, MEMBERS, {})
    assert Counter(picked.values()) == {"a": 3, "b": 2, "c": 1} or Counter(picked.values()) == {"a": 3, "b": 1, "c": 2}
