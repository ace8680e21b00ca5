"""How even, and how much moves, in clusters small enough to count."""

from __future__ import annotations

from collections import Counter

from scale.clusters import members, placed
from scale.evenness import Spread, change, copy_counts, spread, zone_loss


def test_a_spread_names_the_fewest_the_most_and_what_is_promised() -> None:
    assert spread(Counter({"a": 7, "b": 3}), ["a", "b", "c"], 10) == Spread(0, 7, 10 / 3, 4)
    assert spread(Counter({"a": 100, "b": 100}), ["a", "b"], 200) == Spread(100, 100, 100.0, 105)


def test_a_node_that_joins_gets_what_moves() -> None:
    of = members(4)
    first = placed(64, of[:3], 2)
    found, moves = change(first, 64, of, 2, 128 / 4)
    assert 30 <= found.moved == len(moves) <= 36
    assert {move.target for move in moves} == {of[3].id}
    assert found.after.most <= found.after.promised


def test_copies_are_counted_by_node() -> None:
    assert copy_counts({1: ("a", "b"), 2: ("a", "c")}) == {"a": 2, "b": 1, "c": 1}


def test_what_a_lost_zone_held_is_made_anew_and_no_more() -> None:
    found = zone_loss(6, 48, 2, members(6, 3), "zone-1")
    assert found.loss.moved == found.loss.ideal == 32
    assert found.rounds == 1
    assert found.loss.after.most <= found.loss.after.promised
