"""The state machine under kills and moves, in short, and what makes such a run void."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from probe import state_machine
from probe.machine.steps import KINDS, Step, any_of
from probe.rig import Layout
from probe.state_machine import Measured
from probe.trial import Void


@pytest.mark.slow
async def test_no_answer_is_wrong_whoever_is_killed(tmp_path: Path) -> None:
    measured, wrong = await state_machine.run(3000, seed=5, data=tmp_path, layout=Layout())
    assert wrong == []
    assert measured.counts["judged"] >= 3000


def measured(*, judged: int = 90, failovers: int = 3, moves: int = 1) -> Measured:
    return Measured(failovers=failovers, moves=moves, counts=Counter(asked=100, judged=judged))


def test_a_run_in_which_enough_happened_counts() -> None:
    measured().check()


@pytest.mark.parametrize("void", [measured(judged=79), measured(failovers=2), measured(moves=0)])
def test_a_run_in_which_too_little_happened_is_void(void: Measured) -> None:
    with pytest.raises(Void):
        void.check()


def steps(seed: int) -> list[Step]:
    rng = random.Random(seed)
    return [any_of(rng, dict.fromkeys(KINDS, 1)) for _ in range(50)]


def test_the_same_seed_draws_the_same_steps() -> None:
    assert steps(1) == steps(1)
    assert steps(1) != steps(2)
