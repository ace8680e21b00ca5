"""Reads that may be behind: who answers them, and that the bound they tell is one that held."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code

from kvstore.leases import PING_MS, PROOF_MS
from kvstore.messages import Fault, Ping, Pong, ReadOne, ReadStale
from kvstore.replication.answers import LATER
from kvstore.replication.peer import LEASE_MS
from kvstore.replication.stale_reads import CLOCK_STEP_MS, StaleReads
from kvstore.storage.records import DamagedRow

TICK_MS = 100
ASKED = ReadStale(ReadOne(PID, 1, b"k"))


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    n1 = story.lead()
    n1.put("w", b"k", b"v")
    story.settle(apply=True)
    return n1


@pytest.fixture
def n2(story: Story, n1: StoryNode) -> StoryNode:
    """A follower that knows its bound, and has applied all there is."""
    story.beat()
    return story.n2


def test_a_follower_tells_how_long_ago_it_asked(story: Story, n2: StoryNode) -> None:
    assert n2.read_stale(b"k") == (b"v", CLOCK_STEP_MS)
    story.pass_ms(300)
    assert n2.read_stale(b"k") == (b"v", 300 + CLOCK_STEP_MS)
    assert n2.read_stale(b"absent") == (None, 300 + CLOCK_STEP_MS)


def test_the_bound_counts_from_when_the_question_left(story: Story, n2: StoryNode) -> None:
    story.pass_ms(PING_MS)
    n2.tick()
    story.pass_ms(70)
    story.deliver(n2)
    story.pass_ms(40)
    story.deliver(story.n1)
    assert n2.read_stale(b"k") == (b"v", 110 + CLOCK_STEP_MS)


def test_an_idle_cluster_keeps_followers_fresh(story: Story, n2: StoryNode) -> None:
    for _ in range(100):
        story.pass_ms(TICK_MS)
        for node in story.nodes.values():
            node.tick()
        story.settle()
        _, lag_ms = n2.read_stale(b"k")
        assert lag_ms <= PING_MS + TICK_MS


def test_what_is_committed_and_not_applied_is_no_part_of_the_bound(story: Story, n2: StoryNode) -> None:
    story.n1.put("w2", b"k", b"new")
    story.settle()
    story.pass_ms(PING_MS)
    n2.tick()
    while story.deliver(n2) or story.deliver(story.n1):
        pass
    assert n2.read_stale(b"k") == (b"v", PING_MS + CLOCK_STEP_MS), "the old value with the old bound"
    asked_ms = story.now.mono_ms
    story.settle(apply=True)
    assert n2.read_stale(b"k") == (b"new", story.now.mono_ms - asked_ms + CLOCK_STEP_MS)


def test_a_copy_that_applies_late_still_gets_on() -> None:
    stale = StaleReads()
    for seq in range(1, 100):
        stale.learn(seq, seq * 10, seq // 2)
    assert stale.since_ms(49) >= 250
    assert stale.since_ms(99) == 990


def test_a_late_answer_takes_nothing_back() -> None:
    stale = StaleReads()
    stale.learn(5, 100, 5)
    stale.learn(4, 50, 5)
    assert stale.since_ms(5) == 100


def test_a_copy_further_behind_than_asked_for_refuses(story: Story, n2: StoryNode) -> None:
    story.pass_ms(300)
    assert code(n2.read_stale(b"k", 300)) == "no_leader"
    assert n2.read_stale(b"k", 301) == (b"v", 301)


def test_a_copy_that_was_never_told_its_bound_refuses(story: Story, n1: StoryNode) -> None:
    story.beat()
    story.restart(story.n2)
    assert code(story.n2.read_stale(b"k")) == "no_leader"


def test_a_leader_without_a_lease_tells_followers_nothing(story: Story, n2: StoryNode) -> None:
    story.pass_ms(LEASE_MS)
    n2.tick()
    story.deliver(n2, Ping)
    (pong,) = [send.body for send in story.n1.sent if isinstance(send.body, Pong)]
    assert not pong.commits
    story.deliver(story.n1)
    assert n2.read_stale(b"k") == (b"v", LEASE_MS + CLOCK_STEP_MS)


def test_a_leader_that_hands_over_tells_followers_nothing(story: Story, n2: StoryNode) -> None:
    story.n1.leader.is_passing_on = True
    story.n1.receive("n2", Ping(7, []))
    assert [send.body for send in story.n1.sent] == [Pong(7, [])]


def test_an_answer_that_grants_nothing_waits_for_no_disk(story: Story, n2: StoryNode) -> None:
    story.pass_ms(PROOF_MS + 1)
    story.n1.receive("n2", Ping(7, []))
    assert [send.body for send in story.n1.sent] == [Pong(7, [], [(PID, story.n1.partition.copy.commit_seq, 0)])]


def test_an_answer_to_another_nodes_question_is_no_bound(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    n2.tick()
    story.drop()
    for number in range(20):
        n2.receive("n9", Pong(number, [], [(PID, 1)]))
    assert code(n2.read_stale(b"k")) == "no_leader"


# ---- leaders ----------------------------------------------------------------------------------------------------


def test_a_leader_with_a_lease_is_not_behind(story: Story, n2: StoryNode) -> None:
    story.n1.put("w2", b"k", b"committed, not applied")
    story.settle()
    assert story.n1.read_stale(b"k") == (b"committed, not applied", 0)


def test_a_leader_without_a_lease_is_behind_since_its_end(story: Story, n2: StoryNode) -> None:
    n1 = story.n1
    end_ms = n1.leader.followers.lease_end_ms
    story.pass_ms(LEASE_MS)
    lag_ms = story.now.mono_ms - end_ms + CLOCK_STEP_MS
    assert 0 < lag_ms < LEASE_MS
    assert n1.read_stale(b"k") == (b"v", lag_ms)
    assert code(n1.read_stale(b"k", lag_ms - 1)) == "no_leader"


def test_a_leader_without_a_lease_that_has_not_applied_all_claims_nothing_of_it(story: Story, n2: StoryNode) -> None:
    n1 = story.n1
    n1.put("w2", b"k", b"new")
    story.settle()
    assert n1.partition.copy.applied_seq < n1.partition.copy.commit_seq
    story.pass_ms(LEASE_MS)
    assert code(n1.read_stale(b"k")) == "no_leader"


def test_a_leader_that_dropped_its_lease_knows_no_bound(story: Story, n2: StoryNode) -> None:
    story.n1.leader.followers.drop_lease(story.now)
    assert code(story.n1.read_stale(b"k")) == "no_leader"


def test_a_leader_that_hands_over_is_behind_since_it_began(story: Story, n2: StoryNode) -> None:
    leader = story.n1.leader
    leader.is_passing_on, leader.since_ms = True, story.now.mono_ms
    story.pass_ms(50)
    assert story.n1.read_stale(b"k") == (b"v", 50 + CLOCK_STEP_MS)


def test_a_follower_that_takes_over_answers_with_what_it_knew_until_it_serves(story: Story, n2: StoryNode) -> None:
    for _ in range(30):
        story.pass_ms(TICK_MS)
        n2.tick()
        story.drop()
    assert n2.read_stale(b"k") == (b"v", 3000 + CLOCK_STEP_MS)
    story.land(n2)
    assert not n2.leader.is_serving
    assert n2.read_stale(b"k") == (b"v", 3000 + CLOCK_STEP_MS)
    n2.batch()
    assert n2.read_stale(b"k") == (b"v", 0), "alone in sync"


def test_an_overdue_key_shows_on_a_follower_until_its_end_is_applied(story: Story, n2: StoryNode) -> None:
    story.n1.put("w2", b"t", b"soon gone", ttl_ms=1)
    story.settle(apply=True)
    story.pass_ms(2)
    assert n2.read_stale(b"t")[0] == b"soon gone"
    assert story.n1.read_stale(b"t", ticket="s") is LATER
    story.settle(apply=True)
    assert story.n1.replies["s"] is None
    assert n2.read_stale(b"t")[0] is None


# ---- copies that never answer -----------------------------------------------------------------------------------


def test_a_copy_that_is_not_in_sync_refuses_and_tells_a_newer_entry(story: Story, n2: StoryNode) -> None:
    before = story.entry.ver
    story.entry = msgspec.structs.replace(story.entry, ver=before + 1, in_sync=(story.n1.rid,))
    n2.on_entry(story.entry)
    assert code(n2.read_stale(b"k")) == "no_leader"
    assert n2.read_stale(b"k").entry is None, "the asker knows it"
    n2.partition.copy.adopt(msgspec.structs.replace(story.entry, ver=before + 2))
    refused = n2.partitions.reads.stale("t", ASKED, n2.engine.snapshot(), story.now)
    assert isinstance(refused, Fault)
    assert refused.entry is not None
    assert refused.entry.ver == before + 2


def test_a_quarantined_copy_refuses(story: Story, n2: StoryNode) -> None:
    n2.partition.quarantine(str(DamagedRow("planted")))
    assert code(n2.read_stale(b"k")) == "no_leader"


def test_a_node_without_the_partition_refuses(story: Story, n2: StoryNode) -> None:
    n2.partitions.by_pid.clear()
    assert code(n2.partitions.reads.stale("t", ASKED, n2.engine.snapshot(), story.now)) == "no_leader"
