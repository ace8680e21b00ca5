"""Whether money moved between accounts, and was neither made nor lost: transfers are transactions on two accounts.

Guarantees: every snapshot shows all accounts, with the total of the beginning and none below zero; each acknowledged
transfer left its receipt, no refused one did, and nobody else's is there; each account holds at last what it began with
and what the transfers with receipts moved, once each. Leaves to others: recording, transfers that are asked only where
the money is there, and the last snapshot and the receipts, taken when nothing is under way. Pure.

A receipt is a key of its own that a transfer writes with the balances: it tells which of those without an answer
happened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from checkers.history import FOR_EVER, Anomaly, Outcome


@dataclass(frozen=True, slots=True)
class Transfer:
    """`amount` from `source` to `target`. `begin` is before it left, `end` after its answer came."""

    client: int
    begin: float
    end: float
    outcome: Outcome
    receipt: str
    source: str
    target: str
    amount: int

    def __str__(self) -> str:
        until = "" if self.end == FOR_EVER else f"{self.end:.4f}"
        what = f"{self.amount} from {self.source} to {self.target} ({self.receipt})"
        return f"[{self.begin:.4f}..{until}] client {self.client}: {what} {self.outcome.value}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one request found in all accounts. `how` names the request."""

    client: int
    begin: float
    end: float
    balances: Mapping[str, int]
    how: str = ""

    def __str__(self) -> str:
        return f"[{self.begin:.4f}..{self.end:.4f}] client {self.client}: {self.how} {dict(self.balances)}"


def check_bank(
    start: Mapping[str, int], transfers: Iterable[Transfer], snapshots: Sequence[Snapshot], receipts: Collection[str]
) -> int:
    """Returns how many transfers happened.

    Args:
        start: what each account began with.
        snapshots: at least one, the last of them begun when all transfers had ended.
        receipts: those that are there at the end.

    Raises:
        Anomaly: an account, a total or a receipt is none that these transfers leave.
    """
    for snapshot in snapshots:
        _check_snapshot(start, snapshot)
    happened = _happened(transfers, receipts)
    expected = dict(start)
    for transfer in happened:
        expected[transfer.source] -= transfer.amount
        expected[transfer.target] += transfer.amount
    last = max(snapshots, key=lambda snapshot: snapshot.begin)
    wrong = {account: (found, expected[account]) for account, found in last.balances.items()}
    wrong = {account: both for account, both in wrong.items() if both[0] != both[1]}
    if wrong:
        told = ", ".join(f"{account} holds {found}, {right} is right" for account, (found, right) in wrong.items())
        raise Anomaly(f"{told}, of {len(happened)} transfers with a receipt: {last}")
    return len(happened)


def _check_snapshot(start: Mapping[str, int], snapshot: Snapshot) -> None:
    balances = snapshot.balances
    if balances.keys() != start.keys():
        raise Anomaly(f"accounts that are not those of the bank: {snapshot}")
    if sum(balances.values()) != sum(start.values()):
        raise Anomaly(f"{sum(balances.values())} in all, there are {sum(start.values())}: {snapshot}")
    if min(balances.values()) < 0:
        raise Anomaly(f"less than nothing in an account: {snapshot}")


def _happened(transfers: Iterable[Transfer], receipts: Collection[str]) -> list[Transfer]:
    """The transfers that left their receipts."""
    asked = {transfer.receipt: transfer for transfer in transfers}
    for transfer in asked.values():
        is_there = transfer.receipt in receipts
        if transfer.outcome is Outcome.DONE and not is_there:
            raise Anomaly(f"an acknowledged transfer left no receipt: {transfer}")
        if transfer.outcome in (Outcome.FAILED, Outcome.NOT_EXECUTED) and is_there:
            raise Anomaly(f"a refused transfer left its receipt: {transfer}")
    unknown = sorted(set(receipts) - asked.keys())
    if unknown:
        raise Anomaly(f"receipts of transfers that nobody asked for: {unknown}")
    return [transfer for name, transfer in asked.items() if name in receipts]
