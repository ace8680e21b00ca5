"""A transaction that nothing stands in the way of: whom its coordinator asks, in which order, and what comes of it."""

from __future__ import annotations

import pytest
from unit.cluster.txn.txn_story import BYTES_MAX, OWN, PRIMARY, Story, exists, puts, results_of, transaction

from cluster.txn.transaction import Transaction, txn_id
from kvstore.messages import Fault, FinishTxn, OpKind, Prepare, Transact, TxnBranch, TxnOp, TxnPart, TxnResult


def keys_of(operations: list[TxnOp]) -> list[tuple[int, bytes]]:
    return [(operation.index, operation.key) for operation in operations]


def test_one_on_a_single_partition_is_one_question() -> None:
    story = Story(transaction("a1", "a2", conditions=("a3",))).start()
    assert story.under_way == ["Transact 1"]
    assert story.asked_of(Transact)[1].votes == []
    story.decide(commits=True)
    assert [result.etag for result in story.committed.results] == ["a1", "a2"]
    assert story.committed.id == txn_id(OWN)
    assert not story.asks
    assert not story.complete
    assert story.coordinator.is_over


def test_all_but_the_primary_are_asked_to_prepare_at_once_and_the_primary_when_all_have_voted() -> None:
    story = Story(transaction("b", "a", "c")).start()
    assert story.under_way == ["Prepare 2", "Prepare 3"]
    story.vote(3)
    assert story.under_way == ["Prepare 2"]
    story.vote(2)
    assert story.under_way == ["Transact 1"]
    assert sorted(vote.pid for vote in story.asked_of(Transact)[1].votes) == [2, 3]
    assert story.result is None


def test_each_partition_gets_its_conditions_and_its_part_of_both_branches() -> None:
    asked = Transaction("default", exists("c", "a"), puts("a", "b", "a2"), puts("c", "b"))
    story = Story(asked).start()
    asks = story.asked_of(Prepare)
    assert keys_of(asks[2].part.then) == [(1, b"b")]
    assert keys_of(asks[2].part.otherwise) == [(1, b"b")]
    assert not asks[2].part.conditions
    assert asks[3].part == TxnPart([asked.conditions[0]], [], [asked.otherwise[0]])
    story.vote(2)
    story.vote(3)
    own = story.asked_of(Transact)[1].part
    assert own == TxnPart([asked.conditions[1]], [asked.then[0], asked.then[2]], [])


@pytest.mark.parametrize(("keys", "primary"), [(("d", "b", "c"), 2), (("c", "b", "a"), 1)])
def test_the_primary_is_the_partition_of_the_smallest_key(keys: tuple[str, ...], primary: int) -> None:
    asked = transaction(*keys)
    story = Story(asked, OWN.__class__(primary, OWN.token, 1)).start()
    assert primary not in story.asked_of(Prepare)
    assert len(story.asked_of(Prepare)) == 2


def test_a_participant_may_give_up_when_the_time_of_the_transaction_is_over() -> None:
    story = Story(transaction("a", "b"), timeout_s=3.0).start()
    assert story.asked_of(Prepare)[2].ttl_ms == 3000


def test_the_client_is_told_at_once_when_the_primary_has_committed_with_all_results_in_order() -> None:
    story = Story(transaction("b", "a", "c", "a2", "b2")).start()
    story.vote(2)
    story.vote(3)
    story.decide(commits=True)
    assert [result.etag for result in story.committed.results] == ["b", "a", "c", "a2", "b2"]
    assert story.committed.then
    assert story.under_way == ["FinishTxn 2", "FinishTxn 3"]


def test_the_results_are_those_of_the_branch_that_the_primary_took() -> None:
    story = Story(transaction("a", "b", conditions=("a",), otherwise=("b1", "b2", "a3"))).start()
    story.vote(2)
    story.decide(commits=True, then=False)
    assert [result.etag for result in story.committed.results] == ["b1", "b2", "a3"]
    assert not story.committed.then
    assert not story.asked_of(FinishTxn)[2].then


def test_participants_are_told_of_the_very_record_that_they_voted_with() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.vote(2, seq=22)
    story.vote(3, seq=33)
    story.decide(commits=True)
    assert story.asked_of(FinishTxn) == {
        pid: FinishTxn(pid, 1, OWN, 1, seq, commits=True, then=True) for pid, seq in ((2, 22), (3, 33))
    }


def test_the_primary_hears_that_all_have_finished_when_all_have() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.vote(2)
    story.vote(3)
    story.decide(commits=True)
    assert not story.coordinator.is_over
    story.refuse(FinishTxn, 2, "not_enough_copies")
    story.finish_all()
    assert not story.complete
    story.pass_time(0.1)
    story.lose(FinishTxn, 2)
    story.pass_time(0.1)
    story.finish_all()
    assert story.complete == [OWN]
    assert story.coordinator.is_over


def test_finishing_is_tried_to_the_end_of_the_time_and_no_longer() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.decide(commits=True)
    for _ in range(100):
        if story.asks:
            story.refuse(FinishTxn, 2, "no_leader")
        story.pass_time(0.2)
    assert not story.asks
    assert not story.complete
    assert story.coordinator.is_over
    assert story.committed


