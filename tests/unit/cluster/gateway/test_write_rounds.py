"""Many writes leave for all nodes at the same time, and wait for no call that is late."""

from __future__ import annotations

import pytest

from cluster.gateway.write_rounds import AGAIN_S, MANY, VAIN_ROUNDS, WriteRounds

NOW_S = 100.0


def under_way(*nodes: str, writes: int = MANY) -> WriteRounds:
    """A round that left for these nodes, with so many writes for each."""
    rounds = WriteRounds()
    rounds.begin(writes * len(nodes))
    for node in nodes:
        rounds.sent(node, writes)
    return rounds


def in_vain() -> WriteRounds:
    """Those who were answered were waited for, and did not ask again."""
    rounds = under_way("n1")
    rounds.answered("n1", MANY, NOW_S)
    rounds.begin(1)
    return rounds


def test_the_first_writes_wait_for_nothing() -> None:
    assert WriteRounds().wait_s(MANY, NOW_S) == 0


def test_writes_wait_for_every_call_of_the_round_before() -> None:
    rounds = under_way("n1", "n2")
    assert rounds.wait_s(1, NOW_S) is None
    rounds.answered("n1", MANY, NOW_S)
    assert rounds.is_free("n1")
    assert rounds.wait_s(2 * MANY, NOW_S) is None
    rounds.answered("n2", MANY, NOW_S)
    assert rounds.wait_s(2 * MANY, NOW_S) == 0


def test_few_writes_wait_for_no_other_node() -> None:
    rounds = under_way("n1", "n2", writes=2)
    assert rounds.wait_s(MANY - 5, NOW_S) == 0
    assert rounds.wait_s(MANY - 4, NOW_S) is None
    rounds.answered("n1", 2, NOW_S)
    assert rounds.wait_s(MANY - 5, NOW_S) == 0
    rounds.answered("n2", 2, NOW_S)
    assert rounds.wait_s(1, NOW_S) == 0


def test_as_many_as_were_answered_are_waited_for_but_not_for_long() -> None:
    rounds = under_way("n1", "n2")
    rounds.answered("n1", MANY, NOW_S - 1)
    rounds.answered("n2", MANY, NOW_S)
    assert rounds.wait_s(2 * MANY - 1, NOW_S) == pytest.approx(AGAIN_S)
    assert rounds.wait_s(2 * MANY, NOW_S) == 0
    assert rounds.wait_s(1, NOW_S + 2 * AGAIN_S) == 0


def test_nobody_is_expected_for_some_rounds_after_it_was_in_vain() -> None:
    rounds = in_vain()
    for _ in range(VAIN_ROUNDS):
        rounds.sent("n1", MANY)
        rounds.answered("n1", MANY, NOW_S)
        assert rounds.wait_s(1, NOW_S) == 0
        rounds.begin(1)
    rounds.sent("n1", MANY)
    rounds.answered("n1", MANY, NOW_S)
    assert rounds.wait_s(1, NOW_S) == pytest.approx(AGAIN_S)


def test_who_was_answered_before_the_last_round_is_not_expected() -> None:
    rounds = under_way("n1")
    rounds.answered("n1", MANY, NOW_S)
    rounds.begin(MANY)
    assert rounds.wait_s(1, NOW_S) == 0


def test_a_call_that_is_late_is_waited_for_once_until_it_is_answered() -> None:
    rounds = under_way("n1", "n2")
    rounds.answered("n1", MANY, NOW_S)
    rounds.held_too_long()
    assert rounds.wait_s(MANY, NOW_S) == 0
    assert not rounds.is_free("n2")
    rounds.begin(MANY)
    rounds.sent("n1", MANY)
    assert rounds.wait_s(MANY, NOW_S) is None
    rounds.answered("n1", MANY, NOW_S)
    assert rounds.wait_s(MANY, NOW_S) == 0
    rounds.answered("n2", MANY, NOW_S)
    rounds.begin(MANY)
    rounds.sent("n2", MANY)
    assert rounds.wait_s(MANY, NOW_S) is None
