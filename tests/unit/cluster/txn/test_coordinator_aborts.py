"""When a transaction is aborted, who is asked for that, and what its client may be told."""

from __future__ import annotations

import pytest
from unit.cluster.txn.txn_story import CLIENTS, OWN, Story, transaction

from kvstore.messages import AbortTxn, Fault, FinishTxn, Prepare, Transact

REFUSALS = (
    *("txn_conflict", "locked", "storage_full", "not_enough_copies"),
    *("overloaded", "token_reused", "bad_request", "shutting_down"),
)


@pytest.mark.parametrize("code", REFUSALS)
def test_a_no_of_a_participant_is_the_error_once_the_abort_is_durable(code: str) -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.vote(2, seq=22)
    story.refuse(Prepare, 3, code)
    assert story.under_way == ["AbortTxn 1"]
    assert story.result is None
    story.decide(commits=False)
    assert story.code == code
    assert story.asked_of(FinishTxn) == {2: FinishTxn(2, 1, OWN, 1, 22, commits=False, then=False)}
    story.finish_all()
    assert not story.complete, "of an abort nothing is reported"
    assert story.coordinator.is_over


def test_nobody_waits_for_other_votes_after_a_no() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.refuse(Prepare, 3, "txn_conflict")
    assert story.under_way == ["AbortTxn 1", "Prepare 2"]
    story.decide(commits=False)
    assert story.code == "txn_conflict"
    finish = story.asked_of(FinishTxn)[2]
    assert (finish.epoch, finish.seq) == (0, 0), "it may have prepared, and has not voted"


def test_a_vote_that_comes_while_it_is_aborted_names_the_record_to_finish() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.refuse(Prepare, 3, "txn_conflict")
    story.vote(2, seq=22)
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.asked_of(FinishTxn)[2].seq == 22


@pytest.mark.parametrize("how", ["lost", "not sent", "no_leader"])
def test_nobody_is_asked_to_prepare_what_is_being_aborted(how: str) -> None:
    story = Story(transaction("a", "b", "c", "d")).start()
    story.refuse(Prepare, 2, "no_leader")
    story.refuse(Prepare, 3, "txn_conflict")
    if how == "lost":
        story.lose(Prepare, 4)
    elif how == "not sent":
        story.fail_to_send(Prepare, 4)
    else:
        story.refuse(Prepare, 4, how)
    story.pass_time(0.5)
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "txn_conflict"
    assert story.under_way == (["FinishTxn 4"] if how == "lost" else [])


def test_a_no_that_comes_while_it_is_aborted_leaves_nobody_to_tell() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.refuse(Prepare, 3, "txn_conflict")
    story.refuse(Prepare, 2, "storage_full")
    story.decide(commits=False)
    assert story.code == "txn_conflict"
    assert not story.asks


def test_where_all_said_no_to_a_token_of_the_gateways_own_there_is_nothing_to_abort() -> None:
    story = Story(transaction("a", "b")).start()
    story.refuse(Prepare, 2, "txn_conflict")
    assert story.code == "txn_conflict"
    assert not story.asks
    assert story.coordinator.is_over


def test_where_all_said_no_to_a_clients_token_another_gateway_may_yet_commit_it() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "txn_conflict")
    assert story.under_way == ["AbortTxn 1"]
    assert story.result is None
    story.decide(commits=False)
    assert story.code == "txn_conflict"


def test_a_question_that_was_lost_may_have_prepared_something() -> None:
    story = Story(transaction("a", "b")).start()
    story.lose(Prepare, 2)
    story.pass_time(0.1)
    story.refuse(Prepare, 2, "txn_conflict")
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "txn_conflict"
    assert story.under_way == ["FinishTxn 2"]


def test_a_participant_that_does_not_answer_in_time_is_one_that_may_have_prepared() -> None:
    story = Story(transaction("a", "b")).start()
    while story.asked_of(Prepare):
        story.pass_time(2.0)
        story.lose(Prepare, 2)
        story.pass_time(0.1)
    assert story.now_s < 100 + 5, "there is time to abort it"
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "no_leader"
    assert story.under_way == ["FinishTxn 2"]


