"""What a leader knows of writes at its log's end, beside what is applied."""

from __future__ import annotations

import pytest
from unit.kvstore.story import ALL_GRACE_MS, Story, StoryNode, alone

from kvstore.instant import Instant
from kvstore.replication.answers import LATER
from kvstore.replication.outcomes_at_end import Known, OutcomesAtEnd
from kvstore.replication.windows import KEEP_MS
from kvstore.storage.records import Record, RecordType

SCOPE, ASKED = b"scope...........", b"fingerprint....."


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def test_what_is_not_committed_is_no_part_of_the_applied_state(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", origin=4, number=1, floor=1)
    n1.batch(apply=True)
    assert n1.partition.copy.outcomes.windows.get(4) is None
    story.settle(apply=True)
    assert n1.partition.copy.outcomes.windows.get(4) is not None


def test_a_token_that_a_batch_under_way_applies_is_known(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", token=SCOPE + ASKED)
    story.settle()
    story.beat()
    n2 = story.n2
    n2.begin_batch(apply=True)
    assert n2.partition.copy.taken_seq > n2.partition.copy.applied_seq
    outcomes = OutcomesAtEnd(n2.partition.copy)
    for held in n2.partition.copy.log.held_after(0):
        outcomes.take_row(held)
    assert outcomes._find_token(SCOPE + ASKED, n2.engine.snapshot(), 0) == Known((1, 2, 1), 2)


def test_of_two_uses_of_a_token_that_wait_to_be_applied_the_later_one_counts_on(story: Story, n1: StoryNode) -> None:
    copy = n1.partition.copy
    outcomes = OutcomesAtEnd(copy)
    for seq in (copy.applied_seq + 1, copy.applied_seq + 2):
        outcomes.take(Record(RecordType.PUT, b"k", token=SCOPE + ASKED), 1, seq, 0)
    copy.applied_seq += 1
    outcomes.forget_applied()
    found = outcomes._find_token(SCOPE + ASKED, n1.engine.snapshot(), 0)
    assert isinstance(found, Known)
    assert found.seen == found.outcome[1] == copy.applied_seq + 1


def test_an_outcome_that_changed_nothing_raises_the_floor_as_any_write_does(story: Story, n1: StoryNode) -> None:
    assert n1.put("w", b"k", origin=4, number=1, floor=1) is LATER
    n1.put("none", b"k", if_none_match="*", origin=4, number=9, floor=9, again=True)
    story.settle(apply=True)
    window = n1.partition.copy.outcomes.windows.get(4)
    assert window is not None
    assert (window.floor, sorted(window.outcomes)) == (9, [9])


def test_the_logs_end_drops_who_is_silent_when_what_is_applied_does_for_a_new_leader_too(
    story: Story, n1: StoryNode
) -> None:
    n1.put("w", b"k", origin=4, number=1, floor=1)
    story.settle(apply=True)
    story.now = Instant(story.now.mono_ms, story.now.wall_ms + KEEP_MS)
    n1.put("later", b"k", origin=5, number=1, floor=1)
    story.settle()
    windows = n1.leader.outcomes.windows
    assert (windows.get(4), windows.expired_upto) == (None, 4)
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    story.land(n2)
    windows = n2.leader.outcomes.windows
    assert (windows.get(4), windows.expired_upto) == (None, 4)
