"""What a leader asks the map for when it is to pass leadership on."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import TICK_MS, Story, StoryNode, alone, code, returned, version

from kvstore.candidate import PASSED_ON
from kvstore.instant import Instant
from kvstore.leader_asks import PASS_ON_AFTER_MS
from kvstore.leases import PING_MS


def test_leadership_returns_to_the_first_replica_when_it_was_calm_for_a_while(story: Story, n1: StoryNode) -> None:
    returned(story, n1)
    for _ in range(2 * PASS_ON_AFTER_MS // 500):
        story.beat()
    assert story.entry.leader == n1.rid
    assert n1.leader.is_serving
    assert n1.read("r", b"k") == b"v"
    assert len(story.entry.in_sync) == 2


def test_one_that_passes_on_serves_no_more_and_asks_only_when_all_is_committed(story: Story, n1: StoryNode) -> None:
    n2 = returned(story, n1)
    first = dict(iter(n2.leader.followers))["n1"]
    while story.now.mono_ms - first.member_ms < PASS_ON_AFTER_MS - 500:
        story.beat()
    assert story.entry.leader == n2.rid
    n2.put("w2", b"k2")
    n2.batch()
    held_back = list(n2.sent)
    story.drop(n2)
    story.pass_ms(500)
    n2.tick()
    story.land(n2)
    n2.tick()
    assert n2.leader.is_passing_on
    assert not n2.asks, "a write waits for its copy"
    assert code(n2.put("refused", b"k3")) == code(n2.read("r", b"k")) == "no_leader"
    for send in held_back:
        n1.receive("n2", send.body)
    story.settle()
    n2.tick()
    assert (n2.asks[0].leader, n2.asks[0].leader_boot) == (n1.rid, PASSED_ON)


def beat_alone(story: Story) -> None:
    """Leases are granted, and control hears of nothing."""
    story.pass_ms(PING_MS)
    for node in story.nodes.values():
        node.tick()
        node.asks.clear()
    story.settle()


def test_one_that_control_does_not_hear_passes_nothing_on_and_serves(story: Story, n1: StoryNode) -> None:
    n2 = returned(story, n1)
    for _ in range(2 * PASS_ON_AFTER_MS // PING_MS):
        beat_alone(story)
    assert n2.read("r", b"k") == b"v"
    n2.put("w2", b"k2")
    story.settle()
    assert version(n2.replies["w2"])


def test_one_that_control_answered_long_ago_asks_again_before_it_passes_on(story: Story, n1: StoryNode) -> None:
    n2 = returned(story, n1)
    for _ in range(2 * PASS_ON_AFTER_MS // PING_MS):
        beat_alone(story)
    first = story.entry.ver
    n2.asks.append(msgspec.structs.replace(story.entry, ver=first + 1))
    story.land(n2)
    story.push()
    beat_alone(story)
    assert not n2.leader.is_passing_on
    assert n2.read("r", b"k") == b"v"


def passing_on(story: Story, n1: StoryNode) -> StoryNode:
    """n2 has asked for leadership to be n1's, and that has not met the map."""
    n2 = returned(story, n1)
    while not n2.leader.is_passing_on:
        story.settle()
        story.pass_ms(PING_MS)
        n1.tick()
        n2.tick()
    return n2


def test_one_that_passes_on_ends_no_key_for_a_quorum_read(story: Story, n1: StoryNode) -> None:
    story.n1.put("w2", b"short", ttl_ms=60_000)
    story.settle()
    n2 = passing_on(story, n1)
    n2.asks.clear()
    story.now = Instant(story.now.mono_ms, story.now.wall_ms + 60_000)
    n2.read_quorum("r", b"short")
    story.deliver(n2)
    story.deliver(n1)
    assert code(n2.replies["r"]) == "no_leader"
    story.drop()
    alone(story, n2, 2000)
    assert (n2.asks[-1].leader, n2.asks[-1].leader_boot) == (n1.rid, PASSED_ON), "nothing is open that n1 has to ack"


@pytest.mark.parametrize("is_leaving", [False, True])
def test_one_whose_leadership_nobody_takes_serves_most_of_the_time(
    story: Story, n1: StoryNode, is_leaving: bool
) -> None:
    n2 = returned(story, n1)
    if is_leaving:
        story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, removing=(n2.rid,))
        story.push()
    ticks = 300_000 // TICK_MS
    serves = passed = 0
    for _ in range(ticks):
        story.pass_ms(TICK_MS)
        for node in story.nodes.values():
            node.tick()
        epoch = story.entry.epoch
        while n2.asks:
            story.land(n2)
            story.push()
        n1.asks.clear()
        story.settle()
        passed += story.entry.epoch != epoch and story.entry.leader == n1.rid
        leader = n2.partition.leader
        serves += leader is not None and leader.closed is None
    assert serves > 0.9 * ticks, f"served in {serves} of {ticks} looks"
    assert passed > 2, "it is tried again"
