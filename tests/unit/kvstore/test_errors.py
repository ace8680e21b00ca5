"""Errors: every code names one class, and only an unknown outcome is indefinite."""

from __future__ import annotations

import pytest

from kvstore.errors import BY_CODE, KvError, MethodNotAllowed, NoLeader, OutcomeUnknown, from_code


def test_only_an_unknown_outcome_leaves_open_whether_something_was_applied() -> None:
    assert [kind for kind in BY_CODE.values() if not kind.definite] == [OutcomeUnknown]


def test_each_class_has_a_code_of_its_own() -> None:
    def tree(base: type[KvError]) -> list[type[KvError]]:
        return [base, *(found for child in base.__subclasses__() for found in tree(child))]

    kinds = [kind for kind in tree(KvError) if kind.__module__ == KvError.__module__]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.code: kind for kind in kinds} == BY_CODE


@pytest.mark.parametrize("kind", sorted(BY_CODE.values(), key=lambda kind: kind.code), ids=lambda kind: kind.code)
def test_a_status_is_one_of_an_error_and_try_again_means_503_or_429(kind: type[KvError]) -> None:
    assert 400 <= kind.status < 600
    assert (kind.retry_after_s is not None) == (kind.status in (429, 503))


@pytest.mark.parametrize("kind", [kind for kind in BY_CODE.values() if kind is not MethodNotAllowed])
def test_an_error_that_another_process_sent_is_rebuilt_from_its_code(kind: type[KvError]) -> None:
    rebuilt = from_code(kind.code, "because")
    assert type(rebuilt) is kind
    assert rebuilt.detail == "because"


def test_a_code_that_this_version_does_not_know_is_an_internal_error() -> None:
    assert type(from_code("locked_by_aliens", "why")) is KvError
    assert from_code("locked_by_aliens", "why").status == 500


def test_an_error_without_a_detail_says_its_title() -> None:
    assert NoLeader().detail == str(NoLeader()) == "No leader"


def test_a_refused_method_tells_which_are_allowed() -> None:
    error = MethodNotAllowed(("GET", "PUT"))
    assert error.allowed == ("GET", "PUT")
    assert "GET, PUT" in error.detail
