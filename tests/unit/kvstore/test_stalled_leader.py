"""A leader whose disk hangs is succeeded, and holds nothing of that against its followers."""

from __future__ import annotations

import pytest
from unit.kvstore.story import ALL_GRACE_MS, TICK_MS, Story, StoryNode

from kvstore.leases import PING_MS, STALLED_BATCH_MS
from kvstore.messages import Append, Reconcile
from kvstore.replication.peer import ASK_AGAIN_MS, SILENCE_MS, START_GRACE_MS
from kvstore.storage.engine import Usage

FULL = Usage(100, 90)


@pytest.fixture
def n1(story: Story) -> StoryNode:
    n1 = story.lead()
    n1.put("w", b"k")
    story.settle(apply=True)
    story.beat()
    return n1


def hang(story: Story, n1: StoryNode) -> None:
    """A batch of n1 begins, and does not end."""
    n1.delete("hangs", b"k")
    n1.begin_batch()


def pass_hanging(story: Story, n1: StoryNode, ms: int) -> None:
    """Time passes while n1's batch hangs; messages arrive, and n2's disk is sound."""
    for _ in range(ms // TICK_MS):
        story.pass_ms(TICK_MS)
        for node in (n1, story.n2):
            node.tick()
        story.deliver(n1)
        story.n2.batch()
        story.deliver(story.n2)


def test_a_leader_whose_batch_hangs_asks_for_no_other_set_and_the_follower_asks_to_lead(
    story: Story, n1: StoryNode
) -> None:
    hang(story, n1)
    pass_hanging(story, n1, STALLED_BATCH_MS + ALL_GRACE_MS + 2 * START_GRACE_MS)
    assert not n1.asks
    assert story.n2.asks
    assert story.n2.asks[0].leader == story.n2.rid


def test_a_follower_whose_store_is_full_takes_over_from_a_leader_whose_batch_hangs(story: Story, n1: StoryNode) -> None:
    story.n2.partitions.usage = FULL
    n1.delete("told", b"absent", token=b"t" * 32)
    story.settle(apply=True)
    story.beat()
    assert n1.leader.followers.is_full
    hang(story, n1)
    pass_hanging(story, n1, STALLED_BATCH_MS + ALL_GRACE_MS + PING_MS + ASK_AGAIN_MS)
    assert story.n2.asks
    assert not n1.asks


def test_a_leader_whose_batch_hangs_neither_tells_news_nor_asks_where_logs_stand(story: Story, n1: StoryNode) -> None:
    story.n2.partitions.usage = FULL
    n1.put("more", b"k2")
    story.settle()
    hang(story, n1)
    story.pass_ms(STALLED_BATCH_MS + TICK_MS)
    story.drop()
    for _ in range(2 * SILENCE_MS // TICK_MS):
        story.pass_ms(TICK_MS)
        n1.tick()
    assert not [send for send in n1.sent if isinstance(send.body, (Append, Reconcile))]


def test_when_the_batch_has_ended_its_followers_get_the_time_that_they_had_left(story: Story, n1: StoryNode) -> None:
    hang(story, n1)
    story.deliver(n1)
    for _ in range(3 * START_GRACE_MS // TICK_MS):
        story.pass_ms(TICK_MS)
        n1.tick()
        story.deliver(n1)
        story.n2.batch()
        story.deliver(story.n2)
    n1.end_batch()
    for _ in range(SILENCE_MS // TICK_MS):
        story.pass_ms(TICK_MS)
        n1.tick()
        assert not n1.asks
        story.settle()
    assert story.entry.in_sync == (n1.rid, story.n2.rid)
    assert n1.read("r", b"k") is None


def test_a_follower_that_was_cut_off_while_the_batch_hung_has_its_second_to_answer(story: Story, n1: StoryNode) -> None:
    hang(story, n1)
    pass_hanging(story, n1, STALLED_BATCH_MS - TICK_MS)
    n1.partitions.unreachable("n2", story.now)
    for _ in range(START_GRACE_MS // TICK_MS):
        story.pass_ms(TICK_MS)
        n1.tick()
        story.drop(n1)
    n1.end_batch()
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.pass_ms(TICK_MS)
    n1.tick()
    assert not n1.asks
    story.settle()
    story.beat()
    assert story.entry.in_sync == (n1.rid, story.n2.rid)


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_leader_whose_batches_hang_again_and_again_lets_a_dead_follower_go(
    story: Story, n1: StoryNode, is_busy: bool
) -> None:
    for _ in range(4 * START_GRACE_MS // STALLED_BATCH_MS):
        if is_busy:
            n1.put("busy" + str(story.now.mono_ms), b"k")
        n1.begin_batch()
        for _ in range((STALLED_BATCH_MS + 5 * TICK_MS) // TICK_MS):
            story.pass_ms(TICK_MS)
            n1.tick()
            story.drop(n1)
        n1.end_batch()
    assert n1.asks
    assert n1.asks[0].in_sync == (n1.rid,)
