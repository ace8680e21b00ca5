"""The checker of counters."""

from __future__ import annotations

import pytest
from checkers.brief import NOT_EXECUTED, UNKNOWN, read, write
from checkers.counter import check_counters
from checkers.history import Anomaly, Op

ONE, TWO = (1, "a"), (2, "b")
ACCEPTED: dict[str, list[Op]] = {
    "counted": [write(ONE, 0, 1), write(TWO, 2, 3), read(TWO, 4, 5)],
    "an unknown one counted": [write(ONE, 0, 1, UNKNOWN), write(TWO, 2, 3), read(TWO, 4, 5)],
    "an unknown one did not": [write(ONE, 0, 1), write(TWO, 2, 3, UNKNOWN), read(ONE, 4, 5)],
    "one version each time": [
        *(write(ONE, 0, 1, version="x"), write(TWO, 2, 3, version="y")),
        *(read(ONE, 1.2, 1.5, version="x"), read(TWO, 4, 5, version="y")),
    ],
}
REFUSED: dict[str, list[Op]] = {
    "lost": [write(ONE, 0, 1), read(None, 4, 5)],
    "lost, though a later one is there": [write(ONE, 0, 1), write((1, "b"), 2, 3), read((1, "b"), 4, 5)],
    "a refused one counted": [write(ONE, 0, 1, NOT_EXECUTED), read(ONE, 4, 5)],
    "it went back": [write(ONE, 0, 1), write(TWO, 2, 3, UNKNOWN), read(TWO, 4, 5), read(ONE, 6, 7)],
    "applied twice, as its version tells": [write(ONE, 0, 1, version="x"), read(ONE, 4, 5, version="z")],
    "one version for two": [write(ONE, 0, 1, version="x"), write(TWO, 2, 3, version="x"), read(TWO, 4, 5)],
    "never asked": [write(ONE, 0, 1), read((1, "z"), 4, 5)],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_counter_may_show_is_accepted(name: str) -> None:
    assert check_counters(ACCEPTED[name]) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        check_counters(REFUSED[name])
