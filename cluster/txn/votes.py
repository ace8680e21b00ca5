"""What votes say together: the branches that are still possible, whether one can be carried out, and its results.

Guarantees: nothing is refused that a possible branch does not forbid. Leaves to others: what follows (`coordinator`).
Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from kvstore.errors import BodyTooLarge, KvError, from_code
from kvstore.messages import TxnBranch, TxnOp, TxnPart, TxnResult, Vote


def fits(vote: Vote, part: TxnPart) -> bool:
    """Whether the vote answers what was asked."""
    return _is_of(vote.then, part.then) and _is_of(vote.otherwise, part.otherwise)


def _is_of(branch: TxnBranch, operations: Sequence[TxnOp]) -> bool:
    return branch.fault is not None or len(branch.results) == len(operations)


def fault_of(votes: Sequence[Vote], asks_primary: bool) -> KvError | None:
    """Why the branch that will be taken cannot be carried out; `asks_primary`: the primary has conditions too."""
    branches = _possible(votes, asks_primary)
    if len(branches) == 1:
        for vote in votes:
            fault = vote.branch(branches[0]).fault
            if fault is not None:
                return from_code(fault.code, fault.detail)
    return None


def too_large(votes: Sequence[Vote], asks_primary: bool, bytes_max: int) -> BodyTooLarge | None:
    """Refuses values of a possible branch that take more than `bytes_max`."""
    for branch in _possible(votes, asks_primary):
        size = sum(len(result.value) for vote in votes for result in vote.branch(branch).results if result.value)
        if size > bytes_max:
            return BodyTooLarge(f"the values of a transaction's results take at most {bytes_max} bytes")
    return None


def possible_only(votes: Sequence[Vote], asks_primary: bool) -> list[Vote]:
    """The votes without what the branches would come to that cannot be taken: nothing bounds the sum of that."""
    branches = _possible(votes, asks_primary)
    nothing = TxnBranch([])
    return [
        msgspec.structs.replace(
            vote,
            then=vote.then if True in branches else nothing,
            otherwise=vote.otherwise if False in branches else nothing,
        )
        for vote in votes
    ]


def _possible(votes: Sequence[Vote], asks_primary: bool) -> Sequence[bool]:
    if not all(vote.holds for vote in votes):
        return (False,)
    return (True, False) if asks_primary else (True,)


def merged(sources: Iterable[Iterable[TxnResult]], count: int) -> list[TxnResult] | None:
    """The results of all partitions in order, a later source's before an earlier one's; None where some are missing."""
    found: list[TxnResult | None] = [None] * count
    for results in sources:
        for result in results:
            if not 0 <= result.index < count:
                return None
            found[result.index] = result
    complete = [result for result in found if result is not None]
    return complete if len(complete) == count else None
