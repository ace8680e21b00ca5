"""Exit codes of the contract."""

import sys
from unittest.mock import Mock

import pytest
from pydantic import BaseModel, Field, ValidationError, model_validator

from cluster.cli.exits import ExitCode, complain, exit_code, explain_settings, worst
from kvstore.client import Unreachable
from kvstore.errors import (
    BY_CODE,
    BadKey,
    Conflict,
    KeyNotFound,
    KvError,
    NoLeader,
    NotBuiltYet,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    StorageFull,
    ValueTooLarge,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyNotFound(), 1),
        (NotFound(), 1),
        (PreconditionFailed(), 1),
        (Conflict(), 1),
        (BadKey(), 2),
        (ValueTooLarge(), 2),
        (NotBuiltYet(), 2),
        (NoLeader(), 3),
        (StorageFull(), 3),
        (Unreachable(), 3),
        (KvError(), 3),
        (OutcomeUnknown(), 4),
    ],
)
def test_each_kind_of_failure_has_its_code(error: KvError, code: int) -> None:
    assert exit_code(error) == code


def test_no_error_ends_as_a_success() -> None:
    errors = [kind(("GET",)) if code == "method_not_allowed" else kind("x") for code, kind in BY_CODE.items()]
    assert all(exit_code(error) != ExitCode.DONE for error in errors)


def test_an_unknown_outcome_outweighs_all_others() -> None:
    assert worst([ExitCode.DONE, ExitCode.OUTCOME_UNKNOWN, ExitCode.UNAVAILABLE]) is ExitCode.OUTCOME_UNKNOWN
    assert worst([]) is ExitCode.DONE


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("two\nlines")
    assert capsys.readouterr().err == "kvstore: two lines\n"


class _Settings(BaseModel):
    tick_s: float = Field(gt=0)
    report_s: float = 1.0

    @model_validator(mode="after")
    def _relations(self) -> "_Settings":
        if self.tick_s > self.report_s:
            raise ValueError("tick_s must not exceed report_s")
        return self


def test_a_refused_setting_is_named_as_option_and_variable() -> None:
    with pytest.raises(ValidationError) as caught:
        _Settings(tick_s=-1)
    told = "KVSTORE_TICK_S): Input should be greater than 0"
    assert explain_settings(caught.value, {"--tick-s"}).startswith(f"--tick-s ({told}")
    assert explain_settings(caught.value, {"--tick"}).startswith(told.replace(")", ""))


def test_a_broken_relation_is_told_as_it_is() -> None:
    with pytest.raises(ValidationError) as caught:
        _Settings(tick_s=2)
    assert explain_settings(caught.value, ()) == "tick_s must not exceed report_s"


def test_a_complaint_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Mock(write=Mock(side_effect=BrokenPipeError)))
    complain("n1 ended")
