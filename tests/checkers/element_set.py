"""Whether a set kept every element: elements are added once, may be deleted later, and are read.

Guarantees: an acknowledged add is found by every read that began later, unless a delete was asked; an acknowledged
delete of an acknowledged add stays; what was never asked, or was refused, is never found. Leaves to others: recording.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from checkers.history import Anomaly, Kind, Op, Outcome, by_key, may_have_happened


def check_set(ops: Iterable[Op]) -> int:
    """Each key is an element: `WRITE` adds it, `DELETE` takes it out, `READ` looks for it; returns how many there are.

    Raises:
        Anomaly: an element is missing, came back, or was never to be there.
    """
    elements = by_key(ops)
    for history in elements.values():
        reads = [op for op in history if op.kind is Kind.READ and op.outcome is Outcome.DONE]
        adds = [op for op in history if op.kind is Kind.WRITE and may_have_happened(op)]
        deletes = [op for op in history if op.kind is Kind.DELETE and may_have_happened(op)]
        for read in reads:
            _check_read(read, adds, deletes)
    return len(elements)


def _check_read(read: Op, adds: Sequence[Op], deletes: Sequence[Op]) -> None:
    added = [op for op in adds if op.begin < read.end]
    if read.found is not None:
        if not any(op.asked == read.found for op in added):
            raise Anomaly(f"an element that nobody was to add: {read}")
        gone = [op for op in deletes if op.outcome is Outcome.DONE and op.end < read.begin]
        if any(all(add.end < delete.begin for add in added) for delete in gone):
            raise Anomaly(f"an element that was deleted came back: {read}; {gone[0]}")
        return
    kept = [op for op in added if op.outcome is Outcome.DONE and op.end < read.begin]
    if kept and not any(op.begin < read.end for op in deletes):
        raise Anomaly(f"an acknowledged element is lost: {kept[0]}; {read}")
