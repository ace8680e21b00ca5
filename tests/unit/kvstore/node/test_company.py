"""Which rows of other nodes a batch waits for."""

from __future__ import annotations

import pytest

from kvstore.node.company import LARGE, Company


@pytest.fixture
def company() -> Company:
    """The batch before was a large one, with rows of n2 and n3."""
    company = Company()
    company.wrote(LARGE)
    company.heard("n2", 1)
    company.heard("n3", 1)
    company.begin()
    return company


def test_the_first_batch_waits_for_nobody() -> None:
    assert Company().is_complete


def test_a_batch_is_complete_when_all_have_sent_rows_that_did_so_before(company: Company) -> None:
    company.wrote(3)
    company.heard("n2", 1)
    assert not company.is_complete
    company.heard("n4", 1)
    assert not company.is_complete
    company.heard("n3", 1)
    assert company.is_complete


def test_news_without_rows_are_no_company(company: Company) -> None:
    company.heard("n2", 1)
    company.heard("n3", 0)
    assert not company.is_complete


def test_who_had_nothing_to_send_is_not_expected_again(company: Company) -> None:
    company.wrote(LARGE)
    company.heard("n2", 1)
    company.give_up()
    assert company.is_complete
    company.begin()
    assert not company.is_complete
    company.heard("n2", 1)
    assert company.is_complete


@pytest.mark.parametrize(("writes", "is_complete"), [(LARGE - 2, True), (LARGE - 1, False)])
def test_nobody_is_expected_after_a_small_batch(company: Company, writes: int, is_complete: bool) -> None:
    company.heard("n2", 1)
    company.wrote(writes)
    company.begin()
    assert company.is_complete is is_complete


def test_a_batch_without_new_rows_changes_nothing(company: Company) -> None:
    company.begin()
    assert not company.is_complete
    company.heard("n2", 1)
    company.heard("n3", 1)
    assert company.is_complete
