"""The probe that ends coordinators, in short, and what it takes for torn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from probe import kill_coordinator
from probe.kill_coordinator import AFTER, BEFORE, TOLD, NotResolved, Rounds
from probe.pairs import Pair, Torn


@pytest.mark.slow
async def test_transactions_are_resolved_as_a_whole_whatever_their_coordinator_came_to(tmp_path: Path) -> None:
    rounds = await kill_coordinator.run([BEFORE, AFTER, TOLD], seed=3, data=tmp_path)
    assert rounds.met == {BEFORE: 1, AFTER: 1, TOLD: 1}


def pair(settled: str | None, asked: str | None) -> Pair:
    return Pair(("a", "b"), settled, asked)


@pytest.mark.parametrize(
    ("settled", "asked", "found", "fate"),
    [
        (None, None, None, ""),
        ("1", None, "1", ""),
        ("1", "2", "2", "committed"),
        ("1", "2", "1", "aborted"),
        (None, "2", None, "aborted"),
    ],
)
def test_a_whole_transaction_is_there_or_not(
    settled: str | None, asked: str | None, found: str | None, fate: str
) -> None:
    assert pair(settled, asked).fate({"a": found, "b": found}) == fate


@pytest.mark.parametrize(
    ("settled", "asked", "one", "other"),
    [
        ("1", "2", "1", "2"),
        ("1", "2", "2", "1"),
        ("1", None, None, None),
        ("1", None, "0", "0"),
        (None, "2", "2", None),
    ],
)
def test_anything_else_is_torn(settled: str | None, asked: str | None, one: str | None, other: str | None) -> None:
    with pytest.raises(Torn):
        pair(settled, asked).fate({"a": one, "b": other})


@pytest.mark.parametrize(("point", "fate"), [(BEFORE, "committed"), (AFTER, "aborted")])
def test_the_transaction_at_which_it_ended_has_one_fate(point: str, fate: str) -> None:
    with pytest.raises(NotResolved):
        Rounds().take(point, 1.0, Counter({fate: 1}))
