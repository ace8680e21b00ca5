"""The in-sync set: who must ack, who leaves and who enters, and that only the map's word counts."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, version

from kvstore.candidate import ASK_AGAIN_MS
from kvstore.map_values import Rid
from kvstore.messages import Acked, Append
from kvstore.replication.answers import LATER
from kvstore.replication.peer import SILENCE_MS, START_GRACE_MS, Role
from kvstore.replication.retention import Retention


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def silence(story: Story, node: StoryNode, ms: int) -> None:
    """Time passes, and nothing that `node` sends arrives."""
    for _ in range(ms // 100):
        story.pass_ms(100)
        node.tick()
        if node.partitions.needs_batch:
            node.batch()
        story.drop(node)


def role(n1: StoryNode, node: str = "n2") -> Role:
    return dict(iter(n1.leader.followers))[node].role


def put_alone(story: Story, n1: StoryNode, ticket: str = "w") -> None:
    """A write that the follower does not get."""
    n1.put(ticket, b"k", b"v")
    n1.batch()
    story.drop(n1)


def shrunk(story: Story, n1: StoryNode) -> StoryNode:
    """n2 was silent, and the map says that n1 is alone in sync."""
    put_alone(story, n1)
    silence(story, n1, SILENCE_MS)
    story.land(n1)
    assert story.entry.in_sync == (n1.rid,)
    return n1


# ---- leaving ----------------------------------------------------------------------------------------------------


def test_a_follower_without_progress_for_a_second_is_let_go_by_compare_and_set(story: Story, n1: StoryNode) -> None:
    put_alone(story, n1)
    silence(story, n1, SILENCE_MS - 200)
    assert not n1.asks
    silence(story, n1, 300)
    (asked,) = n1.asks
    assert asked == msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,))


def test_a_write_waits_until_the_compare_and_set_is_known_to_have_landed(story: Story, n1: StoryNode) -> None:
    put_alone(story, n1)
    silence(story, n1, SILENCE_MS)
    assert n1.asks
    assert "w" not in n1.replies
    story.land(n1)
    assert version(n1.replies["w"]) == (1, 2)
    assert n1.replies["w"].copies == 1


def test_the_old_entry_as_an_answer_settles_nothing(story: Story, n1: StoryNode) -> None:
    put_alone(story, n1)
    silence(story, n1, SILENCE_MS)
    n1.asks.clear()
    n1.on_entry(story.entry)
    assert "w" not in n1.replies
    assert role(n1) is Role.MEMBER


def test_an_open_outcome_is_asked_again_at_the_same_guard_even_when_nothing_is_wanted_any_more(
    story: Story, n1: StoryNode
) -> None:
    put_alone(story, n1)
    silence(story, n1, SILENCE_MS)
    n1.asks.clear()
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.settle()
    story.pass_ms(ASK_AGAIN_MS)
    n1.tick()
    (asked,) = n1.asks
    assert asked == msgspec.structs.replace(story.entry, ver=story.entry.ver + 1), "it changes nothing but settles"


def test_backlog_with_progress_is_no_reason_to_let_go(story: Story, n1: StoryNode) -> None:
    for number in range(25):
        n1.put(f"w{number}", b"k%d" % number)
        n1.batch()
        story.pass_ms(100)
        n1.tick()
        end = n1.leader.followers.durable_end()
        n1.receive("n2", Acked(PID, story.n2.rid, 1, end + (number % 5 == 0), 0, False))
        story.drop(n1)
    assert not n1.asks


def test_an_idle_follower_stays(story: Story, n1: StoryNode) -> None:
    for _ in range(20):
        story.beat()
    assert story.entry.in_sync == (n1.rid, story.n2.rid)


def test_an_idle_follower_that_grants_no_lease_is_let_go(story: Story, n1: StoryNode) -> None:
    silence(story, n1, START_GRACE_MS - 100)
    assert not n1.asks
    silence(story, n1, 200)
    assert n1.asks[0].in_sync == (n1.rid,)


def test_a_follower_whose_connection_is_gone_leaves_though_it_owes_nothing(story: Story, n1: StoryNode) -> None:
    n1.partitions.unreachable("n2", story.now)
    silence(story, n1, SILENCE_MS - 100)
    assert not n1.asks
    silence(story, n1, 200)
    assert n1.asks[0].in_sync == (n1.rid,)


def test_a_new_leader_gives_its_followers_more_time_to_come(story: Story, n1: StoryNode) -> None:
    story.restart(n1)
    story.land(n1)
    story.drop(n1)
    silence(story, n1, START_GRACE_MS - 100)
    assert not n1.asks
    silence(story, n1, 200)
    assert n1.asks[0].in_sync == (n1.rid,)


# ---- entering ---------------------------------------------------------------------------------------------------


def test_one_that_returns_catches_up_and_is_taken_in(story: Story, n1: StoryNode) -> None:
    shrunk(story, n1)
    n1.put("alone", b"a")
    n1.batch()
    assert version(n1.replies["alone"]) == (1, 3)
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.settle()
    assert role(n1) is Role.LEARNER
    story.beat()
    n1.tick()
    assert role(n1) is Role.JOINING
    n1.tick()
    (asked,) = n1.asks
    assert set(asked.in_sync) == {n1.rid, story.n2.rid}
    story.settle()
    assert role(n1) is Role.MEMBER
    n1.put("both", b"b")
    story.settle()
    assert n1.replies["both"].copies == 2


def test_a_learners_ack_counts_for_nothing(story: Story, n1: StoryNode) -> None:
    rid = Rid("n3", b"a third store...")
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, adding=(rid,))
    story.push()
    put_alone(story, n1)
    n1.receive("n3", Acked(PID, rid, 1, 99, 0, False))
    assert "w" not in n1.replies


def joining(story: Story, n1: StoryNode) -> StoryNode:
    """n2 is back, near the log's end, and must ack from now on."""
    shrunk(story, n1)
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.settle()
    story.beat()
    n1.tick()
    assert role(n1) is Role.JOINING
    return n1


