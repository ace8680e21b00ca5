"""Stale reads of keys that a transaction may have changed: no copy claims a bound for what stood there before."""

from __future__ import annotations

import pytest
from unit.kvstore.story import Story, StoryNode, code
from unit.kvstore.txn.coordinating import delete, finish, get, named, part, prepare, prepared, put, vote_of

from kvstore.replication.answers import LATER
from kvstore.txn.transactions import KEY_WAIT_MS

TXN = named("t")


@pytest.fixture
def story() -> Story:
    story = Story()
    n1 = story.lead()
    n1.put("w", b"k", b"old")
    n1.put("w2", b"r", b"read only")
    story.settle(apply=True)
    story.beat()
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


@pytest.fixture
def n2(story: Story) -> StoryNode:
    return story.n2


def test_a_copy_that_has_applied_the_prepare_record_refuses(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k"), get(b"r", 1)))
    story.settle(apply=True)
    story.beat()
    assert code(n2.read_stale(b"k")) == "locked"
    assert n2.read_stale(b"r")[0] == b"read only", "nothing becomes of what is only read"


def test_a_copy_that_has_not_applied_it_answers_as_of_before(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    since_ms = story.now.mono_ms
    story.pass_ms(300)
    finish(n1, "finish", vote, TXN)
    story.settle()
    value, lag_ms = n2.read_stale(b"k")
    assert value == b"old"
    assert story.now.mono_ms - lag_ms <= since_ms, "it was not decided then"


@pytest.mark.parametrize("commits", [True, False])
def test_it_answers_again_when_it_has_applied_the_end(
    story: Story, n1: StoryNode, n2: StoryNode, commits: bool
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    story.settle(apply=True)
    finish(n1, "finish", vote, TXN, commits)
    story.settle()
    assert code(n2.read_stale(b"k")) == "locked"
    story.settle(apply=True)
    assert n2.read_stale(b"k")[0] == (b"new" if commits else b"old")


def test_it_refuses_until_the_batch_that_applies_the_end_is_there_to_be_read(
    story: Story, n1: StoryNode, n2: StoryNode
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    story.settle(apply=True)
    finish(n1, "finish", vote, TXN)
    story.settle()
    story.beat()
    n2.begin_batch(apply=True)
    assert code(n2.read_stale(b"k")) == "locked"
    n2.end_batch()
    assert n2.read_stale(b"k")[0] == b"new"


def test_a_key_that_the_next_transaction_took_stays_refused(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    story.settle(apply=True)
    finish(n1, "finish", vote, TXN)
    prepare(n1, "next", named("u"), part(delete(b"k")))
    story.settle(apply=True)
    assert vote_of(n1, "next").holds
    assert code(n2.read_stale(b"k")) == "locked"


def test_it_still_refuses_after_a_restart(story: Story, n1: StoryNode, n2: StoryNode) -> None:
    prepared(story, n1, TXN, part(put(b"k")))
    story.settle(apply=True)
    story.restart(n2)
    story.settle()
    story.beat()
    assert code(n2.read_stale(b"k")) == "locked"


def test_the_leader_waits_as_for_a_strong_read(story: Story, n1: StoryNode) -> None:
    vote = prepared(story, n1, TXN, part(put(b"k")))
    assert n1.read_stale(b"k", ticket="seen") is LATER
    finish(n1, "finish", vote, TXN)
    story.settle()
    assert n1.replies["seen"] is not None
    prepared(story, n1, named("u"), part(put(b"k")))
    assert n1.read_stale(b"k", ticket="refused") is LATER
    story.pass_ms(KEY_WAIT_MS)
    n1.retry()
    assert code(n1.replies["refused"]) == "locked"
