"""Transactions on lists, as clients asked them and were told: what workloads record and `transactions` judges.

Guarantees: a transaction that was refused (409, 503), or whose branch was not taken, is a hard claim of the server's
that none of its appends happened; one without an answer may have happened whole at any time after it was asked, or
never. Leaves to others: what is right. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from checkers.history import FOR_EVER, Outcome

Items = tuple[object, ...]


class Append(NamedTuple):
    """`item` to the end of the list; no other append has the same."""

    key: str
    item: object


class Read(NamedTuple):
    """What the list held, under the transaction's eyes: found in it, or a condition of it that it still holds that."""

    key: str
    items: Items


@dataclass(frozen=True, slots=True)
class Transaction:
    """`steps` in their order. `begin` is before it left, `end` after its answer came, in seconds of one clock."""

    client: int
    begin: float
    end: float
    outcome: Outcome
    steps: tuple[Append | Read, ...]

    def __str__(self) -> str:
        until = "" if self.end == FOR_EVER or self.outcome is Outcome.UNKNOWN else f"{self.end:.4f}"
        steps = ", ".join(_brief(step) for step in self.steps)
        return f"[{self.begin:.4f}..{until}] client {self.client}: {steps} {self.outcome.value}"

    @property
    def appends(self) -> list[Append]:
        return [step for step in self.steps if isinstance(step, Append)]


def _brief(step: Append | Read) -> str:
    if isinstance(step, Append):
        return f"{step.key} + {step.item!r}"
    few = ", ".join(repr(item) for item in step.items[-3:])
    return f"{step.key} -> {len(step.items)} items{f', last {few}' if few else ''}"