def test_finishing_a_late_decision_has_a_second() -> None:
    story = Story(transaction("a", "b")).start()
    story.pass_time(4.9)
    story.vote(2)
    story.decide(commits=True)
    for _ in range(4):
        story.refuse(FinishTxn, 2, "no_leader")
        story.pass_time(0.2)
    assert story.now_s > story.end_s
    assert story.under_way == ["FinishTxn 2"]
    story.finish_all()
    assert story.complete == [OWN]


def values(pid: int, index: int, size: int) -> TxnBranch:
    return TxnBranch([TxnResult(index, 200, value=b"x" * size)])


def reading(*keys: str) -> tuple[TxnOp, ...]:
    return tuple(TxnOp(index, OpKind.GET, key.encode()) for index, key in enumerate(keys))


def test_values_that_are_too_large_together_are_refused_before_anything_is_decided() -> None:
    story = Story(Transaction("default", (), reading("a", "b", "c"), ())).start()
    story.vote(2, then=values(2, 1, BYTES_MAX))
    story.vote(3, then=values(3, 2, 1))
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "body_too_large"
    assert sorted(story.asked_of(FinishTxn)) == [2, 3]


def test_values_that_just_fit_are_not_refused() -> None:
    story = Story(Transaction("default", (), reading("a", "b"), ())).start()
    story.vote(2, then=values(2, 1, BYTES_MAX))
    assert story.under_way == ["Transact 1"]


def test_large_values_of_a_branch_that_cannot_be_taken_any_more_are_no_obstacle() -> None:
    story = Story(Transaction("default", exists("b"), reading("a", "b"), puts("a"))).start()
    story.vote(2, holds=False, then=values(2, 1, 2 * BYTES_MAX))
    assert story.under_way == ["Transact 1"]


def test_no_more_values_are_held_than_an_answer_may_have() -> None:
    story = Story(Transaction("default", exists("a"), reading("a", "b", "c", "d"), reading("a"))).start()
    for pid in (2, 3, 4):
        story.vote(pid, then=values(pid, pid - 1, BYTES_MAX // 2 + 1))
    votes = story.asked_of(Transact)[1].votes
    assert [vote.then.fault.code if vote.then.fault else "" for vote in votes] == ["", *["body_too_large"] * 2]
    assert [len(vote.then.results) for vote in votes] == [1, 0, 0]
    story.decide(commits=True, then=False)
    assert not story.committed.then, "the other branch is no worse for it"


def test_the_primary_is_not_sent_what_a_branch_would_have_come_to_that_cannot_be_taken_any_more() -> None:
    story = Story(Transaction("default", exists("b"), reading("a", "b", "c"), reading("a", "c"))).start()
    story.vote(2, holds=False, then=values(2, 1, 2 * BYTES_MAX))
    story.vote(3, then=values(3, 2, 2 * BYTES_MAX), otherwise=values(3, 1, 1))
    votes = story.asked_of(Transact)[1].votes
    assert [(vote.holds, vote.then, vote.otherwise) for vote in votes] == [
        (False, TxnBranch([]), TxnBranch([])),
        (True, TxnBranch([]), values(3, 1, 1)),
    ]
    story.decide(commits=True, then=False)
    assert [result.value for result in story.committed.results] == [None, b"x"]


def test_the_primary_is_sent_both_branches_where_it_chooses() -> None:
    story = Story(Transaction("default", exists("a"), reading("a", "b"), reading("a", "b"))).start()
    story.vote(2, then=values(2, 1, 2), otherwise=values(2, 1, 3))
    (vote,) = story.asked_of(Transact)[1].votes
    assert (vote.then, vote.otherwise) == (values(2, 1, 2), values(2, 1, 3))


def test_an_operation_that_cannot_be_carried_out_is_the_error_of_the_transaction() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2, then=TxnBranch([], Fault("bad_request", "b is no integer")))
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "bad_request"
    assert str(story.result) == "b is no integer"


def test_where_the_primary_chooses_the_branch_it_says_that_it_cannot_be_carried_out() -> None:
    story = Story(transaction("a", "b", conditions=("a",), otherwise=("a",))).start()
    story.vote(2, then=TxnBranch([], Fault("bad_request", "b is no integer")))
    assert story.under_way == ["Transact 1"]
    story.decide(commits=False, fault=Fault("bad_request", "b is no integer"))
    assert story.code == "bad_request"
    assert story.under_way == ["FinishTxn 2"]
    assert not story.asked_of(FinishTxn)[2].commits


def test_results_that_are_not_all_there_are_no_answer() -> None:
    story = Story(transaction("a", "b", "a2")).start()
    story.vote(2)
    story.decide(commits=True, results=results_of(PRIMARY, puts("a")))
    assert story.result is None
    story.pass_time(0.1)
    story.decide(commits=True, results=[*results_of(PRIMARY, puts("a", "b", "a2")), TxnResult(7, 200)])
    assert story.result is None
    story.pass_time(0.1)
    story.decide(commits=True, is_new=False)
    assert len(story.committed.results) == 3