def test_the_primary_may_say_that_it_is_committed_all_the_same() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.refuse(Transact, 1, "not_enough_copies")
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=True, is_new=False)
    assert [result.etag for result in story.committed.results] == ["a", "b"]
    assert story.asked_of(FinishTxn)[2].commits


def test_a_conflict_at_the_primary_is_aborted_there() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.refuse(Transact, 1, "txn_conflict")
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "txn_conflict"
    assert not story.asked_of(FinishTxn)[2].commits


def test_a_conflict_on_a_single_partition_is_the_answer() -> None:
    story = Story(transaction("a"), CLIENTS).start()
    story.refuse(Transact, 1, "txn_conflict")
    assert story.code == "txn_conflict"
    assert not story.asks


def test_an_abort_is_asked_for_until_the_primary_can_write_it() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.vote(2)
    story.refuse(Prepare, 3, "txn_conflict")
    for code in ("no_leader", "not_enough_copies", "storage_full"):
        story.refuse(AbortTxn, 1, code)
        assert story.result is None
        story.pass_time(0.3)
    story.lose(AbortTxn, 1)
    story.pass_time(0.3)
    story.decide(commits=False, is_new=False)
    assert story.code == "txn_conflict"


def refuse_abort_to_the_end(story: Story) -> None:
    while story.asked_of(AbortTxn):
        story.refuse(AbortTxn, 1, "no_leader")
        story.pass_time(0.3)


def test_an_abort_that_cannot_be_had_leaves_the_first_error_where_nobody_can_commit() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.vote(2)
    story.refuse(Prepare, 3, "storage_full")
    refuse_abort_to_the_end(story)
    assert story.code == "storage_full"
    assert not story.asks, "what is prepared ends by the primary's word"


def test_an_abort_that_cannot_be_had_leaves_it_open_where_a_question_to_commit_is() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.refuse(Transact, 1, "storage_full")
    refuse_abort_to_the_end(story)
    assert story.code == "outcome_unknown"


def test_a_commit_whose_results_are_not_all_told_is_no_abort() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.refuse(Transact, 1, "txn_conflict")
    story.decide(commits=True, is_new=False, results=[])
    story.pass_time(0.1)
    refuse_abort_to_the_end(story)
    assert story.code == "outcome_unknown"


def test_an_abort_that_cannot_be_had_leaves_a_clients_token_open() -> None:
    story = Story(transaction("a", "b", "c"), CLIENTS).start()
    story.vote(2)
    story.refuse(Prepare, 3, "storage_full")
    refuse_abort_to_the_end(story)
    assert story.code == "outcome_unknown"


def test_what_never_left_is_refused_though_the_token_is_a_clients() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.away.add("n2")
    story.fail_to_send(Prepare, 2)
    assert story.code == "no_leader"
    assert not story.asks


def test_a_transaction_that_another_was_committed_in_the_place_of_is_over() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.refuse(Transact, 1, "token_reused")
    assert story.code == "token_reused"
    assert story.under_way == ["FinishTxn 2"]
    assert not story.asked_of(FinishTxn)[2].commits


def test_a_token_that_was_used_for_another_is_told_once_that_is_decided_for_good() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.decide(commits=False, fault=Fault("token_reused", "another request"))
    assert story.code == "token_reused"
    assert story.under_way == ["FinishTxn 2"]


def test_a_token_that_was_used_for_another_is_told_when_a_participant_has_said_no_before() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.refuse(Prepare, 2, "txn_conflict")
    story.refuse(AbortTxn, 1, "token_reused")
    assert story.code == "token_reused"


def test_one_that_the_primary_gave_up_is_refused() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.decide(commits=False, is_new=False)
    assert story.code == "no_leader"
    assert story.under_way == ["FinishTxn 2"]
