"""The checker of lists."""

from __future__ import annotations

import pytest
from checkers.append_list import check_lists
from checkers.brief import NOT_EXECUTED, UNKNOWN, append, read
from checkers.history import Anomaly, Op

ACCEPTED: dict[str, list[Op]] = {
    "in order": [append(1, 0, 1), append(2, 2, 3), read((1,), 1.5, 1.8), read((1, 2), 4, 5)],
    "beside each other, in any order": [append(1, 0, 9), append(2, 0, 9), read((2, 1), 10, 11)],
    "an unknown append is there": [append(1, 0, 1, UNKNOWN), append(2, 2, 3), read((2, 1), 4, 5)],
    "an unknown append is not there": [append(1, 0, 1, UNKNOWN), append(2, 2, 3), read((2,), 4, 5)],
    "a refused append is not there": [append(1, 0, 1, NOT_EXECUTED), read(None, 4, 5)],
    "a read beside the append": [append(1, 0, 9), read(None, 4, 5), read((1,), 10, 11)],
}
REFUSED: dict[str, list[Op]] = {
    "lost": [append(1, 0, 1), append(2, 2, 3), read((2,), 4, 5)],
    "lost again": [append(1, 0, 1), read((1,), 2, 3), read(None, 4, 5)],
    "all lost": [append(1, 0, 1), read(None, 4, 5)],
    "doubled": [append(1, 0, 1), append(2, 2, 3), read((1, 2, 1), 4, 5)],
    "two orders": [append(1, 0, 9), append(2, 0, 9), read((1, 2), 10, 11), read((2, 1), 12, 13)],
    "a refused append is there": [append(1, 0, 1, NOT_EXECUTED), read((1,), 4, 5)],
    "never asked": [append(1, 0, 1), read((1, 7), 4, 5)],
    "there before it was asked": [read((1,), 0, 1), append(1, 2, 3), read((1,), 4, 5)],
    "against the order of time": [append(1, 0, 1), append(2, 2, 3), read((2, 1), 4, 5)],
    "against the order of time, with an unknown one": [append(1, 0, 1), append(2, 2, 3, UNKNOWN), read((2, 1), 4, 5)],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_list_may_show_is_accepted(name: str) -> None:
    assert check_lists(ACCEPTED[name]) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        check_lists(REFUSED[name])
