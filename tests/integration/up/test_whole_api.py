"""The whole HTTP API, request after request as chance has it, answers as a plain dict would.

The steps and the judge are those of `make state-machine`, which kills and moves meanwhile; here nothing is harmed, so
that what fails is made as short as can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from probe.machine.exchange import Exchange
from probe.machine.machine import Machine
from probe.machine.own import Own
from probe.machine.steps import Batch, Delete, Step, any_of
from probe.up import Up

T = TypeVar("T")

EXAMPLES, STEPS = 150, 30


class Drawn:
    """Chance that hypothesis has a hand in: it can replay it, and make what came of it simpler."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def randrange(self, stop: int, /) -> int:
        return self._draw(st.integers(0, stop - 1))

    def choice(self, seq: Sequence[T], /) -> T:
        return seq[self.randrange(len(seq))]


@st.composite
def drawn(draw: st.DrawFn, /, **weights: int) -> Step:
    """A step of one of these kinds."""
    return any_of(Drawn(draw), weights)


class WholeApi(RuleBasedStateMachine):
    """Each run begins with no keys, on what is known of those before: versions never come again."""

    own: ClassVar[Own]

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(self.own)
        left = [number for number, key in enumerate(self.own.keys) if self.own.model[key].maybe != [None]]
        if left:
            self.machine.take(Batch(tuple(map(Delete, left))))

    @rule(step=drawn(put=3, get=3, delete=1))
    def one_key(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn(batch=1, **{"import": 1}))
    def many_keys(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn(page=2, next=3, walk=2, stream=2, count=1))
    def scan(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn(resend=6, reuse=3, wait=1, remove=1))
    def seldom(self, step: Step) -> None:
        self.machine.take(step)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Some 30 s, and up to 5 minutes to make what fails short.
def test_every_answer_is_that_of_a_plain_dict(start_up: Callable[..., Up]) -> None:
    WholeApi.own = Own(Exchange([start_up().wait_ready().url]), b"api/", "api", Counter())
    run_state_machine_as_test(
        WholeApi, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, report_multiple_bugs=False)
    )
