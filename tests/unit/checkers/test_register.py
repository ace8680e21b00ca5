"""The checker of registers accepts what a correct store may show, and refuses everything else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest
from checkers.brief import FAILED, NOT_EXECUTED, UNKNOWN, cas, read, write
from checkers.history import FOR_EVER, Anomaly, Kind, Op, Outcome, by_key
from checkers.register import check_register, check_registers

ACCEPTED: dict[str, list[Op]] = {
    "one after the other": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "a read beside a write shows the old value": [write(1, 0, 1), write(2, 2, 9), read(1, 3, 4), read(2, 5, 6)],
    "a read beside a write shows the new value": [write(1, 0, 1), write(2, 2, 9), read(2, 3, 4)],
    "writes beside each other take effect in any order": [write(1, 0, 9), write(2, 0, 9), read(2, 10, 11)],
    "an unknown write happened": [write(1, 0, 1), write(2, 2, 3, UNKNOWN), read(2, 4, 5)],
    "an unknown write never happened": [write(1, 0, 1), write(2, 2, 3, UNKNOWN), read(1, 4, 5), read(1, 6, 7)],
    "an unknown write happens late": [write(1, 0, 1), write(2, 2, 3, UNKNOWN), read(1, 4, 5), read(2, 6, 7)],
    "an unknown write happens after a later one": [
        write(1, 0, 1, UNKNOWN),
        write(2, 2, 3),
        read(2, 4, 5),
        read(1, 6, 7),
    ],
    "a refused write is not there": [write(1, 0, 1), write(2, 2, 3, NOT_EXECUTED), read(1, 4, 5)],
    "a cas replaces what it expects": [cas(None, 1, 0, 1), cas(1, 2, 2, 3), read(2, 4, 5)],
    "a cas fails over another value": [write(1, 0, 1), write(2, 2, 3), cas(1, 3, 4, 5, FAILED), read(2, 6, 7)],
    "a cas fails because of an unseen write": [write(1, 0, 1), write(2, 2, 3, UNKNOWN), cas(1, 3, 4, 5, FAILED)],
    "a cas fails because of an unseen cas": [write(1, 0, 1), cas(1, 2, 2, 3, UNKNOWN), cas(1, 3, 4, 5, FAILED)],
    "an unknown cas is seen by the next": [write(1, 0, 1), cas(1, 2, 2, 3, UNKNOWN), cas(2, 3, 4, 5), read(3, 6, 7)],
}
REFUSED: dict[str, list[Op]] = {
    "a lost write": [write(1, 0, 1), read(None, 2, 3)],
    "a stale read": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "a read that goes back": [write(1, 0, 1), write(2, 2, 9), read(2, 3, 4), read(1, 5, 6)],
    "a value of nobody": [write(1, 0, 1), read(7, 2, 3)],
    "a refused write is there": [write(1, 0, 1), write(2, 2, 3, NOT_EXECUTED), read(2, 4, 5)],
    "a write is seen before it was asked": [write(1, 0, 1), read(2, 2, 3), write(2, 4, 5)],
    "a cas over what was replaced": [write(1, 0, 1), write(2, 2, 3), cas(1, 3, 4, 5)],
    "two cas over one value": [write(1, 0, 1), cas(1, 2, 2, 9), cas(1, 3, 2, 9)],
    "a cas fails over what it expects": [write(1, 0, 1), cas(1, 2, 2, 3, FAILED)],
    "one unseen write makes cas of two values fail": [
        *(write(9, 0, 1, UNKNOWN), write(1, 2, 3), cas(1, 4, 4, 5, FAILED)),
        *(write(2, 6, 7), cas(2, 5, 8, 9, FAILED)),
    ],
    "an unknown write happens twice": [
        *(write(1, 0, 1), write(2, 2, 3, UNKNOWN), read(2, 4, 5), write(3, 6, 7), read(3, 8, 9), read(2, 10, 11)),
    ],
    "an unseen cas from another value explains no failure": [
        *(write(1, 0, 1), cas(7, 2, 2, 3, UNKNOWN), cas(1, 3, 4, 5, FAILED)),
    ],
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_linearizable_history_is_accepted(name: str) -> None:
    assert check_registers(ACCEPTED[name]) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_any_other_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        check_registers(REFUSED[name])


def test_keys_are_judged_by_themselves() -> None:
    with pytest.raises(Anomaly, match=r"^b "):
        check_registers(
            [write(1, 0, 1), read(1, 2, 3), read(None, 2, 3, key="b"), read(None, 0, 1, key="c"), *broken("b")]
        )


def broken(key: str) -> Iterator[Op]:
    yield Op(0, Kind.WRITE, key, 0, 1, Outcome.DONE, 5)


def random_history(rng: random.Random, count: int, clients: int, *, unknown: float, wrong: float) -> list[Op]:
    """What clients of a real register see, some of it changed to what they cannot."""
    ops: list[Op] = []
    free = [0.0] * clients
    points: list[tuple[float, int, Op]] = []
    for number in range(count):
        client = min(range(clients), key=lambda one: free[one])
        begin = free[client] + rng.random() * 0.3
        end = begin + 0.1 + rng.random()
        free[client] = end
        kind = rng.choice((Kind.READ, Kind.WRITE, Kind.CAS))
        at = begin + (end - begin) * rng.random()
        is_unknown = kind is not Kind.READ and rng.random() < unknown
        if is_unknown:
            at = begin + rng.choice((0.5, 5.0, 1000.0)) * rng.random()
        outcome = Outcome.UNKNOWN if is_unknown else Outcome.DONE
        points.append(
            (at, number, Op(client, kind, "k", begin, end, outcome, number if kind is not Kind.READ else None))
        )
    value: object = None
    recent: list[object] = [None]
    for at, _, op in sorted(points, key=lambda point: point[:2]):
        if at > 900:
            ops.append(op)
        elif op.kind is Kind.READ:
            shown = rng.choice(recent[-4:]) if rng.random() < wrong else value
            ops.append(Op(op.client, op.kind, "k", op.begin, op.end, op.outcome, None, None, shown))
        elif op.kind is Kind.WRITE:
            value = op.asked
            ops.append(op)
        else:
            expected = value if rng.random() < 0.6 else rng.choice(recent[-3:])
            holds = (expected == value) != (rng.random() < wrong)
            outcome = op.outcome if op.outcome is Outcome.UNKNOWN or holds else Outcome.FAILED
            ops.append(Op(op.client, op.kind, "k", op.begin, op.end, outcome, op.asked, expected))
            value = op.asked if holds else value
        recent.append(value)
    return ops


def is_linearizable(ops: Sequence[Op]) -> bool:
    """The definition itself: some order of all that was answered and some of what was not is right."""
    known = [op for op in ops if op.outcome is not Outcome.UNKNOWN]
    open_ = [op for op in ops if op.outcome is Outcome.UNKNOWN]
    subsets = itertools.chain.from_iterable(itertools.combinations(open_, n) for n in range(len(open_) + 1))
    return any(_has_order([*known, *subset], None) for subset in subsets)


def _has_order(left: list[Op], value: object) -> bool:
    if not left:
        return True
    first_end = min(op.end for op in left)
    for op in left:
        if op.begin > first_end:
            continue
        if op.kind is Kind.READ:
            fits, after = op.found == value, value
        elif op.kind is Kind.WRITE:
            fits, after = True, op.asked
        elif op.outcome is Outcome.FAILED:
            fits, after = op.expected != value, value
        else:
            fits, after = op.expected == value, op.asked
        if fits and _has_order([one for one in left if one is not op], after):
            return True
    return False


def test_it_judges_random_histories_as_the_definition_does() -> None:
    rng = random.Random(4)
    verdicts = {True: 0, False: 0}
    for _ in range(1500):
        history = by_key(random_history(rng, rng.randint(4, 8), 3, unknown=0.25, wrong=0.4))["k"]
        expected = is_linearizable(history)
        verdicts[expected] += 1
        try:
            check_register("k", history)
            judged = True
        except Anomaly:
            judged = False
        assert judged == expected, "\n".join(map(str, history))
    assert min(verdicts.values()) > 200


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_operations_with_open_outcomes_are_judged(seed: int) -> None:
    history = random_history(random.Random(seed), 1000, 8, unknown=0.05, wrong=0)
    assert sum(op.outcome is Outcome.UNKNOWN for op in history) > 20
    assert check_registers(history) == 1
    last = max(op.end for op in history if op.end < FOR_EVER)
    with pytest.raises(Anomaly):
        check_registers([*history, write("new", last + 1, last + 2), read(None, last + 3, last + 4)])
