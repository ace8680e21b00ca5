"""When a node counts as gone for good."""

from __future__ import annotations

import pytest
from unit.cluster.control.repair_story import led

from cluster.cluster_map import ClusterMap
from cluster.control.absences import MAJORITY_GRACE_S, STOOD_STILL_S, Absences

REPLACE_AFTER_S = 60.0
STEP_S = 0.25


class Watch:
    """Ticks four times a second; `cluster` has a copy on each of five nodes."""

    def __init__(self, nodes: str = "abcde") -> None:
        entries = {pid: led(pid, node) for pid, node in enumerate(nodes, 1)}
        self.cluster = ClusterMap(b"cluster1", 9, {}, {}, entries)
        self.absences = Absences(REPLACE_AFTER_S)
        self.now_s = 1000.0

    def over(self, seconds: float, up: str) -> frozenset[str]:
        """Who is gone after `seconds` in which these nodes are connected."""
        gone: frozenset[str] = frozenset()
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            gone = self.absences.tick(self.cluster, set(up), self.now_s)
        return gone


def test_a_node_is_gone_when_it_was_away_for_too_long_and_no_more_when_it_is_back() -> None:
    watch = Watch()
    assert not watch.over(10, "abcde")
    assert not watch.over(REPLACE_AFTER_S, "abcd")
    assert watch.over(2 * STEP_S, "abcd") == {"e"}
    assert not watch.over(STEP_S, "abcde")


def test_each_absence_counts_for_itself() -> None:
    watch = Watch()
    for _ in range(5):
        assert not watch.over(REPLACE_AFTER_S - 1, "abcd")
        assert not watch.over(STEP_S, "abcde")


def test_a_node_that_was_away_before_control_looked_counts_from_then_on() -> None:
    watch = Watch()
    assert not watch.over(REPLACE_AFTER_S, "abcd")
    assert watch.over(1, "abcd") == {"e"}


def test_time_in_which_control_stood_still_does_not_count() -> None:
    watch = Watch()
    watch.over(10, "abcde")
    watch.over(5, "abcd")
    watch.now_s += REPLACE_AFTER_S * 2
    assert not watch.over(REPLACE_AFTER_S, "abcd")
    assert watch.over(1, "abcd") == {"e"}


def test_a_pause_that_is_no_standstill_takes_nothing_away() -> None:
    watch = Watch()
    watch.over(10, "abcd")
    watch.now_s += STOOD_STILL_S - 2 * STEP_S
    assert watch.over(REPLACE_AFTER_S - 10 - STOOD_STILL_S + 2, "abcd") == {"e"}


@pytest.mark.parametrize(("nodes", "up", "gone"), [("abcde", "abc", "de"), ("abcde", "ab", ""), ("abcd", "ab", "cd")])
def test_nobody_is_gone_while_more_than_half_are_away(nodes: str, up: str, gone: str) -> None:
    assert Watch(nodes).over(REPLACE_AFTER_S * 3, up) == set(gone)


def test_after_a_majority_was_away_there_is_another_grace_for_those_who_are_slower_to_return() -> None:
    watch = Watch()
    watch.over(REPLACE_AFTER_S * 2, "ab")
    assert not watch.over(MAJORITY_GRACE_S - STEP_S, "abc")
    assert watch.over(2 * STEP_S, "abc") == {"d", "e"}


def test_a_node_whose_only_copy_is_being_added_may_be_gone_too() -> None:
    watch = Watch()
    watch.cluster = ClusterMap(b"cluster1", 9, {}, {}, {1: led(1, "abc", adding="d")})
    assert watch.over(REPLACE_AFTER_S * 2, "abc") == {"d"}


def test_nodes_that_hold_nothing_are_no_part_of_the_majority() -> None:
    watch = Watch("abc")
    assert watch.over(REPLACE_AFTER_S * 2, "ab") == {"c"}
    watch.cluster = Watch("ab").cluster
    assert not watch.over(STEP_S, "ab")
