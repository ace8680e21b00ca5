"""The whole HTTP API, request after request as chance has it, answers as a plain dict would.

The steps and the judge are those of `make state-machine`, which kills and moves meanwhile; here nothing is harmed, so
that what fails is made as short as can be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from probe.machine.exchange import Exchange
from probe.machine.machine import Machine
from probe.machine.own import Own
from probe.machine.steps import ENDINGS, KINDS, Batch, Delete, Step
from probe.up import Up

EXAMPLES, STEPS = 30, 50


def drawn(kind: str) -> st.SearchStrategy[Step]:
    """Steps of this kind, from a source of chance that can be replayed and made smaller."""
    return st.randoms(use_true_random=False).map(KINDS[kind])


class WholeApi(RuleBasedStateMachine):
    """Each run begins with no keys, on what is known of those before: versions never come again."""

    own: ClassVar[Own]

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine(self.own)
        self.machine.take(Batch(tuple(Delete(key) for key in range(len(ENDINGS)))))

    @rule(step=drawn("put"))
    def put(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("get"))
    def get(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("delete"))
    def delete(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("batch"))
    def batch(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("import"))
    def import_(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("page"))
    def page(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("next"))
    def next_page(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=st.one_of(drawn("stream"), drawn("count")))
    def scan(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=drawn("remove"))
    def remove(self, step: Step) -> None:
        self.machine.take(step)

    @rule(step=st.one_of(drawn("resend"), drawn("reuse"), drawn("wait")))
    def later(self, step: Step) -> None:
        self.machine.take(step)


@pytest.mark.slow
def test_every_answer_is_that_of_a_plain_dict(start_up: Callable[..., Up]) -> None:
    WholeApi.own = Own(Exchange([start_up().wait_ready().url]), b"api/", "api", Counter())
    run_state_machine_as_test(WholeApi, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS))
