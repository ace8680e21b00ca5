"""Whether counters counted each increment exactly once, however often it was sent.

Guarantees: a counter never goes back; each increment that was applied has one version for ever, so a second application
of the same one is seen; the last value is at least the increments that were acknowledged, and at most those and the
ones without an answer. Leaves to others: recording, and a last read of each key. Pure.

An increment is a `WRITE` or `CAS` of (number, token), where the number is one more than what its client read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from checkers.history import Anomaly, Kind, Op, Outcome, by_key, check_versions, may_have_happened


def check_counters(ops: Iterable[Op]) -> int:
    """Returns how many increments were acknowledged.

    Raises:
        Anomaly: an increment was lost, applied twice, or applied though it was refused.
    """
    keys = by_key(ops)
    return sum(_check_counter(key, history) for key, history in keys.items())


def _check_counter(key: str, history: Sequence[Op]) -> int:
    reads = [op for op in history if op.kind is Kind.READ and op.outcome is Outcome.DONE]
    increments = [op for op in history if op.kind is not Kind.READ]
    check_versions([*reads, *increments])
    possible = {op.asked for op in increments if may_have_happened(op)}
    for read in reads:
        if read.found is not None and read.found not in possible:
            raise Anomaly(f"{key}: an increment that nobody was to make: {read}")
    _check_rising(key, reads)
    done = sum(op.outcome is Outcome.DONE for op in increments)
    if reads:
        last = max(reads, key=lambda op: op.begin)
        settled = sum(op.outcome is Outcome.DONE and op.end < last.begin for op in increments)
        asked = sum(may_have_happened(op) and op.begin < last.end for op in increments)
        if not settled <= number(last) <= asked:
            raise Anomaly(f"{key}: counted to {number(last)}, of {settled} acknowledged and {asked} asked increments")
    return done


def _check_rising(key: str, reads: Sequence[Op]) -> None:
    """No read that began after another ended shows less."""
    ended = sorted(reads, key=lambda op: op.end)
    highest: Op | None = None
    place = 0
    for read in sorted(reads, key=lambda op: op.begin):
        while place < len(ended) and ended[place].end < read.begin:
            if highest is None or number(ended[place]) > number(highest):
                highest = ended[place]
            place += 1
        if highest is not None and number(read) < number(highest):
            raise Anomaly(f"{key}: it went back: {highest}; {read}")


def number(read: Op) -> int:
    """What the counter stands at."""
    if read.found is None:
        return 0
    assert isinstance(read.found, tuple)
    return int(read.found[0])
