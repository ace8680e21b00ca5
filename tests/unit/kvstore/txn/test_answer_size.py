"""What a transaction reads has a bound, over all its partitions."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story

from kvstore.messages import OpKind, Transact, Transacted, TxnBranch, TxnName, TxnOp, TxnPart, TxnResult, Vote
from kvstore.txn.evaluate import TOO_MUCH, VALUES_BYTES_MAX

GET = TxnPart([], [TxnOp(1, OpKind.GET, b"a")], [])


@pytest.mark.parametrize("excess", [0, 1])
def test_values_of_all_partitions_together_are_no_more_than_an_answer_holds(excess: int) -> None:
    n1 = Story(nodes=1).lead()
    n1.put("put", b"a", b"x" * 10)
    n1.batch(apply=True)
    n1.batch()
    theirs = TxnBranch([TxnResult(0, 200, "e", b"v" * (VALUES_BYTES_MAX - 10 + excess))])
    vote = Vote(2, 1, 5, True, theirs, TxnBranch([]))
    asked = Transact(PID, n1.partition.ver, TxnName(PID, b"t" * 16, 1), GET, [vote])
    n1.partitions.doubts.call("txn", asked, n1.engine.snapshot(), n1._story.now, False)
    n1.batch()
    told = n1.replies["txn"]
    assert isinstance(told, Transacted)
    assert told.commits == (not excess)
    assert told.fault == (TOO_MUCH if excess else None)
