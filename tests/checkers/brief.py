"""Short ways to write an operation down, for histories in tests."""

from __future__ import annotations

from checkers.history import FOR_EVER, Kind, Op, Outcome

DONE, FAILED, NOT_EXECUTED, UNKNOWN = Outcome.DONE, Outcome.FAILED, Outcome.NOT_EXECUTED, Outcome.UNKNOWN


def read(found: object, begin: float, end: float, *, key: str = "k", version: str = "") -> Op:
    return Op(0, Kind.READ, key, begin, end, DONE, found=found, version=version)


def write(value: object, begin: float, end: float, outcome: Outcome = DONE, *, version: str = "") -> Op:
    return Op(0, Kind.WRITE, "k", begin, FOR_EVER if outcome is UNKNOWN else end, outcome, value, version=version)


def cas(expected: object, value: object, begin: float, end: float, outcome: Outcome = DONE) -> Op:
    return Op(0, Kind.CAS, "k", begin, FOR_EVER if outcome is UNKNOWN else end, outcome, value, expected)


def delete(begin: float, end: float, outcome: Outcome = DONE) -> Op:
    return Op(0, Kind.DELETE, "k", begin, FOR_EVER if outcome is UNKNOWN else end, outcome)


def append(item: object, begin: float, end: float, outcome: Outcome = DONE) -> Op:
    return Op(0, Kind.APPEND, "k", begin, FOR_EVER if outcome is UNKNOWN else end, outcome, item)
