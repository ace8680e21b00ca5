"""Plans: how much moves when nodes come and go, how even it gets, and that what is even stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement import Assignment, Member
from cluster.placement.relocation import Relocation, loads, relocations
from cluster.placement.ring import RingPlacement

PLACEMENT = RingPlacement()
MOVEMENT = 1.10

partitions_ = st.integers(1, 128)
nodes_ = st.integers(2, 9)
copies_ = st.integers(1, 3)
members_ = st.lists(
    st.builds(
        Member,
        st.integers(0, 20).map(lambda number: f"n{number}"),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([0.5, 1.0, 1.0, 2.0]),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda member: member.id,
)


def relocated(current: Assignment, moves: Iterable[Relocation]) -> dict[int, tuple[str, ...]]:
    """The assignment after these moves; a copy that comes takes the place of the one that goes."""
    after = {pid: tuple(nodes) for pid, nodes in current.items()}
    for move in moves:
        nodes = after.get(move.pid, ())
        after[move.pid] = tuple(move.target if node == move.source else node for node in nodes)
    return after


def equal(count: int) -> list[Member]:
    return [Member(f"n{number}") for number in range(1, count + 1)]


def plan(pids: Sequence[int], members: list[Member], copies: int, current: Assignment) -> list[Relocation]:
    return relocations(current, PLACEMENT.place(pids, members, copies, current))


def check(after: dict[int, tuple[str, ...]], members: list[Member], copies: int, partitions: int) -> None:
    wanted = min(copies, len(members))
    assert all(len(nodes) == len(set(nodes)) == wanted for nodes in after.values())
    assert all(load.copies <= load.most for load in loads(after, members, copies).values())
    assert len(after) == partitions


@settings(max_examples=100, deadline=None)
@given(nodes_, partitions_, copies_)
def test_a_node_that_joins_takes_little_more_than_its_share_and_all_are_even_then(
    nodes: int, partitions: int, copies: int
) -> None:
    pids = range(1, partitions + 1)
    before = PLACEMENT.place(pids, equal(nodes), copies, {})
    members = equal(nodes + 1)
    moves = plan(pids, members, copies, before)
    assert len(moves) <= ceil(MOVEMENT * partitions * min(copies, nodes) / (nodes + 1))
    assert {move.target for move in moves} <= {f"n{nodes + 1}"}
    if copies <= nodes:
        check(relocated(before, moves), members, copies, partitions)
    leads = Counter(places[0] for places in PLACEMENT.place(pids, members, copies, before).values())
    assert max(leads.values()) <= ceil(1.05 * partitions / (nodes + 1))


@settings(max_examples=100, deadline=None)
@given(nodes_, partitions_, copies_)
def test_only_what_a_node_that_leaves_holds_moves(nodes: int, partitions: int, copies: int) -> None:
    pids = range(1, partitions + 1)
    copies = min(copies, nodes)
    before = PLACEMENT.place(pids, equal(nodes + 1), copies, {})
    moves = plan(pids, equal(nodes), copies, before)
    left = f"n{nodes + 1}"
    held = sum(left in places for places in before.values())
    assert sum(move.source == left for move in moves) == held
    check(relocated(before, moves), equal(nodes), copies, partitions)


@settings(max_examples=150, deadline=None)
@given(members_, members_, partitions_, copies_)
def test_a_plan_leads_to_what_is_even_and_then_there_is_none(
    before: list[Member], after: list[Member], partitions: int, copies: int
) -> None:
    pids = range(1, partitions + 1)
    copies = min(copies, len(before), len(after))
    current = PLACEMENT.place(pids, before, copies, {})
    moves = plan(pids, after, copies, current)
    moved = relocated(current, moves)
    check(moved, after, copies, partitions)
    assert plan(pids, after, copies, PLACEMENT.place(pids, after, copies, current)) == []
    assert moves == plan(pids, after[::-1], copies, current)


def test_moves_take_turns_between_their_ways_so_that_several_can_go_on_at_a_time() -> None:
    current = {1: ("a", "b"), 2: ("a", "b"), 3: ("a", "b"), 4: ("b", "a")}
    desired = {1: ("c", "b"), 2: ("c", "b"), 3: ("a", "c"), 4: ("d", "a")}
    assert relocations(current, desired) == [
        Relocation(1, "a", "c"),
        Relocation(3, "b", "c"),
        Relocation(4, "b", "d"),
        Relocation(2, "a", "c"),
    ]


def test_copies_that_are_missing_are_no_moves() -> None:
    assert relocations({1: ("a",)}, {1: ("a", "b")}) == []
    assert relocations({1: ("a",)}, {1: ("b", "c")}) == [Relocation(1, "a", "b")]
