"""What every placement promises, whichever it is."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.placement import Member
from cluster.placement.of_keyspace import districts, placement_of
from kvstore.map_values import KeyspaceInfo

PIDS = tuple(range(101, 141))
KEYSPACES = {
    "ring": KeyspaceInfo("k", "consistent", PIDS, 2, 1),
    "ring of three": KeyspaceInfo("k", "range", PIDS, 3, 1),
    "modulo": KeyspaceInfo("k", "hash", PIDS, 2, 1),
    "everywhere": KeyspaceInfo("k", "consistent", PIDS, 0, 1),
    "zones": KeyspaceInfo("k", "geo", PIDS, 2, 1, zones=(("a", 20), ("b", 20)), default_zone="a"),
}
STAYS = ("ring", "ring of three", "everywhere", "zones")

members = st.lists(
    st.builds(Member, st.sampled_from([f"n{n}" for n in range(9)]), st.sampled_from("ab"), st.sampled_from([1.0, 2.0])),
    min_size=1,
    max_size=7,
    unique_by=lambda member: member.id,
)


def spread(
    keyspace: KeyspaceInfo, nodes: list[Member], current: dict[int, tuple[str, ...]]
) -> dict[int, tuple[str, ...]]:
    return placement_of(keyspace).place(keyspace.pids, nodes, keyspace.replicas or len(nodes), current)


@pytest.fixture(params=sorted(KEYSPACES))
def keyspace(request: pytest.FixtureRequest) -> KeyspaceInfo:
    return KEYSPACES[request.param]


@settings(deadline=None, max_examples=60)
@given(before=members, after=members, data=st.data())
def test_a_partition_has_as_many_copies_as_asked_for_on_different_nodes_that_it_may_be_on(
    before: list[Member], after: list[Member], data: st.DataObject
) -> None:
    keyspace = KEYSPACES[data.draw(st.sampled_from(sorted(KEYSPACES)))]
    current = spread(keyspace, before, {}) if data.draw(st.booleans()) else {}
    placed = spread(keyspace, after, current)
    assert set(placed) == set(keyspace.pids)
    for district in districts(keyspace, after):
        for pid in district.pids:
            nodes = placed[pid]
            assert len(set(nodes)) == len(nodes)
            if district.members:
                assert len(nodes) == min(district.copies, len(district.members))
                assert set(nodes) <= {member.id for member in district.members}
            else:
                assert nodes == current.get(pid, ())


@settings(deadline=None, max_examples=40)
@given(nodes=members, data=st.data())
def test_the_answer_does_not_depend_on_the_order_of_the_nodes(nodes: list[Member], data: st.DataObject) -> None:
    keyspace = KEYSPACES[data.draw(st.sampled_from(sorted(KEYSPACES)))]
    assert spread(keyspace, nodes, {}) == spread(keyspace, data.draw(st.permutations(nodes)), {})


@settings(deadline=None, max_examples=40)
@given(nodes=members, data=st.data())
def test_what_was_placed_stays_while_the_nodes_do(nodes: list[Member], data: st.DataObject) -> None:
    keyspace = KEYSPACES[data.draw(st.sampled_from(STAYS))]
    placed = spread(keyspace, nodes, {})
    assert spread(keyspace, nodes, placed) == placed


@pytest.mark.parametrize("name", STAYS)
def test_what_is_as_good_as_another_assignment_stays(name: str) -> None:
    other = {"a0": "a1", "a1": "a0", "b0": "b1", "b1": "b0"}
    nodes = alike({"a": 2, "b": 2})
    current = {pid: tuple(other[node] for node in held) for pid, held in spread(KEYSPACES[name], nodes, {}).items()}
    assert spread(KEYSPACES[name], nodes, current) == current


def alike(zones: dict[str, int]) -> list[Member]:
    return [Member(f"{zone}{number}", zone) for zone, count in zones.items() for number in range(count)]


@pytest.mark.parametrize("zones", [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 3}])
def test_copies_and_leaders_are_even_over_nodes_that_are_alike(keyspace: KeyspaceInfo, zones: dict[str, int]) -> None:
    check_even(keyspace, alike(zones))


@pytest.mark.parametrize("zones", [{"a": 3, "b": 4}, {"a": 1, "b": 5}])
def test_copies_are_even_within_each_zone(zones: dict[str, int]) -> None:
    check_even(KEYSPACES["zones"], alike(zones))


def check_even(keyspace: KeyspaceInfo, nodes: list[Member]) -> None:
    """Nobody holds or leads more than 5 % above its share, rounded up."""
    placed = spread(keyspace, nodes, {})
    for district in districts(keyspace, nodes):
        held = Counter(node for pid in district.pids for node in placed[pid])
        led = Counter(placed[pid][0] for pid in district.pids)
        there, copies = len(district.members), min(district.copies, len(district.members))
        assert max(held.values()) <= ceil(1.05 * len(district.pids) * copies / there)
        assert max(led.values()) <= ceil(1.05 * len(district.pids) / there)


def test_what_a_further_node_moves_is_about_its_share_but_by_counting_nearly_all() -> None:
    before, after = alike({"a": 2, "b": 2}), alike({"a": 3, "b": 2})
    moved = {}
    for name, keyspace in KEYSPACES.items():
        was = spread(keyspace, before, {})
        then = spread(keyspace, after, was)
        moved[name] = sum(len(set(then[pid]) - set(was[pid])) for pid in PIDS)
    copies = 2 * len(PIDS)
    assert moved["ring"] <= ceil(1.10 * copies / 5)
    assert moved["zones"] <= ceil(1.10 * copies / 2 / 3)
    assert moved["everywhere"] == len(PIDS)
    assert moved["modulo"] > 2 * copies / 5
