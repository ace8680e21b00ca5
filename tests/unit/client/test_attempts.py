"""When a request is tried again."""

import pytest

from kvstore.client.attempts import PAUSE_S_MAX, pause_before_retry, retry_after_s, told
from kvstore.errors import (
    KeyNotFound,
    NoLeader,
    NotBuiltYet,
    OutcomeUnknown,
    Overloaded,
    PreconditionFailed,
    TokenReused,
)


@pytest.mark.parametrize("error", [NoLeader(), Overloaded()])
def test_a_refusal_that_applied_nothing_is_tried_again(error: NoLeader) -> None:
    assert pause_before_retry(error, 1, 0.0, 10.0, 0.5) is not None


@pytest.mark.parametrize("error", [OutcomeUnknown(), KeyNotFound(), PreconditionFailed(), NotBuiltYet()])
def test_nothing_else_is(error: OutcomeUnknown) -> None:
    assert pause_before_retry(error, 1, 0.0, 10.0, 0.5) is None


def test_under_a_token_an_unknown_outcome_is_asked_for_again() -> None:
    assert pause_before_retry(OutcomeUnknown(), 1, 0.0, 10.0, 0.5, has_token=True) is not None
    assert pause_before_retry(PreconditionFailed(), 1, 0.0, 10.0, 0.5, has_token=True) is None


def test_what_is_told_after_an_unknown_attempt_is_its_outcome_or_that_it_is_unknown() -> None:
    unknown = OutcomeUnknown()
    for outcome in (PreconditionFailed(), TokenReused()):
        assert told(outcome, unknown) is outcome
    for nothing in (NoLeader(), Overloaded(), NotBuiltYet()):
        assert told(nothing, unknown) is unknown
        assert told(nothing, None) is nothing


def test_the_pause_is_at_least_what_the_server_asked_for() -> None:
    assert pause_before_retry(NoLeader(), 1, 3.0, 10.0, 0.0) == 3.0


def test_there_is_no_attempt_past_the_deadline() -> None:
    assert pause_before_retry(NoLeader(), 1, 3.0, 2.9, 0.0) is None


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = [pause_before_retry(NoLeader(), attempt, 0.0, 100.0, 1.0) for attempt in range(1, 40)]
    assert pauses == sorted(pauses, key=lambda pause: pause or 0)
    assert pauses[-1] == PAUSE_S_MAX


@pytest.mark.parametrize(("header", "seconds"), [(None, 0), ("2", 2), ("٣", 0), ("-1", 0), ("Fri, 31 Dec", 0)])
def test_retry_after_is_read_as_ascii_seconds(header: str | None, seconds: int) -> None:
    assert retry_after_s(header) == seconds
