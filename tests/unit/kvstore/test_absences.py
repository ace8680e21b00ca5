"""What a leader tells of keys that are not there: it changes whenever one was there meanwhile."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode, taken_over
from unit.kvstore.txn.coordinating import delete, finish, named, part, prepared, put, transact

from kvstore.messages import Absence, ReadOne
from kvstore.replication.overlay import REMOVAL_CLASSES, Overlay

OURS = named("o", primary=PID)


@pytest.fixture
def story() -> Story:
    story = Story()
    story.lead()
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


def absence(node: StoryNode, key: bytes = b"k") -> Absence | None:
    assert node.read("r", key) is None
    return node.partitions.reads.absence(ReadOne(PID, node.partition.ver, key))


def there_and_gone(story: Story, node: StoryNode, way: str) -> None:
    """The key comes and goes, in one way or another."""
    if way == "transaction":
        transact(node, "t", OURS, part(put(b"k")))
    else:
        node.put("w", b"k", ttl_ms=1000 if way == "expiry" else None)
    story.settle(apply=True)
    if way == "delete":
        node.delete("d", b"k")
    elif way == "expiry":
        story.pass_ms(1500)
        node.tick()
    elif way == "transaction":
        transact(node, "t2", named("p", primary=PID), part(delete(b"k")))
    else:
        finish(node, "f", prepared(story, node, named("q"), part(delete(b"k"))), named("q"))
    story.settle()


@pytest.mark.parametrize("way", ["delete", "expiry", "transaction", "participant"])
def test_it_changes_when_the_key_was_there_meanwhile(story: Story, n1: StoryNode, way: str) -> None:
    before = absence(n1)
    there_and_gone(story, n1, way)
    assert absence(n1) not in (None, before)


def test_it_changes_when_what_removed_the_key_is_applied_long_ago(story: Story, n1: StoryNode) -> None:
    before = absence(n1)
    there_and_gone(story, n1, "delete")
    story.settle(apply=True)
    assert absence(n1) not in (None, before)


def test_it_stays_while_nothing_of_its_class_is_removed(story: Story, n1: StoryNode) -> None:
    before = absence(n1)
    n1.put("w", b"other")
    story.settle(apply=True)
    assert absence(n1) == before
    overlay = Overlay()
    for number in range(1, 1000):
        overlay.commit(number, b"k%d" % number, None)
    assert overlay.removed_seq(b"k999") == 999
    assert overlay.removed_seq(b"k1") >= 1
    assert len(overlay._removed) <= REMOVAL_CLASSES


def test_a_removal_that_is_not_committed_changes_nothing(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    before = n1.partitions.reads.absence(ReadOne(PID, n1.partition.ver, b"k"))
    n1.delete("d", b"k")
    assert n1.partitions.reads.absence(ReadOne(PID, n1.partition.ver, b"k")) == before


def test_no_two_leaders_tell_the_same(story: Story, n1: StoryNode) -> None:
    before = absence(n1)
    assert absence(taken_over(story)) != before


def test_who_does_not_lead_tells_nothing(story: Story) -> None:
    assert story.n2.partitions.reads.absence(ReadOne(PID, story.n2.partition.ver, b"k")) is None
