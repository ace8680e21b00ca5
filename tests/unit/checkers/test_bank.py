"""The checker of banks."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from checkers.bank import Snapshot, Transfer, check_bank
from checkers.brief import DONE, FAILED, NOT_EXECUTED, UNKNOWN
from checkers.history import FOR_EVER, Anomaly, Outcome
from hypothesis import given
from hypothesis import strategies as st

START = {"a": 10, "b": 10, "c": 10}


def move(name: str, source: str, target: str, amount: int, outcome: Outcome = DONE) -> Transfer:
    return Transfer(1, 0.0, FOR_EVER if outcome is UNKNOWN else 1.0, outcome, name, source, target, amount)


def seen(a: int, b: int, c: int, begin: float = 0.5) -> Snapshot:
    return Snapshot(2, begin, begin + 0.1, {"a": a, "b": b, "c": c})


LAST = seen(7, 13, 10, begin=5)
FIRST = move("1", "a", "b", 3)
ACCEPTED: dict[str, tuple[list[Transfer], list[Snapshot], set[str]]] = {
    "nothing happened": ([], [seen(10, 10, 10)], set()),
    "one transfer": ([FIRST], [seen(10, 10, 10), seen(7, 13, 10), LAST], {"1"}),
    "an unknown one happened": ([replace(FIRST, outcome=UNKNOWN)], [LAST], {"1"}),
    "an unknown one did not happen": ([FIRST, move("2", "b", "c", 1, UNKNOWN)], [LAST], {"1"}),
    "refused ones did not happen": (
        [FIRST, move("2", "b", "c", 1, FAILED), move("3", "b", "c", 1, NOT_EXECUTED)],
        [LAST],
        {"1"},
    ),
    "all the money of an account": ([move("1", "a", "b", 10)], [seen(0, 20, 10)], {"1"}),
}
REFUSED: dict[str, tuple[str, list[Transfer], list[Snapshot], set[str]]] = {
    "a snapshot of two moments": ("27 in all", [FIRST], [seen(7, 10, 10), LAST], {"1"}),
    "money out of nothing": ("33 in all", [FIRST], [LAST, seen(10, 13, 10, begin=9)], {"1"}),
    "less than nothing": ("less than nothing", [move("1", "a", "b", 11)], [seen(-1, 21, 10)], {"1"}),
    "an account is missing": ("accounts", [], [Snapshot(2, 0, 1, {"a": 15, "b": 15})], set()),
    "an acknowledged one is lost, with its receipt": ("an acknowledged", [FIRST], [seen(10, 10, 10)], set()),
    "an acknowledged one is lost, but for its receipt": ("a holds 10", [FIRST], [seen(10, 10, 10)], {"1"}),
    "twice": ("a holds 4", [FIRST], [seen(4, 16, 10)], {"1"}),
    "an unknown one left no receipt": (
        "a holds 7",
        [replace(FIRST, outcome=UNKNOWN)],
        [LAST],
        set(),
    ),
    "a refused one happened": ("a refused", [replace(FIRST, outcome=NOT_EXECUTED)], [LAST], {"1"}),
    "a failed one happened": ("a refused", [replace(FIRST, outcome=FAILED)], [LAST], {"1"}),
    "a receipt of nobody": ("receipts", [FIRST], [LAST], {"1", "2"}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_transfers_leave_is_accepted(name: str) -> None:
    transfers, snapshots, receipts = ACCEPTED[name]
    assert check_bank(START, transfers, snapshots, receipts) == len(receipts)


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    expected, transfers, snapshots, receipts = REFUSED[name]
    with pytest.raises(Anomaly) as refusal:
        check_bank(START, transfers, snapshots, receipts)
    assert str(refusal.value).startswith(expected)


@given(st.randoms(use_true_random=False), st.integers(1, 60), st.booleans())
def test_a_bank_without_fault_passes_and_one_that_loses_a_transfer_does_not(
    rng: random.Random, count: int, loses: bool
) -> None:
    balances = dict(START)
    transfers, snapshots, receipts = [], [], set()
    lost = rng.randrange(count) if loses else None
    for number in range(count):
        source, target = rng.sample(sorted(balances), 2)
        outcome = DONE if number == lost else rng.choice((DONE, UNKNOWN, NOT_EXECUTED, FAILED))
        transfer = move(f"r{number}", source, target, rng.randint(1, 3), outcome)
        if number != lost and balances[source] < transfer.amount:
            continue
        transfers.append(transfer)
        if outcome is DONE or (outcome is UNKNOWN and rng.random() < 0.5):
            receipts.add(transfer.receipt)
            if number != lost:
                balances[source] -= transfer.amount
                balances[target] += transfer.amount
        snapshots.append(Snapshot(2, number, number, dict(balances)))
    snapshots.append(Snapshot(2, count, count, dict(balances)))
    if loses:
        with pytest.raises(Anomaly, match="is right"):
            check_bank(START, transfers, snapshots, receipts)
    else:
        assert check_bank(START, transfers, snapshots, receipts) == len(receipts)
