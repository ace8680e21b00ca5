"""A call that is answered once, and one that does not wait for what only some of its parts wait for."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from kvstore.messages import Fault, ReadResult, WriteResult, Written
from kvstore.node.pending import STILL_OPEN, PendingUrgent
from kvstore.replication.answers import LATER

WRITTEN = Written(True, 1, 7, 2)


@pytest.fixture
def waiting() -> set[PendingUrgent]:
    return set()


@pytest.fixture
def connection() -> Mock:
    return Mock()


def pending(connection: Mock, waiting: set[PendingUrgent], results: list[Any], now_ms: int | None) -> PendingUrgent:
    call = PendingUrgent(connection, 5, now_ms, 100, waiting)
    call.results += results
    call.open_parts = results.count(LATER)
    return call


def test_all_parts_settled_are_one_answer(connection: Mock, waiting: set[PendingUrgent]) -> None:
    call = pending(connection, waiting, [LATER, LATER], None)
    call.settle(1, WRITTEN)
    assert call in waiting
    call.settle(0, Fault("full", ""))
    connection.answer.assert_called_once_with(5, WriteResult([Fault("full", ""), WRITTEN]))
    assert not waiting


@pytest.mark.parametrize(("now_ms", "made"), [(None, WriteResult), (9, lambda results: ReadResult(9, results))])
def test_what_is_known_is_told_and_what_comes_later_is_not(
    connection: Mock, waiting: set[PendingUrgent], now_ms: int | None, made: Any
) -> None:
    call = pending(connection, waiting, [LATER, LATER, None], now_ms)
    call.settle(0, WRITTEN)
    assert call.is_partly_known
    call.answer_known()
    connection.answer.assert_called_once_with(5, made([WRITTEN, STILL_OPEN, None]))
    assert not waiting
    call.settle(1, WRITTEN)
    assert connection.answer.call_count == 1


def test_of_one_whose_parts_are_all_open_nothing_is_known(connection: Mock, waiting: set[PendingUrgent]) -> None:
    assert not pending(connection, waiting, [LATER, LATER], None).is_partly_known
