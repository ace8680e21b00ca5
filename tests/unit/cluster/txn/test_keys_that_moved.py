"""Transactions on keys that change their partition meanwhile, or have since they were asked for first."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from unit.cluster.txn.txn_story import CLIENTS, Story, led_by, transaction

from cluster.txn.transaction import txn_id
from kvstore.messages import AbortTxn, FinishTxn, Prepare, Transact, TxnName, TxnResult

FORMER = TxnName(4, CLIENTS.token, 1)


def relaid(story: Story, pid: int) -> None:
    """Keys come to a partition, or leave it."""
    entry = story.entries[pid]
    story.entries[pid] = msgspec.structs.replace(entry, ver=entry.ver + 1, layout=entry.layout + 1)


def test_what_the_former_primary_has_committed_is_the_answer_and_rests_on_nothing_prepared_since() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    results = [TxnResult(0, 201, "there"), TxnResult(1, 201, "there")]
    story.decide(commits=True, is_new=False, txn=FORMER, results=results)
    assert (story.committed.id, story.committed.results) == (txn_id(FORMER), results)
    assert not story.asked_of(FinishTxn)[2].commits


def test_what_the_former_primary_has_aborted_is_followed_by_the_next_attempt_at_the_new_one() -> None:
    story = Story(transaction("a", "b"), CLIENTS).start()
    story.vote(2)
    story.decide(commits=False, is_new=False, txn=msgspec.structs.replace(FORMER, attempt=3))
    assert story.result is None
    assert story.asked_of(Prepare)[2].txn == msgspec.structs.replace(CLIENTS, attempt=4)


def test_a_participant_whose_keys_have_changed_is_not_asked_for_the_same_ones_again() -> None:
    story = Story(transaction("a", "b")).start()
    relaid(story, 2)
    story.refuse(Prepare, 2, "wrong_leader")
    story.pass_time(1.0)
    assert not story.asks
    assert story.code == "no_leader"


@pytest.mark.parametrize("go_on", [lambda story: story.hear_of(2, 3), lambda story: story.pass_time(0.01)])
def test_who_waits_beside_one_whose_keys_have_changed_is_not_asked_to_vote(go_on: Callable[[Story], None]) -> None:
    story = Story(transaction("a", "b", "c"))
    story.entries[2], story.entries[3] = led_by(2, None), led_by(3, None)
    story.start()
    relaid(story, 2)
    story.entries[3] = led_by(3, "n3", ver=2)
    go_on(story)
    assert not story.asks
    assert story.code == "no_leader"


def test_a_primary_whose_keys_have_changed_is_not_asked_to_decide() -> None:
    story = Story(transaction("a", "b")).start()
    relaid(story, 1)
    story.vote(2)
    assert not story.asked_of(Transact)
    assert story.asked_of(AbortTxn)
    story.decide(commits=False)
    assert story.code == "no_leader"


def test_who_has_another_leader_and_the_same_keys_is_asked_again() -> None:
    story = Story(transaction("a", "b")).start()
    story.lead(2, "n2")
    story.refuse(Prepare, 2, "wrong_leader")
    story.pass_time(1.0)
    assert story.asked_of(Prepare)
