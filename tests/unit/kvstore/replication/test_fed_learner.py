"""A learner that lags far behind is sent the log at the pace at which copies are filled."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PID, Story

import kvstore.replication.pace as pace_module
import kvstore.replication.peer as peer_module
from kvstore.map_values import Rebalance
from kvstore.messages import Append
from kvstore.storage.engine import Table

KEYS = 40
NEAR = 3


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Story:
    """n1 has a log that reaches back to where n3 was cut off; n3 is back."""
    monkeypatch.setattr(peer_module, "JOIN_LAG_RECORDS", NEAR)
    monkeypatch.setattr(pace_module, "PIECE_BYTES_MIN", 500)
    monkeypatch.setattr(pace_module, "START_BYTES_PER_S", 10_000)
    story = Story(nodes=3)
    story.lead().put("first", b"k", b"v")
    story.settle()
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=story.entry.replicas[:2])
    story.push()
    story.n1.partitions.unreachable("n3", story.now)
    for number in range(KEYS):
        story.n1.put(f"w{number}", b"k%d" % number, b"v" * 60)
        story.settle()
    story.n1.perform(story.n1.partitions.reachable("n3", story.now))
    return story


def appended(story: Story, ms: int) -> list[int]:
    """How many bytes of rows n3 gets in each message in that time, in steps of 10 ms."""
    sizes: list[int] = []
    for _ in range(ms // 10):
        story.pass_ms(10)
        for node in story.nodes.values():
            node.tick()
            if node.partitions.needs_batch:
                node.batch()
            node.fill()
        for node in story.nodes.values():
            got = story.deliver(node)
            sizes += [sum(map(len, one.rows)) for one in got if isinstance(one, Append) and one.rows]
    return sizes


def test_it_gets_small_pieces_and_no_more_than_the_rate_until_it_is_near(story: Story) -> None:
    story.n1.partitions.filling.set_rate(2000)
    sizes = appended(story, 1000)
    assert len(sizes) > 1
    assert max(sizes) <= 500
    assert sum(sizes) <= 2000 + 500
    story.n1.partitions.filling.set_rate(0)
    for _ in range(30):
        appended(story, 100)
    story.settle(apply=True)
    assert story.nodes["n3"].rows(Table.DATA) == story.n1.rows(Table.DATA)


def test_one_that_is_near_gets_what_is_written_at_once(story: Story) -> None:
    appended(story, 3000)
    story.settle(apply=True)
    story.n1.partitions.filling.set_rate(1)
    story.n1.put("w", b"k", b"v" * 5000)
    story.settle(apply=True)
    assert story.nodes["n3"].rows(Table.DATA) == story.n1.rows(Table.DATA)


def test_a_leader_that_resigns_feeds_nobody(story: Story) -> None:
    appended(story, 20)
    filling = story.n1.partitions.filling
    assert filling.is_due
    story.n1.perform(story.n1.partition.resign())
    story.n1.fill()
    assert not filling.is_due


def test_a_copy_that_moves_gets_nothing_while_moves_are_paused(story: Story) -> None:
    entry, mine = story.entry, story.nodes["n3"].rid
    story.entry = msgspec.structs.replace(
        entry, ver=entry.ver + 1, replicas=entry.replicas[:2], adding=(mine,), moving=mine
    )
    story.push()
    story.n1.partitions.filling.steer(Rebalance(is_paused=True))
    appended(story, 100)
    assert appended(story, 1000) == []
    story.n1.partitions.filling.steer(Rebalance())
    assert appended(story, 1000)


def test_an_empty_one_that_lacks_much_gets_the_data_instead(story: Story) -> None:
    n3 = story.nodes["n3"]
    story.settle(apply=True)
    n3.engine = type(n3.engine)()
    story.restart(n3)
    ((_, rid),) = n3.partitions.create_copies([PID])
    n3.batch()
    two = story.entry.replicas[:2]
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, replicas=two, adding=(rid,))
    story.push()
    sizes = appended(story, 1000)
    assert sum(sizes) == 0
    assert n3.partitions.backfills == 1
    story.settle(apply=True)
    assert n3.rows(Table.DATA) == story.n1.rows(Table.DATA)
