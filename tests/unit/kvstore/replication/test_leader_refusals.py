"""What a leader refuses, and what becomes of what it took when its leadership ends."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PENDING_BYTES_MAX, PID, Story, StoryNode, code, version

from kvstore.messages import Acked, Refused
from kvstore.replication.answers import LATER
from kvstore.storage.engine import Table, Usage


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def test_a_silent_follower_refuses_writes_only_when_control_lets_nobody_go(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    story.settle()
    n1.put("waits", b"k", b"w")
    n1.batch()
    story.drop(n1)
    for _ in range(12):
        story.pass_ms(100)
        n1.tick()
        story.drop(n1)
    assert n1.put("taken", b"k") is LATER, "it waits for the compare-and-set"
    for _ in range(15):
        story.pass_ms(100)
        n1.tick()
        story.drop(n1)
    assert code(n1.put("late", b"k")) == "not_enough_copies"
    assert code(n1.delete("late", b"k")) == "not_enough_copies"
    assert code(n1.read("r", b"k")) == "no_leader", "without a lease somebody else may serve by now"
    assert "waits" not in n1.replies, "an appended write is never called failed"


def test_too_few_copies_in_sync_refuse_writes_before_anything_is_appended(story: Story) -> None:
    story.entry = msgspec.structs.replace(story.entry, min_in_sync=2)
    n1 = story.lead()
    alone = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,))
    n1.on_entry(alone)
    end = n1.partition.copy.log.end
    assert code(n1.put("w", b"k")) == "not_enough_copies"
    n1.batch()
    assert n1.partition.copy.log.end == end


def test_an_idle_follower_is_not_silent(story: Story, n1: StoryNode) -> None:
    for _ in range(50):
        story.pass_ms(100)
        n1.tick()
        story.settle()
    assert n1.put("w", b"k") is LATER


def test_a_full_store_refuses_puts_and_lets_deletes_through(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    story.settle()
    n1.partitions.usage = Usage(used=100, limit=100)
    assert code(n1.put("p", b"k")) == code(n1.put("p", b"new")) == "storage_full"
    assert n1.read("r", b"k") == b"v"
    assert n1.delete("d", b"k") is LATER
    story.settle()
    assert n1.read("r", b"k") is None
    n1.partitions.usage = Usage(used=0, limit=100_000)
    assert n1.put("p", b"k") is LATER


def test_a_full_follower_refuses_puts_and_lets_deletes_through(story: Story, n1: StoryNode) -> None:
    story.n2.partitions.usage = Usage(used=100, limit=100)
    n1.put("w", b"k")
    story.settle()
    assert version(n1.replies["w"]) == (1, 2)
    assert code(n1.put("p", b"k")) == "storage_full"
    assert n1.delete("d", b"k") is LATER
    story.n2.partitions.usage = Usage(used=0, limit=100_000)
    story.settle()
    assert n1.put("p", b"k") is LATER


def test_bytes_that_wait_for_their_copies_are_bounded(story: Story, n1: StoryNode) -> None:
    value = bytes(PENDING_BYTES_MAX // 4)
    assert [n1.put(f"w{number}", b"k%d" % number, value) is LATER for number in range(5)] == [True] * 4 + [False]
    assert code(n1.replies.pop("w4")) == "overloaded"
    assert code(n1.delete("d", b"k0")) == "overloaded"
    story.settle()
    assert len(n1.replies) == 5
    assert n1.put("again", b"k", value) is LATER


def test_bytes_that_wait_are_given_back_when_leadership_ends(story: Story, n1: StoryNode) -> None:
    value = bytes(PENDING_BYTES_MAX // 2)
    for turn in range(6):
        n1.put(f"{turn}a", b"a", value)
        n1.begin_batch()
        n1.put(f"{turn}b", b"b", value)
        n1.end_batch()
        story.drop()
        n1.receive("n2", refused(story, n1.leader.epoch + 1))
        assert code(n1.replies[f"{turn}a"]) == code(n1.replies[f"{turn}b"]) == "outcome_unknown"
        story.pass_ms(2000)
        n1.tick()
        story.settle()
        assert n1.leader.is_serving
    assert n1.put("after", b"k", value) is LATER


def refused(story: Story, promised_epoch: int) -> Refused:
    return Refused(PID, story.n2.rid, promised_epoch)


def test_what_waits_when_leadership_ends_is_unknown_and_never_failed(story: Story, n1: StoryNode) -> None:
    n1.put("appended", b"k")
    n1.batch()
    story.drop()
    n1.put("queued", b"k")
    n1.put("condition", b"k", if_none_match="*")
    n1.receive("n2", refused(story, 2))
    assert {ticket: code(result) for ticket, result in n1.replies.items()} == dict.fromkeys(
        ("appended", "queued", "condition"), "outcome_unknown"
    )


def test_an_ack_of_another_epoch_or_copy_counts_for_nothing(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    n1.batch()
    rid = story.n2.rid
    good = Acked(PID, rid, 1, 2, 1, False)
    for bad in (
        Acked(PID, rid, 0, 2, 1, False),
        Acked(PID, rid, 2, 2, 1, False),
        Acked(PID, n1.rid, 1, 2, 1, False),
        Acked(PID, type(rid)("n2", b"another store..."), 1, 2, 1, False),
    ):
        n1.receive("n2", bad)
    n1.receive("n9", good)
    assert "w" not in n1.replies
    n1.receive("n2", good)
    assert "w" in n1.replies


def test_rows_of_a_large_queue_are_cut_into_bounded_rows() -> None:
    story = Story(nodes=1, pending_bytes_max=1 << 30)
    n1 = story.lead()
    for number in range(10):
        n1.put(f"w{number}", b"k%d" % number, bytes(1 << 20))
    n1.batch()
    assert len(n1.replies) == 10
    sizes = [len(row) for row in n1.rows(Table.LOG).values()]
    assert len(sizes) == 4
    assert max(sizes) < 4.1 * (1 << 20)
