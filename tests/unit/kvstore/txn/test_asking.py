"""What a primary says of a transaction that somebody asks about."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode
from unit.kvstore.txn.coordinating import abort, ask, elsewhere, named, part, put, transact

from kvstore.messages import TxnKnown

TXN = named("t", primary=PID)
SECOND = named("t", 2, primary=PID)


@pytest.fixture
def story() -> Story:
    story = Story()
    story.lead()
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


@pytest.mark.parametrize("is_applied", [False, True])
def test_an_aborted_transaction_is_never_told_as_committed(story: Story, n1: StoryNode, is_applied: bool) -> None:
    abort(n1, "a", TXN)
    story.settle(apply=is_applied)
    assert ask(n1, "where", TXN) == TxnKnown(True)


@pytest.mark.parametrize("is_applied", [False, True])
def test_an_attempt_before_the_one_that_is_committed_is_told_as_aborted(
    story: Story, n1: StoryNode, is_applied: bool
) -> None:
    transact(n1, "t", SECOND, part(put(b"k")), elsewhere())
    story.settle(apply=is_applied)
    told = ask(n1, "first", TXN)
    assert (told.is_decided, told.commits) == (True, False)
    assert ask(n1, "second", SECOND) == TxnKnown(True, True, True)
