"""Leaders that change, calls that get lost, and how long a coordinator tries."""

from __future__ import annotations

import msgspec
import pytest
from unit.cluster.txn.txn_story import CLIENTS, Story, led_by, transaction, vote_on

from kvstore.messages import (
    AbortTxn,
    AskTxn,
    Body,
    Done,
    Failed,
    Fault,
    FinishTxn,
    Prepare,
    Transact,
    TxnBranch,
    TxnKnown,
    TxnName,
    Voted,
)


def test_a_leader_that_is_none_any_more_is_followed_by_the_newer_entry() -> None:
    story = Story(transaction("a", "b")).start()
    entry = led_by(2, "nx", ver=7)
    story.entries[2] = entry
    story.answer(Prepare, 2, Failed(Fault("wrong_leader", "another leads", entry)))
    assert not story.asks, "not at once, for two nodes may each name the other"
    story.pass_time(0.01)
    (ask,) = story.asks
    assert (ask.node, story.asked_of(Prepare)[2].ver) == ("nx", 7)


@pytest.mark.parametrize("kind", [Prepare, Transact, AbortTxn, FinishTxn])
@pytest.mark.parametrize("how", ["wrong_leader", "no_leader", "not sent", "lost", "outcome_unknown"])
def test_each_message_is_sent_again_under_the_same_name(kind: type[Body], how: str) -> None:
    story = Story(transaction("a", "b")).start()
    pid = 2 if kind in (Prepare, FinishTxn) else 1
    if kind is not Prepare:
        story.vote(2)
    if kind is AbortTxn:
        story.refuse(Transact, 1, "txn_conflict")
    if kind is FinishTxn:
        story.decide(commits=True)
    first = story.asked_of(kind)[pid]
    if how == "not sent":
        story.fail_to_send(kind, pid)
    elif how == "lost":
        story.lose(kind, pid)
    else:
        story.refuse(kind, pid, how)
    assert not story.asked_of(kind)
    story.pass_time(0.01)
    assert story.asked_of(kind) == {pid: first}


def test_pauses_grow_up_to_a_fifth_of_a_second() -> None:
    story = Story(transaction("a", "b")).start()
    pauses = []
    for _ in range(6):
        story.refuse(Prepare, 2, "no_leader")
        wake_s = story.coordinator.wake_s
        assert wake_s is not None
        pauses.append(round(wake_s - story.now_s, 6))
        story.pass_time(wake_s - story.now_s)
    assert pauses[:3] == [0.00375, 0.015, 0.06]
    assert pauses[3:] == [0.15] * 3


def test_news_of_a_leader_end_the_pause() -> None:
    story = Story(transaction("a", "b")).start()
    for _ in range(5):
        story.refuse(Prepare, 2, "no_leader")
        if story.coordinator.wake_s is not None:
            story.pass_time(0.16)
    story.refuse(Prepare, 2, "no_leader")
    story.lead(3, "n3")
    assert not story.asks
    story.lead(2, "n2x")
    assert story.under_way == ["Prepare 2"]
    assert story.asked_of(Prepare)[2].ver == 2


def test_news_of_several_leaders_end_the_pauses_of_those_who_wait_for_them_alone() -> None:
    story = Story(transaction("a", "b", "c", "d", "e")).start()
    for pid in (2, 3, 4):
        story.refuse(Prepare, pid, "no_leader")
    story.hear_of(1, 2, 4)
    assert story.under_way == ["Prepare 2", "Prepare 4", "Prepare 5"]
    story.hear_of(1, 2, 4)
    assert story.under_way == ["Prepare 2", "Prepare 4", "Prepare 5"]
    story.pass_time(0.01)
    assert story.under_way == ["Prepare 2", "Prepare 3", "Prepare 4", "Prepare 5"]


def test_a_partition_without_leader_is_waited_for() -> None:
    story = Story(transaction("a", "b"))
    story.entries[2] = led_by(2, None)
    story.start()
    assert not story.asks
    story.pass_time(3.0)
    story.lead(2, "n2")
    story.vote(2)
    story.decide(commits=True)
    assert story.committed


def test_a_participant_that_stays_without_leader_is_refused_within_the_time_and_nothing_is_locked() -> None:
    story = Story(transaction("a", "b"))
    story.entries[2] = led_by(2, None)
    story.start()
    story.pass_time(4.0)
    assert story.code == "no_leader"
    assert not story.asks


def test_a_primary_without_leader_keeps_nobody_elses_keys_locked() -> None:
    story = Story(transaction("a", "b"))
    story.entries[1] = led_by(1, None)
    story.start()
    story.pass_time(3.0)
    assert not story.asks
    story.lead(1, "n1")
    assert story.under_way == ["AskTxn 1"]
    story.answer(AskTxn, 1, TxnKnown(False))
    assert story.under_way == ["Prepare 2"]


def test_a_primary_that_is_away_is_asked_for_before_anybody_locks_keys_for_it() -> None:
    story = Story(transaction("a", "b"), CLIENTS)
    story.away.add("n1")
    story.start()
    assert story.under_way == ["AskTxn 1"]
    story.fail_to_send(AskTxn, 1)
    assert story.code == "no_leader"
    assert not story.asks


