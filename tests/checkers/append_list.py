"""Whether lists that are only appended to grew in one order: nothing lost, nothing doubled.

Guarantees: all reads of a key are prefixes of the longest; each element was to be appended, stands there once, and not
before it was asked; acknowledged ones are in every read that began later, in the order of real time; refused ones in
none. Leaves to others: recording, and a last read of each key. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from checkers.history import Anomaly, Kind, Op, Outcome, by_key, may_have_happened


@dataclass(frozen=True, slots=True)
class _Read:
    op: Op
    items: tuple[object, ...]


def check_lists(ops: Iterable[Op]) -> int:
    """`APPEND` adds `asked` to the list of its key, `READ` finds a tuple, or None; returns how many appends there were.

    Raises:
        Anomaly: an element is missing, doubled or in another place.
    """
    count = 0
    for key, history in by_key(ops).items():
        appends = [op for op in history if op.kind is Kind.APPEND]
        count += len(appends)
        _check_list(key, appends, [_read(op) for op in history if op.kind is Kind.READ and op.outcome is Outcome.DONE])
    return count


def _read(op: Op) -> _Read:
    items = op.found if op.found is not None else ()
    assert isinstance(items, tuple)
    return _Read(op, items)


def _check_list(key: str, appends: Sequence[Op], reads: Sequence[_Read]) -> None:
    longest = max((read.items for read in reads), key=len, default=())
    if len(set(longest)) != len(longest):
        doubled = next(item for item in longest if longest.count(item) > 1)
        raise Anomaly(f"{key}: {doubled!r} was appended twice")
    places = {item: place for place, item in enumerate(longest)}
    possible = {op.asked: op for op in appends if may_have_happened(op)}
    for read in reads:
        if read.items != longest[: len(read.items)]:
            raise Anomaly(f"{key}: two reads show different lists: {read.op}; the longest is {longest!r}")
        _check_read(key, read, appends, possible, places)
    _check_order(key, appends, places)


def _check_read(
    key: str, read: _Read, appends: Sequence[Op], possible: dict[object, Op], places: dict[object, int]
) -> None:
    for item in read.items:
        append = possible.get(item)
        if append is None or append.begin > read.op.end:
            raise Anomaly(f"{key}: {item!r} is there though nobody was to append it by then: {read.op}")
    for op in appends:
        if (
            op.outcome is Outcome.DONE
            and op.end < read.op.begin
            and places.get(op.asked, len(places)) >= len(read.items)
        ):
            raise Anomaly(f"{key}: an acknowledged append is lost: {op}; {read.op}")


def _check_order(key: str, appends: Sequence[Op], places: dict[object, int]) -> None:
    """Elements stand in an order of real time: none after one that was asked when it was done already."""
    there = sorted((op for op in appends if op.asked in places), key=lambda op: places[op.asked])
    latest: Op | None = None
    for op in there:
        if latest is not None and op.end < latest.begin:
            raise Anomaly(f"{key}: {op} stands after {latest}")
        if latest is None or op.begin > latest.begin:
            latest = op
