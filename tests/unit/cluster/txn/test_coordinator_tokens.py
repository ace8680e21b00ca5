"""A client's token: outcomes that are there already, attempts that were aborted, and records of other gateways."""

from __future__ import annotations

import msgspec
import pytest
from unit.cluster.txn.txn_story import CLIENTS, Story, results_of, transaction

from cluster.txn.coordinator import RESTARTS_MAX
from cluster.txn.transaction import txn_id
from kvstore.messages import (
    AbortTxn,
    Fault,
    FinishTxn,
    InDoubt,
    Prepare,
    Resolved,
    ResolveTxns,
    Transact,
    TxnName,
    TxnResult,
    TxnsResolved,
)


def attempt(number: int) -> TxnName:
    return msgspec.structs.replace(CLIENTS, attempt=number)


def stored(*keys: str) -> list[TxnResult]:
    return [TxnResult(index, 200, etag=f"stored {key}") for index, key in enumerate(keys)]


def test_the_first_attempt_is_asked_for_first() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    assert story.asked_of(Prepare)[2].txn == attempt(1)


def test_a_stored_outcome_is_the_answer_with_the_results_and_the_id_of_its_attempt() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.decide(commits=True, is_new=False, txn=attempt(3), results=stored("a", "b"))
    assert [result.etag for result in story.committed.results] == ["stored a", "stored b"]
    assert story.committed.id == txn_id(attempt(3))
    finish = story.asked_of(FinishTxn)[2]
    assert (finish.txn, finish.commits) == (attempt(1), False), "a later attempt committed, never this one"


def test_a_stored_outcome_is_the_answer_though_a_participant_said_no() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "txn_conflict")
    story.decide(commits=True, is_new=False, results=stored("a", "b"))
    assert len(story.committed.results) == 2
    assert not story.asks


def test_records_that_a_stored_outcome_may_not_rest_on_are_never_committed_unasked() -> None:
    story = Story(transaction("a", "b", "c"), CLIENTS).start()
    story.vote(2, seq=22)
    story.vote(3, seq=33)
    story.decide(commits=True, is_new=False, results=stored("a", "b", "c"))
    assert story.under_way == ["ResolveTxns 1"]
    asks = story.asked_of(ResolveTxns)[1].asks
    assert asks == [InDoubt(CLIENTS, pid, 1, seq, False) for pid, seq in ((2, 22), (3, 33))]
    outcomes = [Resolved(CLIENTS, 2, 1, 22, True, True), Resolved(CLIENTS, 3, 1, 33, False, False)]
    story.answer(ResolveTxns, 1, TxnsResolved(outcomes))
    finishes = story.asked_of(FinishTxn)
    assert (finishes[2].commits, finishes[3].commits) == (True, False)
    story.finish_all()
    assert not story.complete, "who carried the committed record of partition 3 out is not known here"
    assert story.coordinator.is_over


def test_the_primary_hears_of_a_stored_outcome_that_rests_on_these_very_records() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2, seq=22)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.decide(commits=True, is_new=False, results=stored("a", "b"))
    story.answer(ResolveTxns, 1, TxnsResolved([Resolved(CLIENTS, 2, 1, 22, True, True)]))
    story.finish_all()
    assert story.complete == [CLIENTS]


def test_the_primary_does_not_hear_of_a_stored_outcome_while_a_vote_on_it_is_missing() -> None:
    story = Story(transaction("a", "b", "c"), CLIENTS).start()
    story.vote(2, seq=22)
    story.refuse(Prepare, 3, "txn_conflict")
    story.decide(commits=True, is_new=False, results=stored("a", "b", "c"))
    story.answer(ResolveTxns, 1, TxnsResolved([Resolved(CLIENTS, 2, 1, 22, True, True)]))
    story.finish_all()
    assert not story.complete, "another gateway's record in partition 3 may be prepared still"


def test_a_node_that_does_not_tell_of_every_record_does_not_lead_the_primary() -> None:
    story = Story(transaction("a", "b", "c"), CLIENTS).start()
    story.vote(2, seq=22)
    story.vote(3, seq=33)
    story.decide(commits=True, is_new=False, results=stored("a", "b", "c"))
    committed = [Resolved(CLIENTS, 2, 1, 22, True, True), Resolved(CLIENTS, 3, 1, 33, True, True)]
    for outcomes in ([], committed[:1], [committed[0], Resolved(CLIENTS, 3, 1, 34, True, True)]):
        story.answer(ResolveTxns, 1, TxnsResolved(outcomes))
        assert not story.asks
        story.pass_time(0.3)
    story.answer(ResolveTxns, 1, TxnsResolved(committed))
    assert story.under_way == ["FinishTxn 2", "FinishTxn 3"]


@pytest.mark.parametrize("stands", [1, 4])
def test_an_attempt_that_was_aborted_before_is_followed_by_the_next(stands: int) -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2, seq=22)
    story.decide(commits=False, is_new=False, txn=attempt(stands))
    assert story.result is None
    assert story.asked_of(FinishTxn)[2] == FinishTxn(2, 1, attempt(1), 1, 22, commits=False, then=False)
    assert story.asked_of(Prepare)[2].txn == attempt(stands + 1)
    story.finish_all()
    story.vote(2, seq=23)
    assert story.asked_of(Transact)[1].txn == attempt(stands + 1)
    story.decide(commits=True)
    assert story.committed.id == txn_id(attempt(stands + 1))
    assert story.asked_of(FinishTxn)[2].seq == 23
    story.finish_all()
    assert story.complete == [attempt(stands + 1)]


