"""The checker of transactions on lists: every class of anomaly by its name, and nothing that could have been."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest
from checkers.brief import DONE, FAILED, NOT_EXECUTED, UNKNOWN
from checkers.history import Anomaly, Outcome
from checkers.transaction_history import Append, Read, Transaction
from checkers.transactions import check_transactions
from hypothesis import given, settings
from hypothesis import strategies as st

Step = Append | Read


def a(item: object, key: str = "x") -> Append:
    return Append(key, item)


def r(*items: object, key: str = "x") -> Read:
    return Read(key, items)


def ay(item: object) -> Append:
    return Append("y", item)


def ry(*items: object) -> Read:
    return Read("y", items)


def t(begin: float, end: float, *steps: Step, outcome: Outcome = DONE) -> Transaction:
    return Transaction(0, begin, end, outcome, steps)


def beside(*steps: Step, outcome: Outcome = DONE) -> Transaction:
    """One at the same time as all others of its kind."""
    return t(0, 9, *steps, outcome=outcome)


ACCEPTED: dict[str, list[Transaction]] = {
    "nothing": [],
    "one after the other": [t(0, 1, r(), a(1)), t(2, 3, r(1), a(2)), t(4, 5, r(1, 2))],
    "beside each other, in any order": [t(0, 9, a(1)), t(0, 9, a(2)), t(10, 11, r(2, 1))],
    "its own appends": [t(0, 1, r(), a(1), r(1), a(2), r(1, 2)), t(2, 3, r(1, 2), a(3), r(1, 2, 3))],
    "an unknown one happened": [t(0, 1, a(1), ay(1), outcome=UNKNOWN), t(2, 3, r(1), ry(1))],
    "an unknown one did not happen": [t(0, 1, a(1), ay(1), outcome=UNKNOWN), t(2, 3, r(), ry())],
    "an unknown one happened late": [t(0, 1, a(1), outcome=UNKNOWN), t(2, 3, r()), t(4, 5, r(1))],
    "an unknown one of which nobody looked for the other half later": [
        t(0, 1, a(1), ay(1), outcome=UNKNOWN),
        t(2, 3, r()),
        t(4, 5, ry(1)),
    ],
    "an unknown one that is known by another unknown one": [
        t(0, 1, a(1), outcome=UNKNOWN),
        t(0, 1, r(1), ay(2), outcome=UNKNOWN),
        t(2, 3, ry(2)),
    ],
    "a refused one is nowhere": [t(0, 1, a(1), outcome=NOT_EXECUTED), t(2, 3, r())],
    "one whose branch was not taken is nowhere": [t(0, 1, r(7), a(1), outcome=FAILED), t(2, 3, r())],
    "an append that nobody looked for": [t(0, 1, a(1)), t(0, 1, ay(2)), t(2, 3, r(1))],
    "an append that ended when the read began": [t(0, 2, a(1)), t(2, 3, r())],
    "a read of old time beside the append": [t(0, 9, a(1)), t(1, 2, r()), t(3, 4, r(1)), t(10, 11, r(1))],
}
REFUSED: dict[str, tuple[str, list[Transaction]]] = {
    "ww both ways": ("G0", [beside(a(1), ay(1)), beside(a(2), ay(2)), beside(r(1, 2)), beside(ry(2, 1))]),
    "a refused append is there": ("G1a", [beside(a(1), outcome=NOT_EXECUTED), beside(r(1))]),
    "an append of the branch that was not taken is there": ("G1a", [beside(a(1), outcome=FAILED), beside(r(1))]),
    "half of a transaction": ("G1b", [beside(a(1), a(2)), beside(r(1)), beside(r(1, 2))]),
    "each read the other": ("G1c", [beside(a(1), ry(1)), beside(ay(1), r(1))]),
    "one is read, and appended to what it read": (
        "G1c",
        [beside(a(1), ry(2)), beside(r(1), a(3)), beside(r(1, 3), ay(2))],
    ),
    "one is read, and appended before nevertheless": (
        "G1c",
        [beside(a(1), ry(2)), beside(a(2), ay(2)), beside(r(1))],
    ),
    "a read of two moments": ("G-single", [beside(a(1), ay(1)), beside(r(1), ry()), beside(ry(1))]),
    "a lost update": ("G-single", [beside(r(), a(1)), beside(r(), a(2)), beside(r(1, 2))]),
    "a lost update that nobody saw last": ("G2-item", [beside(r(), a(1)), beside(r(), a(2))]),
    "write skew": ("G2-item", [beside(r(), ay(1)), beside(ry(), a(1)), beside(r(1), ry(1))]),
    "two moments in two orders": ("G2-item", [beside(a(1)), beside(ay(1)), beside(r(1), ry()), beside(r(), ry(1))]),
    "against the order of time": ("G0-realtime", [t(0, 1, a(1)), t(2, 3, a(2)), t(4, 5, r(2, 1))]),
    "read before it was asked": ("G1c-realtime", [t(0, 1, r(1)), t(2, 3, a(1))]),
    "a stale read": ("G-single-realtime", [t(0, 1, a(1)), t(2, 3, r()), t(4, 5, r(1))]),
    "a stale read, others began and ended between": (
        "G-single-realtime",
        [t(0, 1, a(1)), t(0, 1.5), t(1.2, 9), t(2, 3, r()), t(4, 5, r(1))],
    ),
    "a stale read, with an unknown one between": (
        "G-single-realtime",
        [t(0, 1, a(1), ay(1), outcome=UNKNOWN), t(2, 3, r(1)), t(4, 5, ry()), t(6, 7, ry(1))],
    ),
    "write skew that spans two in turn": (
        "G2-item-realtime",
        [t(0, 1, ay(1)), t(2, 3, r()), t(0, 9, ry(), a(1)), t(10, 11, r(1), ry(1))],
    ),
    "lost": ("lost append", [t(0, 1, a(1)), t(2, 3, r())]),
    "the last is lost": ("lost append", [t(0, 1, a(1)), t(2, 3, a(2)), t(4, 5, r(1))]),
    "one half of an unknown one is lost": (
        "lost append",
        [t(0, 1, a(1), ay(1), outcome=UNKNOWN), t(2, 3, r(1)), t(4, 5, ry())],
    ),
    "one half is there": ("G-single", [beside(a(1), ay(1), outcome=UNKNOWN), beside(r(1), ry())]),
    "doubled": ("duplicated append", [beside(a(1)), beside(r(1, 1))]),
    "two orders": ("incompatible orders", [beside(a(1)), beside(a(2)), beside(r(1, 2)), beside(r(2, 1))]),
    "it went away": ("incompatible orders", [beside(a(1)), beside(a(2)), beside(r(1)), beside(r(2))]),
    "appended to what was refused": (
        "dirty update",
        [beside(a(1), outcome=NOT_EXECUTED), beside(a(2)), beside(r(1, 2))],
    ),
    "never asked": ("x holds 7", [beside(r(7))]),
    "its own append is not there": ("internal", [beside(a(1), r()), t(10, 11, r(1))]),
    "its own append is there too early": ("internal", [beside(r(1), a(1)), t(10, 11, r(1))]),
    "two reads in one": ("internal", [beside(r(), r(1)), beside(a(1))]),
    "its own appends in another order": ("x holds appends", [beside(a(1), a(2)), t(10, 11, r(2, 1))]),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_some_order_gives_is_accepted(name: str) -> None:
    check_transactions(ACCEPTED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused_by_its_name(name: str) -> None:
    expected, history = REFUSED[name]
    with pytest.raises(Anomaly) as refusal:
        check_transactions(history)
    told = str(refusal.value)
    assert told.startswith(expected)
    assert told[len(expected)] in " :,"


def test_a_circle_is_told_with_what_ties_it() -> None:
    with pytest.raises(Anomaly) as refusal:
        check_transactions([t(0, 1, a(1)), t(2, 3, r()), t(4, 5, r(1))])
    assert str(refusal.value).splitlines()[1:] == [
        "  [2.0000..3.0000] client 0: x -> 0 items done  (rw x)",
        "  [0.0000..1.0000] client 0: x + 1 done  (it had ended)",
    ]


def test_elements_that_cannot_be_told_apart_are_no_history() -> None:
    with pytest.raises(ValueError, match="tell them apart"):
        check_transactions([beside(a(1)), beside(a(1))])


def serial(rng: random.Random, count: int, keys: str, span: float, reads: bool = True) -> list[Transaction]:
    """Transactions that took effect one after the other, at whole seconds, each asked and answered around that."""
    lists: dict[str, tuple[object, ...]] = defaultdict(tuple)
    numbers = itertools.count(1)
    history = []
    for moment in range(count):
        outcome = rng.choice((DONE, DONE, DONE, UNKNOWN, NOT_EXECUTED))
        happens = outcome is DONE or (outcome is UNKNOWN and rng.random() < 0.5)
        after = dict(lists)
        steps: list[Step] = []
        for _ in range(rng.randint(1, 4)):
            key = rng.choice(keys)
            if rng.random() < 0.5:
                append = Append(key, next(numbers))
                steps.append(append)
                after[key] = (*after.get(key, ()), append.item)
            else:
                steps.append(Read(key, after.get(key, ())))
        if happens:
            lists.update(after)
        begin, end = moment - rng.random() * span, moment + rng.random() * span
        history.append(Transaction(moment % 5, begin, end, outcome, tuple(steps)))
    if reads:
        last = tuple(Read(key, lists[key]) for key in keys)
        history.append(Transaction(-1, count + span, count + span + 1, DONE, last))
    return history


@given(st.randoms(use_true_random=False), st.integers(0, 40), st.sampled_from(["x", "xyz"]), st.booleans())
def test_serial_histories_pass_however_much_overlaps(rng: random.Random, count: int, keys: str, reads: bool) -> None:
    history = serial(rng, count, keys, span=rng.choice((0.3, 2.0, 10.0)), reads=reads)
    rng.shuffle(history)
    check_transactions(history)


def has_order(history: Sequence[Transaction]) -> bool:
    """Whether any order of those that may have happened gives what was read, by trying all."""
    unknown = [one for one in history if one.outcome is UNKNOWN]
    done = [one for one in history if one.outcome is DONE]
    chosen = itertools.chain.from_iterable(itertools.combinations(unknown, count) for count in range(len(unknown) + 1))
    return any(_fits(order) for some in chosen for order in itertools.permutations([*done, *some]))


def _fits(order: Sequence[Transaction]) -> bool:
    lists: dict[str, tuple[object, ...]] = defaultdict(tuple)
    latest = float("-inf")
    for one in order:
        if one.outcome is DONE and one.end < latest:
            return False
        latest = max(latest, one.begin)
        for step in one.steps:
            if isinstance(step, Append):
                lists[step.key] += (step.item,)
            elif lists[step.key] != step.items:
                return False
    return True


def harmed(rng: random.Random, history: list[Transaction]) -> list[Transaction]:
    """Something is read, ended or refused otherwise than it was; the last read stays."""
    place = rng.randrange(len(history) - 1)
    one = history[place]
    chance = rng.random()
    if chance < 0.6:
        at = rng.randrange(len(one.steps))
        step = one.steps[at]
        if isinstance(step, Read):
            full = next(read.items for read in history[-1].steps if isinstance(read, Read) and read.key == step.key)
            step = Read(step.key, full[: rng.randint(0, len(full))])
        one = replace(one, steps=(*one.steps[:at], step, *one.steps[at + 1 :]))
    elif chance < 0.8:
        begin = one.begin + rng.uniform(-4, 4)
        one = replace(one, begin=begin, end=begin + rng.random())
    else:
        one = replace(one, outcome=rng.choice((DONE, UNKNOWN, NOT_EXECUTED)))
    return [*history[:place], one, *history[place + 1 :]]


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 5))
def test_the_verdict_is_that_of_trying_all_orders(rng: random.Random, count: int) -> None:
    history = serial(rng, count, "xy", span=rng.choice((0.3, 2.0)))
    for _ in range(rng.randint(1, 2)):
        history = harmed(rng, history)
    assert is_accepted(history) == has_order(history)


def is_accepted(history: Sequence[Transaction]) -> bool:
    try:
        check_transactions(history)
    except Anomaly:
        return False
    return True


@pytest.mark.parametrize("is_harmed", [False, True])
def test_many_transactions_are_judged_in_good_time(is_harmed: bool) -> None:
    rng = random.Random(3)
    history = serial(rng, 20_000, "".join(map(chr, range(0x4E00, 0x4E00 + 800))), span=16.0)
    if is_harmed:
        # An append that came first is seen by nobody until far later: everything between hangs together.
        old = Transaction(9, -90.0, -80.0, DONE, (Read("z", ()), Append("z", 0)))
        history = [
            old,
            *history,
            Transaction(9, 15_000.0, 15_001.0, DONE, (Read("z", ()),)),
            Transaction(9, 30_000.0, 30_001.0, DONE, (Read("z", (0,)),)),
        ]
        with pytest.raises(Anomaly, match="G-single-realtime"):
            check_transactions(history)
    else:
        check_transactions(history)
