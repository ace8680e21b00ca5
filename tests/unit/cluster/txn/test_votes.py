"""What the votes of all participants come to: how much they may hold together."""

from __future__ import annotations

import pytest

from cluster.txn.votes import bounded
from kvstore.messages import TxnBranch, TxnResult, Vote


def branch(size: int) -> TxnBranch:
    return TxnBranch([TxnResult(0, 200, "", bytes(size))])


def vote(then: int, otherwise: int, pid: int = 1) -> Vote:
    return Vote(pid, 1, 7, True, branch(then), branch(otherwise))


@pytest.mark.parametrize(
    ("then", "otherwise", "fits"),
    [(4, 4, (True, True)), (5, 4, (False, True)), (4, 5, (True, False)), (5, 5, (False, False))],
)
def test_a_branch_holds_no_more_than_its_bound_with_all_votes_before(
    then: int, otherwise: int, fits: tuple[bool, bool]
) -> None:
    earlier = [vote(2, 3, pid=2), vote(4, 3, pid=3)]
    kept = bounded(vote(then, otherwise), earlier, 10)
    assert (kept.then.fault is None, kept.otherwise.fault is None) == fits
    assert (bool(kept.then.results), bool(kept.otherwise.results)) == fits
