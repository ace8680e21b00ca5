"""A copy that a move brings and one that it takes away: who gets in sync when, who leaves when, and who leads then."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode

from kvstore.map_values import Rid
from kvstore.messages import Verified, Verify
from kvstore.replication.peer import SILENCE_MS
from kvstore.replication.retention import Retention
from kvstore.verification import ASK_MS, CLEAN


@pytest.fixture
def story() -> Story:
    """Copies on n1, which leads, and n2 are in sync; a move brings one to n3."""
    story = Story(nodes=3)
    two = story.entry.replicas[:2]
    new = story.nodes["n3"].rid
    story.entry = msgspec.structs.replace(story.entry, in_sync=two, replicas=two, adding=(new,), moving=new)
    story.lead()
    return story


def change(story: Story, **changes: Any) -> None:
    """Control changes the entry, and everybody hears of it."""
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, **changes)
    story.push()


def calm(story: Story, beats: int = 6) -> None:
    for _ in range(beats):
        story.beat()
        story.settle()


def rids(story: Story, *nodes: str) -> tuple[Rid, ...]:
    return tuple(story.nodes[node].rid for node in nodes)


def moved_in(story: Story) -> Story:
    change(story, verified_epoch=story.entry.epoch)
    calm(story)
    assert set(story.entry.in_sync) == set(rids(story, "n1", "n2", "n3"))
    return story


def test_it_is_not_taken_in_sync_before_it_was_verified_in_this_epoch(story: Story) -> None:
    calm(story)
    assert story.entry.in_sync == rids(story, "n1", "n2")
    change(story, verified_epoch=story.entry.epoch - 1)
    calm(story)
    assert story.entry.in_sync == rids(story, "n1", "n2")
    moved_in(story)
    assert story.entry.adding == ()


def found_clean(story: Story) -> bool:
    """Whether the copy on n3 is found equal to its leader's."""
    question = Verify(PID, story.entry.ver, b"move", list(rids(story, "n3")))
    for _ in range(3):
        answer = story.n1.partitions.verifications.ask(question, story.now)
        story.pass_ms(ASK_MS)
        story.settle(apply=True)
    return isinstance(answer, Verified) and answer.state == CLEAN


def begin_anew(story: Story) -> None:
    """n3 is cut off, and what is written meanwhile is kept in no log for it."""
    n1, n3 = story.n1, story.nodes["n3"]
    backfills = n3.partitions.backfills
    n1.partitions.unreachable("n3", story.now)
    for number in range(3):
        n1.put(f"missed{number}", b"k", b"missed")
        story.settle()
        n1.batch(apply=True)
    n1.perform(n1.partitions.truncation.advance(n1.engine.snapshot(), story.now, Retention(0, 0)))
    n1.batch()
    n1.perform(n1.partitions.reachable("n3", story.now))
    story.beat()
    assert n3.partitions.backfills == backfills + 1


def test_one_that_began_anew_after_it_was_compared_is_not_taken_in_before_it_was_compared_again(story: Story) -> None:
    calm(story)
    assert found_clean(story)
    begin_anew(story)
    change(story, verified_epoch=story.entry.epoch)
    calm(story)
    assert story.entry.in_sync == rids(story, "n1", "n2")
    assert found_clean(story)
    calm(story)
    assert set(story.entry.in_sync) == set(rids(story, "n1", "n2", "n3"))


def test_one_that_was_in_sync_once_gets_in_sync_again_by_itself(story: Story) -> None:
    moved_in(story)
    change(story, verified_epoch=story.entry.epoch - 1, in_sync=rids(story, "n1", "n2"))
    calm(story)
    assert set(story.entry.in_sync) == set(rids(story, "n1", "n2", "n3"))


def test_one_that_leaves_is_let_go_once_all_others_are_in_sync(story: Story) -> None:
    change(story, removing=rids(story, "n2"))
    calm(story)
    assert story.entry.in_sync == rids(story, "n1", "n2"), "the copy on n3 is not in sync yet"
    moved_in_entry = {"verified_epoch": story.entry.epoch}
    change(story, **moved_in_entry)
    calm(story)
    assert story.entry.in_sync == rids(story, "n1", "n3")
    assert story.entry.replicas == rids(story, "n1", "n2", "n3"), "control takes it out"


def test_one_that_leaves_stays_where_another_is_let_go_for_its_silence(story: Story) -> None:
    moved_in(story)
    n1 = story.n1
    n1.put("w", b"k")
    n1.batch()
    n1.sent = [send for send in n1.sent if send.node != "n3"]
    story.settle()
    story.pass_ms(SILENCE_MS)
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, removing=rids(story, "n2"))
    n1.on_entry(story.entry)
    n1.tick()
    (asked,) = n1.asks
    assert set(asked.in_sync) == set(rids(story, "n1", "n2"))


def leads(node: StoryNode) -> bool:
    return node.partition.leader is not None and node.leader.is_serving


def test_a_leader_that_leaves_passes_leadership_on_at_once_and_is_let_go_by_the_next(story: Story) -> None:
    moved_in(story)
    n3 = story.nodes["n3"]
    story.n1.put("w", b"k")
    story.settle()
    change(story, removing=rids(story, "n1"), replicas=rids(story, "n3", "n2", "n1"))
    calm(story, 8)
    assert story.entry.leader == n3.rid
    assert leads(n3)
    assert not leads(story.n1)
    assert set(story.entry.in_sync) == set(rids(story, "n3", "n2"))
    assert n3.read("r", b"k") == b"value"


def test_a_leader_that_stays_does_not_pass_leadership_on_so_soon(story: Story) -> None:
    moved_in(story)
    change(story, replicas=rids(story, "n3", "n2", "n1"))
    calm(story, 8)
    assert story.entry.leader == story.n1.rid
