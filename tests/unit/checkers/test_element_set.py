"""The checker of sets."""

from __future__ import annotations

import pytest
from checkers.brief import NOT_EXECUTED, UNKNOWN, delete, read, write
from checkers.element_set import check_set
from checkers.history import Anomaly, Op

ACCEPTED: dict[str, list[Op]] = {
    "added and found": [write(1, 0, 1), read(1, 2, 3)],
    "a read beside the add finds nothing": [write(1, 0, 9), read(None, 2, 3)],
    "an unknown add is there": [write(1, 0, 1, UNKNOWN), read(1, 2, 3)],
    "an unknown add is not there": [write(1, 0, 1, UNKNOWN), read(None, 2, 3)],
    "deleted and gone": [write(1, 0, 1), delete(2, 3), read(None, 4, 5)],
    "an unknown delete happened": [write(1, 0, 1), delete(2, 3, UNKNOWN), read(None, 4, 5)],
    "an unknown delete happens late": [write(1, 0, 1), delete(2, 3, UNKNOWN), read(1, 4, 5), read(None, 6, 7)],
    "a read beside the delete": [write(1, 0, 1), delete(2, 9), read(1, 4, 5)],
    "an unknown add comes after the delete": [write(1, 0, 1, UNKNOWN), delete(2, 3), read(1, 4, 5)],
    "a refused add is not there": [write(1, 0, 1, NOT_EXECUTED), read(None, 2, 3)],
    "nobody asked": [read(None, 0, 1)],
}
REFUSED: dict[str, list[Op]] = {
    "lost": [write(1, 0, 1), read(None, 2, 3)],
    "lost although a delete was refused": [write(1, 0, 1), delete(2, 3, NOT_EXECUTED), read(None, 4, 5)],
    "gone before the delete was asked": [write(1, 0, 1), read(None, 2, 3), delete(4, 5)],
    "back from the dead": [write(1, 0, 1), delete(2, 3), read(1, 4, 5)],
    "a refused add is there": [write(1, 0, 1, NOT_EXECUTED), read(1, 2, 3)],
    "there before it was asked": [read(1, 0, 1), write(1, 2, 3)],
    "another value": [write(1, 0, 1), read(2, 2, 3)],
    "never asked": [read(1, 0, 1)],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_set_may_show_is_accepted(name: str) -> None:
    assert check_set(ACCEPTED[name]) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        check_set(REFUSED[name])
