"""Properties of ring placement, and the numbers that the README states: evenness, and movement when a node joins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement import Member
from cluster.placement.ring import Ring, RingPlacement
from cluster.placement.shares import copy_shares, zone_rules

PLACEMENT = RingPlacement()
SLACK = Fraction(105, 100)
MOVEMENT = Fraction(110, 100)

ids = st.integers(0, 40).map(lambda number: f"n{number}")
members_of_any_kind = st.lists(
    st.builds(
        Member, ids, st.sampled_from(["a", "b", "c", "d"]), st.sampled_from([0.1, 0.5, 1.0, 1.0, 1.5, 2.0, 7.0, 1000.0])
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda member: member.id,
)


def copies_of(placed: Mapping[int, Sequence[str]]) -> Counter[str]:
    return Counter(node for nodes in placed.values() for node in nodes)


def leaders_of(placed: Mapping[int, Sequence[str]]) -> Counter[str]:
    return Counter(nodes[0] for nodes in placed.values())


def moved(before: Mapping[int, Sequence[str]], after: Mapping[int, Sequence[str]]) -> int:
    return sum(len(set(after[pid]) - set(before[pid])) for pid in after)


def equal_members(count: int, zones: int = 1) -> list[Member]:
    return [Member(f"n{number}", f"zone-{number % zones}") for number in range(1, count + 1)]


def weighted_members(count: int) -> list[Member]:
    return [Member(f"n{number}", weight=(1.0, 2.0, 0.5)[number % 3]) for number in range(1, count + 1)]


def check_copies(placed: Mapping[int, tuple[str, ...]], members: Sequence[Member], partitions: int, rf: int) -> None:
    copies = min(rf, len(members))
    zone_of = {member.id: member.zone for member in members}
    rules = zone_rules(members, copies)
    shares = copy_shares(members, rules, partitions, copies)
    assert len(placed) == partitions
    for nodes in placed.values():
        assert len(nodes) == len(set(nodes)) == copies
        in_zones = Counter(zone_of[node] for node in nodes)
        assert len(in_zones) == min(copies, len(rules))
        assert all(rule.least <= in_zones[zone] <= rule.most for zone, rule in rules.items())
    held = copies_of(placed)
    for member in members:
        assert held[member.id] <= ceil(SLACK * shares[member.id])


@settings(max_examples=150, deadline=None)
@given(members_of_any_kind, st.integers(1, 70), st.integers(1, 4))
def test_every_rule_holds_for_a_first_placement(members: list[Member], partitions: int, rf: int) -> None:
    placed = PLACEMENT.place(range(1, partitions + 1), members, rf, {})
    check_copies(placed, members, partitions, rf)
    assert placed == PLACEMENT.place(range(1, partitions + 1), members[::-1], rf, {})


@settings(max_examples=150, deadline=None)
@given(members_of_any_kind, members_of_any_kind, st.integers(1, 70), st.integers(1, 4), st.integers(1, 4))
def test_every_rule_holds_whatever_is_assigned_now(
    before: list[Member], after: list[Member], partitions: int, rf_before: int, rf: int
) -> None:
    pids = range(1, partitions + 1)
    current = PLACEMENT.place(pids, before, rf_before, {})
    placed = PLACEMENT.place(pids, after, rf, current)
    check_copies(placed, after, partitions, rf)
    assert PLACEMENT.place(pids, after, rf, placed) == placed, "a plan that was carried out needs no move"


@pytest.mark.parametrize("rf", [1, 2, 3])
@pytest.mark.parametrize("partitions", [64, 256, 1024])
def test_numbers_of_equal_nodes_that_join_one_by_one(
    partitions: int, rf: int, capsys: pytest.CaptureFixture[str]
) -> None:
    pids = range(1, partitions + 1)
    current: dict[int, tuple[str, ...]] = dict.fromkeys(pids, ())
    worst = {"copies": 0.0, "leaders": 0.0, "moved": 0.0}
    for count in range(1, 13):
        placed = PLACEMENT.place(pids, equal_members(count), rf, current)
        held, led = copies_of(placed), leaders_of(placed)
        of_copies, of_leaders = Fraction(partitions * min(rf, count), count), Fraction(partitions, count)
        assert max(held.values()) <= ceil(SLACK * of_copies)
        assert max(led.values()) <= ceil(SLACK * of_leaders)
        assert min(held.values()) >= floor((2 - SLACK) * of_copies)
        assert moved(current, placed) <= ceil(MOVEMENT * of_copies)
        ratios = (max(held.values()) / of_copies, max(led.values()) / of_leaders, moved(current, placed) / of_copies)
        worst = {name: max(old, float(new)) for (name, old), new in zip(worst.items(), ratios, strict=True)}
        current = placed
    with capsys.disabled():
        print(
            f"\n{partitions} partitions, {rf} copies, 1 to 12 nodes: in shares of a node, at most "
            f"{worst['copies']:.3f} copies, {worst['leaders']:.3f} leaders, {worst['moved']:.3f} moved by a join",
            end="",
        )


@pytest.mark.parametrize("rf", [1, 2, 3])
@pytest.mark.parametrize("count", [6, 9, 12])
def test_zones_of_equal_size_cost_no_evenness(count: int, rf: int) -> None:
    pids = range(1, 257)
    members = equal_members(count, zones=3)
    placed = PLACEMENT.place(pids, members, rf, {})
    check_copies(placed, members, 256, rf)
    assert max(leaders_of(placed).values()) <= ceil(SLACK * 256 / count)
    joined = PLACEMENT.place(
        pids, [*members, *(Member(f"new-{zone}", f"zone-{zone}") for zone in range(3))], rf, placed
    )
    assert moved(placed, joined) <= ceil(MOVEMENT * 256 * rf * 3 / (count + 3))


@pytest.mark.parametrize("rf", [1, 2, 3])
def test_weights_share_out_copies_and_leaders(rf: int) -> None:
    pids = range(1, 513)
    members = weighted_members(9)
    placed = PLACEMENT.place(pids, members, rf, {})
    check_copies(placed, members, 512, rf)
    led, weights = leaders_of(placed), sum(Fraction(member.weight) for member in members)
    for member in members:
        assert led[member.id] <= ceil(SLACK * 512 * Fraction(member.weight) / weights)
    heavy = Member("heavy", weight=3.0)
    joined = PLACEMENT.place(pids, [*members, heavy], rf, placed)
    assert moved(placed, joined) <= ceil(MOVEMENT * 512 * rf * 3 / (weights + 3))


@pytest.mark.parametrize("rf", [1, 2, 3])
def test_only_copies_of_a_node_that_left_move(rf: int) -> None:
    pids = range(1, 257)
    members = equal_members(7)
    placed = PLACEMENT.place(pids, members, rf, {})
    left = PLACEMENT.place(pids, members[1:], rf, placed)
    lost = copies_of(placed)["n1"]
    assert lost <= moved(placed, left) <= ceil(MOVEMENT * lost)


def test_leaders_stay_where_nothing_forces_them_away() -> None:
    pids = range(1, 257)
    members = equal_members(4)
    placed = PLACEMENT.place(pids, members, 2, {})
    joined = PLACEMENT.place(pids, equal_members(5), 2, placed)
    kept = sum(placed[pid][0] == joined[pid][0] for pid in pids)
    assert kept >= 256 - ceil(MOVEMENT * 256 / 5)


def test_copies_stand_on_the_next_nodes_clockwise_as_far_as_loads_allow() -> None:
    pids = range(1, 257)
    members = equal_members(6)
    ring = Ring(members)
    placed = PLACEMENT.place(pids, members, 2, {})
    natural = sum(set(placed[pid]) == set(ring.walk(pid)[:2]) for pid in pids)
    assert natural >= 256 * 3 // 4


def test_a_walk_meets_every_node_once() -> None:
    members = weighted_members(8)
    walk = Ring(members).walk(7)
    assert sorted(walk) == sorted(member.id for member in members)


def test_a_node_that_joins_leaves_the_order_of_the_others() -> None:
    before, after = Ring(equal_members(5)), Ring(equal_members(6))
    for pid in range(1, 65):
        assert [node for node in after.walk(pid) if node != "n6"] == list(before.walk(pid))