def test_an_aborted_attempt_that_a_participant_remembers_is_followed_by_the_next() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "txn_conflict")
    story.decide(commits=False, is_new=False)
    assert story.asked_of(Prepare)[2].txn == attempt(2)


def test_an_aborted_attempt_on_a_single_partition_is_followed_by_the_next() -> None:
    story = Story(transaction("a"), CLIENTS).start()
    story.decide(commits=False, is_new=False)
    assert story.asked_of(Transact)[1].txn == attempt(2)


def test_the_fault_of_an_earlier_attempt_is_not_that_of_the_next() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.decide(commits=False, is_new=False, fault=Fault("bad_request", "then it was no integer"))
    story.finish_all()
    story.vote(2)
    story.decide(commits=True)
    assert story.committed


def test_a_conflict_of_this_very_attempt_is_the_answer() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "txn_conflict")
    story.decide(commits=False)
    assert story.code == "txn_conflict"
    assert not story.asks


def test_an_abort_whose_answer_was_lost_is_this_very_attempts() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "txn_conflict")
    story.lose(AbortTxn, 1)
    story.pass_time(0.1)
    story.decide(commits=False, is_new=False)
    assert story.code == "txn_conflict"


def test_a_fault_whose_answer_was_lost_is_this_very_attempts() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.decide(commits=False, is_new=False, fault=Fault("bad_request", "no integer"))
    assert story.code == "bad_request"


def test_attempts_that_are_always_aborted_before_come_to_an_end() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    asked = []
    while story.result is None:
        asked.append(story.asked_of(Prepare)[2].txn.attempt)
        story.vote(2)
        story.decide(commits=False, is_new=False)
        story.finish_all()
    assert asked == list(range(1, RESTARTS_MAX + 2))
    assert story.code == "txn_conflict"


def test_no_attempt_begins_that_has_no_time_to_be_voted_on() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.pass_time(3.9)
    story.vote(2)
    story.decide(commits=False, is_new=False)
    assert story.code == "txn_conflict"
    assert story.under_way == ["FinishTxn 2"]


def test_an_earlier_attempt_is_no_answer() -> None:
    story = Story(transaction("a", "b"), attempt(2)).start()
    story.vote(2)
    story.decide(commits=True, is_new=False, txn=attempt(1), results=stored("a", "b"))
    assert story.result is None


def test_a_late_vote_on_an_earlier_attempt_is_none_on_this_one() -> None:
    story = Story(transaction("a", "b", "c"), CLIENTS).start()
    story.refuse(Prepare, 3, "txn_conflict")
    (late,) = [ask for ask in story.asks if isinstance(ask.body, Prepare)]
    story.asks.remove(late)
    story.decide(commits=False, is_new=False)
    story.finish_all()
    story.asks.append(late)
    (old, new) = [ask for ask in story.asks if isinstance(ask.body, Prepare) and ask.exchange.pid == 2][::-1]
    assert (old.body.txn.attempt, new.body.txn.attempt) == (1, 2)  # type: ignore[union-attr]
    story.asks.remove(new)
    story.vote(2)
    story.asks.append(new)
    story.vote(3)
    assert story.under_way == ["Prepare 2"]


def test_results_of_another_gateways_records_are_not_mixed_with_ones_own() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.decide(commits=True, is_new=False, results=results_of(1, story.asked.then))
    assert story.result is None, "partition 2's result is missing, and the vote is not what was carried out"


def test_a_conflict_after_a_lost_question_to_commit_is_this_very_attempts() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.refuse(Transact, 1, "storage_full")
    story.decide(commits=False, is_new=False)
    assert story.code == "storage_full"


def test_a_later_attempt_that_was_aborted_says_nothing_of_this_one() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.refuse(Transact, 1, "storage_full")
    story.decide(commits=False, is_new=False, txn=attempt(3), fault=Fault("txn_conflict", "another's"))
    assert story.asked_of(Prepare)[2].txn == attempt(4)
    story.finish_all()
    story.refuse(Prepare, 2, "txn_conflict")
    story.decide(commits=False, is_new=False)
    assert story.asked_of(Prepare)[2].txn == attempt(5), "what was lost was a question of an earlier attempt"


def test_what_refused_an_earlier_attempt_is_not_the_error_of_the_next() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "storage_full")
    story.decide(commits=False, is_new=False)
    story.vote(2)
    story.decide(commits=False, fault=Fault("bad_request", "no integer"))
    assert story.code == "bad_request"


def test_the_end_of_an_earlier_attempt_is_not_the_end_of_the_one_that_committed() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.decide(commits=False, is_new=False)
    story.vote(2)
    story.decide(commits=True)
    aborting, committing = story.asks
    story.asks = [aborting]
    story.finish_all()
    assert not story.complete
    story.asks = [committing]
    story.finish_all()
    assert story.complete == [attempt(2)]
