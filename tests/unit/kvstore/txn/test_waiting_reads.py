"""Reads of keys that a transaction may change: they wait, never see the old value, and end in time."""

from __future__ import annotations

import pytest
from unit.kvstore.story import Story, StoryNode, code, plain
from unit.kvstore.txn.coordinating import delete, finish, get, named, part, prepare, prepared, put

from kvstore.messages import ResolveTxns
from kvstore.replication.answers import LATER
from kvstore.txn.transactions import ASK_WHEN_LEFT_MS, KEY_WAIT_MS

TXN = named("t")


@pytest.fixture
def story() -> Story:
    story = Story(nodes=1)
    n1 = story.lead()
    n1.put("w", b"k", b"old")
    n1.put("brief", b"t", b"short-lived", ttl_ms=1000)
    story.settle(apply=True)
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


def test_a_read_of_a_hidden_key_waits_and_sees_the_new_value(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert n1.read("r", b"k") is LATER
    finish(n1, "f", vote, TXN)
    n1.retry()
    assert "r" not in n1.replies, "its end is not committed"
    story.settle()
    assert plain(n1.replies["r"]) == b"new"
    assert n1.read("now", b"k") == b"new"


def test_a_read_of_a_key_that_is_deleted_waits_too(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(delete(b"k")))
    assert n1.read("r", b"k") is LATER
    finish(n1, "f", vote, TXN)
    story.settle()
    assert n1.replies["r"] is None


def test_after_an_abort_a_read_sees_the_old_value(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert n1.read("r", b"k") is LATER
    finish(n1, "f", vote, TXN, commits=False)
    story.settle()
    assert plain(n1.replies["r"]) == b"old"


def test_a_quorum_read_waits_as_well(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert n1.read_quorum("r", b"k") is LATER
    finish(n1, "f", vote, TXN)
    story.settle()
    assert plain(n1.replies["r"]) == b"new"


def test_what_one_transaction_left_is_shown_though_the_next_has_prepared_the_key(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert n1.read("r", b"k") is LATER
    finish(n1, "f", vote, TXN)
    prepare(n1, "next", named("u"), part(put(b"k", b"newer")))
    n1.batch()
    assert plain(n1.replies["r"]) == b"new"
    assert n1.read("later", b"k") is LATER


def test_keys_that_are_only_read_are_shown(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(get(b"k")))
    assert n1.read("r", b"k") == b"old"


def test_before_the_prepare_record_is_committed_the_old_value_is_shown(story: Story, n1: StoryNode) -> None:
    prepare(n1, "p", TXN, part(put(b"k")))
    assert n1.read("r", b"k") == b"old"


def test_after_a_tenth_of_a_second_a_read_is_refused_as_locked(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    n1.read("r", b"k")
    story.pass_ms(KEY_WAIT_MS - 1)
    n1.retry()
    assert "r" not in n1.replies
    story.pass_ms(1)
    n1.retry()
    assert code(n1.replies["r"]) == "locked"


def test_a_turn_comes_when_the_wait_is_half_over_and_when_it_is_over_and_none_between(
    story: Story, n1: StoryNode
) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    n1.read("r", b"k")
    n1.retry()
    for _ in range(ASK_WHEN_LEFT_MS):
        story.pass_ms(1)
        n1.retry()
    assert n1.wakes == [KEY_WAIT_MS - ASK_WHEN_LEFT_MS, ASK_WHEN_LEFT_MS]


def test_the_decision_is_asked_for_when_the_wait_is_half_over(story: Story, n1: StoryNode) -> None:
    story.nodes["n9"] = n1
    prepared(story, n1, TXN, part(put(b"k")))
    n1.read("r", b"k")
    n1.retry()
    assert not n1.sent
    story.pass_ms(KEY_WAIT_MS - ASK_WHEN_LEFT_MS)
    n1.retry()
    assert [type(send.body) for send in n1.sent] == [ResolveTxns]


def test_a_locked_key_does_not_end_by_its_time_while_somebody_reads_it_or_nobody(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(get(b"t")))
    before = n1.partition.copy.log.end
    story.pass_ms(1500)
    n1.tick()
    assert n1.read("r", b"t") is LATER
    story.settle()
    assert n1.partition.copy.log.end == before
    finish(n1, "f", vote, TXN)
    story.settle()
    assert n1.replies["r"] is None, "its end is committed when the lock is given up"


def test_an_overdue_key_that_stays_locked_is_refused(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(get(b"t")))
    story.pass_ms(1500)
    assert n1.read("r", b"t") is LATER
    story.pass_ms(KEY_WAIT_MS)
    n1.retry()
    assert code(n1.replies["r"]) == "locked"


def test_reads_that_wait_end_with_the_leadership(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    n1.read("r", b"k")
    n1.perform(n1.partition.resign())
    assert code(n1.replies["r"]) == "no_leader"


def test_nobody_waits_for_a_leader_that_hands_over(story: Story, n1: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    n1.read("r", b"k")
    n1.leader.is_passing_on = True
    n1.retry()
    assert code(n1.replies["r"]) == "no_leader"


def test_a_read_that_waited_for_the_end_of_its_key_waits_in_time_for_who_prepared_it_meanwhile(
    story: Story, n1: StoryNode
) -> None:
    story.pass_ms(1500)
    assert n1.read("r", b"t") is LATER
    prepare(n1, "p", TXN, part(put(b"t")))
    story.settle()
    assert "r" not in n1.replies, "the key is in doubt by now"
    story.pass_ms(KEY_WAIT_MS)
    n1.retry()
    assert code(n1.replies["r"]) == "locked"
