"""The probe that kills processes of moves, in short, and where in a move it kills."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from probe import kill_moves
from probe.kill_moves import AIMS, GUESS_S_MAX, Aim, Watching
from probe.moves import Sight

from cluster.control.moving import Step


def seen(step: Step, number: int = 1) -> Sight:
    return Sight(number, 7, "n1", "n2", step.value)


def watching(step: Step, *, may_guess: bool) -> Watching:
    return Watching(Aim(step, "source"), random.Random(1), may_guess=may_guess)


@pytest.mark.slow
async def test_moves_end_by_themselves_whoever_was_killed(tmp_path: Path) -> None:
    aims = [Aim(Step.SWITCH, "source"), Aim(Step.ABORT, "gateway")]
    probe = await kill_moves.run(aims, seed=2, data=tmp_path)
    assert probe.exact + probe.near == dict.fromkeys(aims, 1)


def test_every_step_of_a_move_that_is_not_over_has_its_turn_with_every_role() -> None:
    steps = set(Step) - {Step.DONE}
    assert {(aim.step, aim.role) for aim in AIMS} == {(s, r) for s in steps for r in ("source", "target", "gateway")}
    assert len(AIMS) == 3 * len(steps)


@pytest.mark.parametrize(("role", "victim"), [("source", "n1"), ("target", "n2"), ("gateway", "g1")])
def test_the_victim_is_who_has_that_role_in_the_move_that_was_seen(role: str, victim: str) -> None:
    assert Aim(Step.JOIN, role).victim(seen(Step.JOIN), "g1") == victim


def test_a_move_is_hit_when_it_is_seen_at_the_step() -> None:
    watch = watching(Step.JOIN, may_guess=False)
    assert watch.hit([seen(Step.VERIFY), seen(Step.SWITCH, 2)], 0.0) is None
    assert watch.hit([seen(Step.VERIFY), seen(Step.JOIN, 2)], 0.1) == (seen(Step.JOIN, 2), True)


def test_a_step_that_passes_unseen_is_guessed_after_the_one_before_and_says_so() -> None:
    watch = watching(Step.JOIN, may_guess=True)
    assert watch.hit([seen(Step.BACKFILL)], 0.0) is None
    assert watch.hit([seen(Step.VERIFY)], 1.0) is None
    assert watch.hit([seen(Step.SWITCH)], 1.0 + GUESS_S_MAX) == (seen(Step.VERIFY), False)


def test_nothing_is_guessed_unless_that_is_allowed() -> None:
    watch = watching(Step.JOIN, may_guess=False)
    assert watch.hit([seen(Step.VERIFY)], 1.0) is None
    assert watch.hit([seen(Step.SWITCH)], 1.0 + GUESS_S_MAX) is None


@pytest.mark.parametrize(
    ("holders", "fate"),
    [(["n2", "n3"], "done"), (["n1", "n3"], "rolled back"), (["n1", "n2", "n3"], "both copies stay")],
)
def test_what_became_of_a_move_is_told_by_who_holds_its_partition(holders: list[str], fate: str) -> None:
    status: dict[str, Any] = {"partitions": [{"id": 6, "replicas": ["n2"]}, {"id": 7, "replicas": holders}]}
    assert seen(Step.PLANNED).fate(status) == fate