def test_behind_a_node_that_is_away_for_long_nobody_waits() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.vote(3)
    story.away.add("n2")
    story.fail_to_send(Prepare, 2)
    assert story.under_way == ["AbortTxn 1"]
    story.decide(commits=False)
    assert story.code == "no_leader"


def test_a_primary_that_is_not_there_any_more_is_a_definite_error_where_it_was_never_asked() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.away.add("n1")
    story.fail_to_send(Transact, 1)
    story.fail_to_send(AbortTxn, 1)
    assert story.code == "no_leader"


@pytest.mark.parametrize("keys", [("a",), ("a", "b")])
def test_a_question_to_commit_that_is_never_answered_leaves_the_outcome_unknown(keys: tuple[str, ...]) -> None:
    story = Story(transaction(*keys)).start()
    if len(keys) > 1:
        story.vote(2)
    while story.asked_of(Transact):
        story.pass_time(1.0)
        story.lose(Transact, 1)
        story.pass_time(0.3)
    assert story.code == "outcome_unknown"
    assert not story.asks
    assert story.coordinator.is_over


def test_after_a_lost_question_to_commit_a_missing_leader_is_no_answer() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    while story.asked_of(Transact):
        story.refuse(Transact, 1, "no_leader")
        story.pass_time(0.3)
    assert story.code == "outcome_unknown"


def test_after_a_lost_question_on_a_single_partition_only_a_decision_is_an_answer() -> None:
    story = Story(transaction("a")).start()
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.refuse(Transact, 1, "txn_conflict")
    assert story.result is None
    story.pass_time(0.1)
    story.decide(commits=True, is_new=False)
    assert story.committed


def test_leaders_that_name_each_other_to_the_end_are_no_leader() -> None:
    story = Story(transaction("a")).start()
    while story.asked_of(Transact):
        story.refuse(Transact, 1, "wrong_leader")
        story.pass_time(0.3)
    assert story.code == "no_leader"


def test_each_message_has_a_pause_of_its_own() -> None:
    story = Story(transaction("a", "b", "c")).start()
    story.refuse(Prepare, 3, "no_leader")
    story.pass_time(0.01)
    story.refuse(Prepare, 3, "no_leader")
    story.refuse(Prepare, 2, "no_leader")
    story.pass_time(0.005)
    assert story.under_way == ["Prepare 2"]


def test_no_attempt_is_waited_for_longer_than_the_transaction_may_take() -> None:
    story = Story(transaction("a", "b"), timeout_s=1.0).start()
    (prepare,) = story.asks
    assert prepare.timeout_s == pytest.approx(0.8)
    story.vote(2)
    (transact,) = story.asks
    assert transact.timeout_s == pytest.approx(1.0)


def test_where_the_first_participant_cannot_be_asked_any_more_the_others_are_not() -> None:
    story = Story(transaction("a", "b", "c"))
    story.entries[1] = led_by(1, None)
    story.entries[2] = led_by(2, None)
    story.start()
    story.pass_time(3.7)
    story.lead(1, "n1")
    story.answer(AskTxn, 1, TxnKnown(False))
    assert story.code == "no_leader"
    assert not story.asks


def test_a_single_partition_that_never_was_reached_is_a_definite_error() -> None:
    story = Story(transaction("a"), CLIENTS).start()
    while story.asked_of(Transact):
        story.fail_to_send(Transact, 1)
        story.pass_time(0.3)
    assert story.code == "no_leader"
    assert story.now_s <= 105


def test_a_second_answer_of_the_primary_finishes_what_was_voted() -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2, seq=22)
    story.lose(Transact, 1)
    story.pass_time(0.1)
    story.decide(commits=True, is_new=False)
    assert [result.etag for result in story.committed.results] == ["a", "b"]
    assert story.asked_of(FinishTxn)[2].seq == 22


def test_votes_of_another_partition_and_other_answers_are_as_good_as_none() -> None:
    story = Story(transaction("a", "b", "b2")).start()
    part = story.asked_of(Prepare)[2].part
    unfit: list[Body] = [
        Voted(msgspec.structs.replace(vote_on(part, 2), pid=3)),
        Voted(vote_on(part, 2, then=TxnBranch([]))),
        Done(),
        TxnKnown(True),
    ]
    for body in unfit:
        story.answer(Prepare, 2, body)
        assert not story.asks
        story.pass_time(0.3)
        assert story.under_way == ["Prepare 2"]
    story.refuse(Prepare, 2, "txn_conflict")
    assert story.under_way == ["AbortTxn 1"], "it may have prepared"


@pytest.mark.parametrize("other", [TxnName(2, b"own-".ljust(16, b"."), 1), TxnName(1, b"other".ljust(16, b"."), 1)])
def test_a_decision_on_another_transaction_is_none(other: TxnName) -> None:
    story = Story(transaction("a", "b")).start()
    story.vote(2)
    story.decide(commits=True, txn=other)
    assert story.result is None
    story.pass_time(0.1)
    assert story.under_way == ["Transact 1"]