def test_one_that_joins_must_ack_before_the_map_names_it(story: Story, n1: StoryNode) -> None:
    joining(story, n1)
    n1.put("w2", b"k2")
    n1.batch()
    assert "w2" not in n1.replies
    story.settle()
    assert "w2" in n1.replies


def test_one_that_joins_is_named_only_after_it_acked_what_the_log_held_then(story: Story, n1: StoryNode) -> None:
    shrunk(story, n1)
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.settle()
    story.beat()
    n1.put("before", b"b")
    n1.batch()
    held_back = [send for send in n1.sent if isinstance(send.body, Append)]
    story.drop(n1)
    n1.tick()
    n1.tick()
    assert role(n1) is Role.JOINING
    assert not n1.asks, "it has not acked the row that was in the log when it began to join"
    for send in held_back:
        story.n2.receive("n1", send.body)
    story.settle()
    n1.tick()
    assert story.n2.rid in n1.asks[0].in_sync


def test_one_that_falls_silent_before_it_was_asked_for_is_a_learner_again(story: Story, n1: StoryNode) -> None:
    shrunk(story, n1)
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.settle()
    story.beat()
    n1.put("w2", b"k2")
    n1.batch()
    story.drop(n1)
    n1.tick()
    assert role(n1) is Role.JOINING
    silence(story, n1, SILENCE_MS + 100)
    assert role(n1) is Role.LEARNER
    assert "w2" in n1.replies


def test_one_that_falls_silent_while_an_ask_that_names_it_is_open_must_still_ack(story: Story, n1: StoryNode) -> None:
    joining(story, n1)
    (asked,) = n1.asks
    n1.put("w2", b"k2")
    n1.batch()
    story.drop(n1)
    silence(story, n1, SILENCE_MS + 100)
    assert role(n1) is Role.JOINING
    assert "w2" not in n1.replies
    n1.asks.clear()
    story.entry = asked
    n1.on_entry(asked)
    assert role(n1) is Role.MEMBER
    silence(story, n1, 200)
    while n1.asks:
        story.land(n1)
    assert "w2" in n1.replies


def test_a_copy_that_was_added_becomes_a_replica_with_the_entry_that_takes_it_in() -> None:
    story = Story(nodes=3)
    n3 = story.nodes["n3"]
    two = story.entry.replicas[:2]
    story.entry = msgspec.structs.replace(story.entry, in_sync=two, replicas=two, adding=(n3.rid,))
    n1 = story.lead()
    n1.put("w", b"k")
    story.settle()
    n1.tick()
    n1.tick()
    story.settle()
    assert story.entry.adding == ()
    assert story.entry.replicas == story.entry.in_sync == (*two, n3.rid)


def test_one_that_lacks_rows_which_are_not_kept_does_not_begin_to_join(story: Story, n1: StoryNode) -> None:
    shrunk(story, n1)
    story.push()
    for number in range(3):
        n1.put(f"a{number}", b"a%d" % number)
        n1.batch(apply=True)
    n1.batch(apply=True)
    n1.partitions.truncation.advance(n1.engine.snapshot(), story.now, Retention(0, 0))
    n1.batch()
    n1.perform(n1.partitions.reachable("n2", story.now))
    for _ in range(3):
        story.beat()
        assert role(n1) is not Role.JOINING or story.n2.partition.copy.log.end == n1.partition.copy.log.end
    for _ in range(10):
        story.beat()
    assert role(n1) is Role.MEMBER


def test_an_answer_tells_how_many_copies_have_it_when_it_leaves() -> None:
    story = Story(nodes=3)
    n1, n2 = story.lead(), story.n2
    assert n1.put("w", b"k") is LATER
    n1.batch()
    story.deliver(n1)
    n2.batch()
    story.deliver(n2)
    assert "w" not in n1.replies
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid, n2.rid)))
    n1.batch()
    assert n1.replies["w"].copies == 2
