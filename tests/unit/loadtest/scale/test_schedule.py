"""When moves of a plan go on, in numbers small enough to check by hand."""

from __future__ import annotations

import pytest
from scale.schedule import Schedule, move_s, schedule

from cluster.placement.relocation import Relocation


def test_a_node_that_takes_one_copy_at_a_time_gets_them_one_after_the_other() -> None:
    moves = [Relocation(pid, source, "new") for pid, source in enumerate("abc")]
    assert schedule(moves, 1, 10.0) == Schedule(3, 30.0, 1, 0.1)
    assert schedule(moves, 2, 10.0) == Schedule(3, 20.0, 2, 0.15)


def test_a_node_that_sends_one_copy_at_a_time_gives_them_away_one_after_the_other() -> None:
    assert schedule([Relocation(1, "a", "x"), Relocation(2, "a", "y")], 1, 5.0) == Schedule(2, 10.0, 1, 0.2)


def test_moves_that_share_no_node_go_on_together_and_one_that_waits_lets_later_ones_pass() -> None:
    moves = [Relocation(1, "a", "x"), Relocation(2, "a", "y"), Relocation(3, "b", "y")]
    assert schedule(moves, 1, 5.0) == Schedule(3, 10.0, 2, 0.3)


def test_nothing_to_move_takes_no_time() -> None:
    assert schedule([], 1, 5.0) == Schedule(0, 0.0, 0, 0.0)


def test_a_move_takes_its_part_of_the_nodes_bytes_and_its_steps() -> None:
    assert move_s(1e9, 10, 1e8, 2.0) == pytest.approx(3.0)
