"""Who leads, when everybody would like the same one to."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cluster.placement import Member
from cluster.placement.balance import pick_leaders
from cluster.placement.modulo import ModuloPlacement

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


def rounds_until_rest(copies: dict[int, list[str]], members: list[Member]) -> int:
    """How often the leaders change, where the one that is chosen comes first and it is chosen again."""
    for changes in range(20):
        picked = pick_leaders(copies, members, {pid: nodes[0] for pid, nodes in copies.items()})
        after = {pid: sorted(nodes, key=lambda node, pid=pid: node != picked[pid]) for pid, nodes in copies.items()}
        if after == copies:
            return changes
        copies = after
    raise AssertionError("leaders change for ever")


def test_choosing_again_and_again_comes_to_rest_whatever_the_weights() -> None:
    weights = (8.99813622858877, 9.715344830290311, 2.35937509674031, 0.6621259932508688, 5.118799024655687, 9.5405)
    members = [Member(f"n{number}", weight=weight) for number, weight in enumerate(weights, 1)]
    pids = range(1, 65)
    placed = ModuloPlacement().place(pids, members, 2, {})
    assert rounds_until_rest({pid: list(nodes) for pid, nodes in placed.items()}, members) <= 1


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=7), st.integers(1, 40), st.randoms(use_true_random=False))
def test_choosing_again_comes_to_rest_wherever_copies_are(weights: list[float], count: int, chance: Random) -> None:
    members = [Member(f"n{number}", weight=weight) for number, weight in enumerate(weights)]
    names = [member.id for member in members]
    assert rounds_until_rest({pid: chance.sample(names, 2) for pid in range(count)}, members) <= 5
