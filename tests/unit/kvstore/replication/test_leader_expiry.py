"""Time to live: only a committed record ends a key, and the time of a partition never goes back."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import Story, StoryNode, code, plain

from kvstore.instant import Instant
from kvstore.messages import Written
from kvstore.replication.answers import LATER
from kvstore.replication.leader_time import LeaderTime
from kvstore.storage.engine import Table
from kvstore.storage.records import decode_value


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def test_a_key_is_hidden_only_by_a_committed_expiry(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v", ttl_ms=1000)
    story.settle()
    story.pass_ms(999)
    assert n1.read("early", b"k") == b"v"
    story.pass_ms(1)
    assert n1.read("due", b"k") is LATER
    n1.batch()
    assert "due" not in n1.replies
    story.settle()
    assert n1.replies["due"] is None
    assert n1.read("later", b"k") is None
    story.settle(apply=True)
    assert n1.rows(Table.DATA) == story.n2.rows(Table.DATA) == n1.rows(Table.EXPIRY) == {}


def test_a_key_ends_though_the_wall_clock_was_far_ahead_for_a_moment(story: Story, n1: StoryNode) -> None:
    wall_ms = story.now.wall_ms
    story.now = Instant(story.now.mono_ms, wall_ms + 86_400_000)
    n1.put("ahead", b"other")
    story.settle(apply=True)
    story.now = Instant(story.now.mono_ms, wall_ms)
    n1.put("w", b"k", b"v", ttl_ms=1000)
    story.settle(apply=True)
    story.pass_ms(400)
    story.beat()
    assert n1.read("early", b"k") == b"v"
    story.pass_ms(300)
    story.beat()
    assert n1.read("late", b"k") in (LATER, None)


def test_time_meets_a_wall_clock_that_was_set_back_and_never_goes_back_itself() -> None:
    log_ms = 1_000_000
    time = LeaderTime(Instant(0, log_ms))
    told = [time.at(Instant(mono_ms, log_ms - 5000 + mono_ms), log_ms) for mono_ms in range(0, 100_000, 100)]
    assert told == sorted(told)
    assert told[0] == log_ms
    assert told[-1] == log_ms - 5000 + 99_900


def test_a_follower_never_ends_a_key_by_its_own_clock(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", ttl_ms=1000)
    story.settle(apply=True)
    story.pass_ms(100_000)
    story.n2.tick()
    story.n2.batch(apply=True)
    assert b"k" in story.n2.rows(Table.DATA)


def test_the_sweep_ends_keys_that_nobody_reads(story: Story, n1: StoryNode) -> None:
    for number in range(500):
        n1.put(f"w{number}", b"k%d" % number, ttl_ms=1000)
    n1.put("kept", b"kept", ttl_ms=60_000)
    story.settle(apply=True)
    story.pass_ms(1000)
    for _ in range(3):
        n1.tick()
        story.settle(apply=True)
    assert list(n1.rows(Table.DATA)) == list(story.n2.rows(Table.DATA)) == [b"kept"]
    assert n1.partition.copy.contents.keys == 1
    assert len(n1.rows(Table.EXPIRY)) == 1


def test_an_overdue_key_is_ended_once_however_many_ask(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", ttl_ms=1000)
    story.settle(apply=True)
    story.pass_ms(1000)
    end = n1.partition.copy.log.end
    for ticket in ("r1", "r2", "r3"):
        assert n1.read(ticket, b"k") is LATER
    n1.tick()
    story.settle()
    assert n1.partition.copy.log.end == end + 1
    assert {ticket: n1.replies[ticket] for ticket in ("r1", "r2", "r3")} == dict.fromkeys(("r1", "r2", "r3"))


def test_a_write_on_an_overdue_key_finds_it_absent(story: Story, n1: StoryNode) -> None:
    for key in (b"put", b"delete", b"condition"):
        n1.put(key.decode(), key, ttl_ms=1000)
    story.settle()
    story.pass_ms(1000)
    n1.replies.clear()
    n1.put("put", b"put", if_none_match="*")
    n1.delete("delete", b"delete")
    n1.put("condition", b"condition", if_match="*")
    story.settle()
    assert n1.replies["put"].created
    assert n1.replies["delete"] == Written(False, 0, 0, 2)
    assert code(n1.replies["condition"]) == "precondition_failed"


def test_a_put_without_a_time_to_live_clears_it(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k", ttl_ms=1000)
    n1.put("w2", b"k", b"v")
    story.settle(apply=True)
    story.pass_ms(5000)
    n1.tick()
    story.settle()
    assert n1.read("r", b"k") == b"v"
    assert n1.rows(Table.EXPIRY) == {}


def test_a_read_that_waited_for_an_end_sees_the_put_that_came_after_it(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k", b"old", ttl_ms=1000)
    story.settle()
    story.pass_ms(1000)
    n1.put("w2", b"k", b"new")
    assert n1.read("r", b"k") is LATER
    story.settle()
    assert plain(n1.replies["r"]) == b"new"


def test_the_time_of_a_partition_never_goes_back_over_a_restart_with_a_slow_clock(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", ttl_ms=1000)
    story.pass_ms(5000)
    n1.put("later", b"other")
    story.settle()
    assert n1.read("r", b"k") is LATER
    story.settle()
    story.now = story.now._replace(wall_ms=story.now.wall_ms - 60_000)
    story.restart(n1)
    story.settle()
    n1.put("ttl", b"new", ttl_ms=1000)
    story.settle(apply=True)
    assert n1.read("r2", b"k") is None
    expiry_ms = decode_value(n1.rows(Table.DATA)[b"new"]).expiry_ms
    assert expiry_ms > story.now.wall_ms + 50_000


@pytest.mark.parametrize("is_cut", [False, True])
def test_no_read_waits_any_more_when_its_key_has_ended_or_leadership_is_over(
    story: Story, n1: StoryNode, is_cut: bool
) -> None:
    n1.put("w", b"k", b"v", ttl_ms=1000)
    story.settle()
    story.pass_ms(1000)
    assert n1.read("r", b"k") is LATER
    n1.batch()
    assert n1.partitions.reads.are_waiting
    if is_cut:
        n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, epoch=9, leader=story.n2.rid))
    story.settle()
    n1.retry()
    assert code(n1.replies["r"]) == "no_leader" if is_cut else n1.replies["r"] is None
    assert not n1.partitions.reads.are_waiting
