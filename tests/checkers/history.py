"""What clients asked, and what they were told: the words that workloads record and checkers read.

Guarantees: an operation that was refused (`NOT_EXECUTED`) is a hard claim of the server's, one without an answer
(`UNKNOWN`) may have happened at any time after it was asked, or never. Leaves to others: what is right (one checker
each). Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

FOR_EVER = float("inf")


class Anomaly(AssertionError):
    """The history is none that a correct store gives."""


class Kind(Enum):
    READ = "read"
    WRITE = "write"
    CAS = "cas"
    DELETE = "delete"
    APPEND = "append"


class Outcome(Enum):
    DONE = "done"
    FAILED = "failed"
    NOT_EXECUTED = "not executed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `begin` is before it left, `end` after its answer came, in seconds of one clock.

    `asked` is what was to be written, `expected` what a cas was to replace (None: nothing), `found` what a read
    returned (None: nothing there). `FAILED` is a cas that was told that the key holds something else.
    """

    client: int
    kind: Kind
    key: str
    begin: float
    end: float
    outcome: Outcome
    asked: object = None
    expected: object = None
    found: object = None
    version: str = ""

    def __str__(self) -> str:
        what = {Kind.READ: f"-> {self.found!r}", Kind.CAS: f"{self.expected!r} -> {self.asked!r}"}
        text = what.get(self.kind, repr(self.asked))
        until = "" if self.end == FOR_EVER else f"{self.end:.4f}"
        when = f"[{self.begin:.4f}..{until}] client {self.client}"
        return f"{when}: {self.kind.value} {self.key} {text} {self.outcome.value}"


def by_key(ops: Iterable[Op]) -> dict[str, list[Op]]:
    """The operations of each key, in the order of their beginning; those without an answer end never."""
    found: dict[str, list[Op]] = defaultdict(list)
    for op in sorted(ops, key=lambda one: one.begin):
        found[op.key].append(replace(op, end=FOR_EVER) if op.outcome is Outcome.UNKNOWN else op)
    return dict(found)


def may_have_happened(op: Op) -> bool:
    """Whether the operation did something, or may have."""
    return op.outcome in (Outcome.DONE, Outcome.UNKNOWN)


def check_versions(ops: Sequence[Op]) -> None:
    """Each value of a key has one version for ever, and each version one value.

    Raises:
        Anomaly: a value was seen under two versions (it was applied twice), or two values under one.
    """
    values: dict[tuple[str, str], object] = {}
    versions: dict[tuple[str, object], str] = {}
    for op in ops:
        value = op.found if op.kind is Kind.READ else op.asked
        if not op.version or value is None:
            continue
        first = versions.setdefault((op.key, value), op.version)
        if first != op.version:
            raise Anomaly(f"{op.key}: {value!r} has the versions {first} and {op.version}: it was applied twice")
        named = values.setdefault((op.key, op.version), value)
        if named != value:
            raise Anomaly(f"{op.key}: version {op.version} is that of {named!r} and of {value!r}")
