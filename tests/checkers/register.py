"""Whether the operations on registers are linearizable: reads, writes of values that are written once, and cas.

Guarantees: each key is judged by itself (linearizability is local), by the search of Wing and Gong with Lowe's
just-in-time rule: the events are walked in the order of time, with all configurations (value, operations that took
effect and were not answered yet) that explain them so far; an answer ends those in which its operation cannot have
taken effect by now. A history is refused only when none is left. Leaves to others: recording. Pure.

What keeps it fast: an operation that changes nothing takes effect at the first moment it can, for it stands in nobody's
way. A write without an answer whose value somebody saw must have happened before the end of that sight. One whose value
nobody ever saw serves only to make a cas fail, so it takes effect only when one needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from checkers.history import FOR_EVER, Anomaly, Kind, Op, Outcome, by_key

CONFIGURATIONS_MAX = 200_000
SHOWN = 12


class Unseen:
    """Some value that nobody saw."""


UNSEEN = Unseen()


class Configuration(NamedTuple):
    """What the register holds, and which pending operations took effect already, as bits."""

    value: object
    done: int


def check_registers(ops: Iterable[Op]) -> int:
    """Returns how many keys were judged.

    Raises:
        Anomaly: the operations of a key can stand in no order.
    """
    keys = by_key(ops)
    for key, history in keys.items():
        check_register(key, history)
    return len(keys)


def check_register(key: str, history: Sequence[Op]) -> None:
    """One key, whose operations are in the order of their beginning, as `by_key` gives them."""
    ops = [op for op in history if op.outcome is not Outcome.NOT_EXECUTED]
    ops = [op for op in ops if op.kind is not Kind.READ or op.outcome is Outcome.DONE]
    _check_values(key, ops)
    ops = _end_what_was_seen(ops)
    search = _Search(ops)
    for number, is_begin in _events(ops):
        if is_begin:
            search.begin(number)
        elif not search.end(number):
            raise Anomaly(f"{key} is not linearizable at {ops[number]}\n{_around(ops, ops[number])}")


def _check_values(key: str, ops: Sequence[Op]) -> None:
    written = [op.asked for op in ops if op.kind is not Kind.READ]
    if len(set(written)) != len(written):
        raise ValueError(f"{key}: values have to be written once, or nobody can tell them apart")
    known = {*written, None}
    for op in ops:
        if op.kind is Kind.READ and op.found not in known:
            raise Anomaly(f"{key} holds a value that nobody was to write: {op}")


def _end_what_was_seen(ops: Sequence[Op]) -> list[Op]:
    """Give writes without an answer the end by which somebody knew of their value."""
    seen: dict[object, float] = {}
    writers = {op.asked: op for op in ops if op.kind is not Kind.READ}

    def see(value: object, end: float) -> None:
        while end < seen.get(value, FOR_EVER):
            seen[value] = end
            writer = writers.get(value)
            if writer is None or writer.kind is not Kind.CAS:
                return
            value = writer.expected

    for op in ops:
        if op.kind is Kind.READ:
            see(op.found, op.end)
        elif op.kind is Kind.CAS and op.outcome is Outcome.DONE:
            see(op.expected, op.end)
    return [replace(op, end=min(op.end, seen.get(op.asked, FOR_EVER))) if _is_unknown(op) else op for op in ops]


def _is_unknown(op: Op) -> bool:
    return op.outcome is Outcome.UNKNOWN


def _events(ops: Sequence[Op]) -> Iterator[tuple[int, bool]]:
    """Number and whether it is the beginning; at one and the same moment beginnings come first, which refuses less."""
    events = [(op.begin, 0, number) for number, op in enumerate(ops)]
    events += [(op.end, 1, number) for number, op in enumerate(ops) if op.end < FOR_EVER]
    return ((number, order == 0) for _, order, number in sorted(events))


class _Search:
    """All configurations that explain what was seen so far."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self._ops = ops
        self._changing: dict[int, Op] = {}
        # Pending reads and failed cas by their bit: what the register holds when they take effect, or does not hold.
        self._reads: dict[int, object] = {}
        self._failures: dict[int, object] = {}
        self._spare = 0
        # Each with the fewest unseen writes that it used up: more of them left never explains less.
        self._found: dict[Configuration, int] = {Configuration(None, 0): 0}

    def begin(self, number: int) -> None:
        op, bit = self._ops[number], 1 << number
        if op.kind is Kind.READ:
            self._reads[bit] = op.found
        elif op.outcome is Outcome.FAILED:
            self._failures[bit] = op.expected
        elif op.kind is Kind.WRITE and op.end == FOR_EVER:
            self._spare += 1
            return
        else:
            self._changing[bit] = op
            return
        settled: dict[Configuration, int] = {}
        for one, used in self._found.items():
            after = self._settle(one.value, one.done)
            settled[after] = min(used, settled.get(after, used))
        self._found = settled

    def end(self, number: int) -> bool:
        """The answer of `number` came; returns whether any configuration is left."""
        bit = 1 << number
        left: dict[Configuration, int] = {}
        seen: dict[Configuration, int] = {}
        waiting = list(self._found.items())
        while waiting:
            one, used = waiting.pop()
            if used >= seen.get(one, self._spare + 1):
                continue
            seen[one] = used
            assert len(seen) < CONFIGURATIONS_MAX, "too much is open at a time to be judged"
            if one.done & bit:
                after = Configuration(one.value, one.done & ~bit)
                left[after] = min(used, left.get(after, used))
                continue
            for other, op in self._changing.items():
                if not one.done & other and (op.kind is Kind.WRITE or op.expected == one.value):
                    waiting.append((self._settle(op.asked, one.done | other), used))
            if bit in self._failures:
                waiting.append((self._settle(UNSEEN, one.done), used + 1))
        for pending in (self._changing, self._reads, self._failures):
            pending.pop(bit, None)
        self._found = left
        return bool(left)

    def _settle(self, value: object, done: int) -> Configuration:
        """Let everything that changes nothing, and fits now, take effect."""
        for bit, found in self._reads.items():
            if found == value:
                done |= bit
        for bit, expected in self._failures.items():
            if expected != value:
                done |= bit
        return Configuration(value, done)


def _around(ops: Sequence[Op], culprit: Op) -> str:
    before = [op for op in ops if op.begin <= culprit.end]
    return "\n".join(str(op) for op in before[-SHOWN:])
