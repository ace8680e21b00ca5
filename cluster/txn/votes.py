"""What votes say together: the branches that are still possible, whether one can be carried out, and its results.

Guarantees: nothing is refused that a possible branch does not forbid. Leaves to others: what follows (`coordinator`).
Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from kvstore.errors import KvError, from_code
from kvstore.messages import Fault, TxnBranch, TxnOp, TxnPart, TxnResult, Vote


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


def bounded(vote: Vote, earlier: Iterable[Vote], bytes_max: int) -> Vote:
    """The vote, where the values of a branch take more than `bytes_max` with those of earlier votes, without them: that
    branch cannot be carried out."""
    then, otherwise = _size(vote.then), _size(vote.otherwise)
    for one in earlier:
        then += _size(one.then)
        otherwise += _size(one.otherwise)
    fault = Fault("body_too_large", f"the values of a transaction's results take at most {bytes_max} bytes")
    refused = TxnBranch([], fault)
    return msgspec.structs.replace(
        vote,
        then=refused if then > bytes_max else vote.then,
        otherwise=refused if otherwise > bytes_max else vote.otherwise,
    )


def _size(branch: TxnBranch) -> int:
    return sum(len(result.value) for result in branch.results if result.value)


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
