"""How splits and merges are counted."""

from __future__ import annotations

from probe.reshaped import Reshaped


def seen(*looks: set[int]) -> tuple[int, int]:
    reshaped = Reshaped()
    for pids in looks:
        reshaped.see("range", pids)
    return reshaped.splits, reshaped.merges


def test_nothing_happened_before_the_first_look() -> None:
    assert seen({7, 9}) == (0, 0)


def test_a_partition_that_is_new_came_by_a_split() -> None:
    assert seen({7}, {7, 8}, {7, 8, 9}) == (2, 0)


def test_one_that_is_no_more_went_by_a_merge() -> None:
    assert seen({7, 8}, {7}) == (0, 1)


def test_what_came_and_went_counts_once_each() -> None:
    assert seen({7}, {7, 8}, {8}) == (1, 1)


def test_a_gateway_whose_news_are_old_changes_no_count() -> None:
    assert seen({7}, {7, 8}, {7}, {7, 8}) == seen({7}, {7, 8})


def test_keyspaces_are_counted_apart() -> None:
    reshaped = Reshaped()
    for name, pids in (("one", {1}), ("other", {2}), ("one", {1, 3}), ("other", {2})):
        reshaped.see(name, pids)
    assert (reshaped.splits, reshaped.merges) == (1, 0)
