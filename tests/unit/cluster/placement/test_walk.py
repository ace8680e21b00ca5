"""A walk is the list of all nodes, found as far as somebody looks."""

from __future__ import annotations

import pytest

from cluster.placement.walk import Walk

POINTS = ["a", "b", "a", "c", "b", "d"]
NODES = frozenset("abcd")


class Counted(list[str]):
    """Points that count how often one was looked at."""

    looks = 0

    def __getitem__(self, at: object) -> str:  # type: ignore[override]
        self.looks += 1
        return super().__getitem__(at)  # type: ignore[index, return-value]


def test_nodes_come_clockwise_from_the_start_each_once() -> None:
    assert list(Walk(POINTS, 0, NODES)) == ["a", "b", "c", "d"]
    assert list(Walk(POINTS, 3, NODES)) == ["c", "b", "d", "a"]
    assert list(Walk(POINTS, len(POINTS), NODES)) == ["a", "b", "c", "d"]


def test_it_looks_no_further_than_it_is_asked() -> None:
    points = Counted(POINTS)
    walk = Walk(points, 0, NODES)
    assert next(iter(walk)) == "a"
    assert "d" in walk
    assert points.looks == 1


def test_two_who_go_through_it_at_a_time_meet_the_same() -> None:
    walk = Walk(POINTS, 0, NODES)
    first, second = iter(walk), iter(walk)
    met = [(next(first), next(second)) for _ in range(2)]
    assert [*met, *zip(first, second, strict=True)] == [(node, node) for node in "abcd"]


def test_where_a_node_stands_is_as_in_the_list() -> None:
    for node in "dabc":
        assert Walk(POINTS, 3, NODES).index(node) == ["c", "b", "d", "a"].index(node)
    walk = Walk(POINTS, 3, NODES)
    assert (walk[0], walk[-1], walk[1:3], len(walk)) == ("c", "a", ["b", "d"], 4)
    with pytest.raises(ValueError, match="not there"):
        walk.index("e")
