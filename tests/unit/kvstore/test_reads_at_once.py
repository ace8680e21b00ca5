"""Reads of a message that a look answers: what they find is what each would be answered, or nothing is done at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.kvstore.stops import STOPS, name_of
from unit.kvstore.story import PID, Story, StoryNode, plain
from unit.kvstore.test_heat_of_partitions import counted

from kvstore.messages import ReadOne, WriteOne

ROOM = 1 << 20
OTHER = PID + 1


def rows(node: StoryNode, *keys: bytes, pid: int = PID, ver: int = 0, room: int = ROOM) -> Any:
    reads = [ReadOne(pid, node.partition.ver + ver, key) for key in keys]
    return node.partitions.reads.at_once(reads, node.engine.snapshot(), node._story.now, room)


def test_they_find_what_each_would_be_answered(story: Story, n1: StoryNode) -> None:
    n1.put("lasting", b"applied")
    n1.put("ending", b"ends later", ttl_ms=60_000)
    n1.delete("gone", b"k")
    story.settle()
    n1.batch(apply=True)
    story.settle()
    n1.put("new", b"committed, not applied")
    n1.put("changed", b"applied", b"newer")
    story.settle()
    story.beat()
    n1.put("open", b"applied", b"not committed")
    keys = [b"applied", b"ends later", b"k", b"committed, not applied", b"never"]
    found = rows(n1, *keys)
    assert [plain(row) for row in found] == [b"newer", b"value", None, b"value", None]
    assert found == [
        n1.partitions.reads.plain("r", ReadOne(PID, n1.partition.ver, key), n1.engine.snapshot(), story.now)
        for key in keys
    ]


def test_each_is_counted(story: Story, n1: StoryNode) -> None:
    story.beat()
    assert rows(n1, b"k", b"nothing", b"k") is not None
    assert counted(n1) == (3, 1)


def end_the_key(n1: StoryNode) -> None:
    n1.put("e", b"k", ttl_ms=1)
    n1._story.settle()
    n1._story.pass_ms(1)


@pytest.mark.parametrize("stop", [*STOPS, end_the_key], ids=name_of)
def test_where_one_takes_more_than_a_look_none_is_answered(
    story: Story, n1: StoryNode, stop: Callable[[StoryNode], None]
) -> None:
    n1.put("o", b"other")
    story.settle()
    story.beat()
    assert rows(n1, b"other", b"k") is not None
    before = counted(n1)[0]
    stop(n1)
    assert rows(n1, b"other", b"k") is None
    assert counted(n1)[0] == before


def test_who_does_not_lead_by_that_entry_answers_none(story: Story, n1: StoryNode) -> None:
    story.beat()
    assert rows(n1, b"k", ver=-1) is None
    assert rows(n1, b"k", pid=PID + 1) is None
    assert rows(story.n2, b"k") is None


def test_each_is_asked_of_its_own_partition() -> None:
    story = Story(nodes=1, pids=(PID, OTHER))
    n1 = story.lead()
    n1.put("a", b"a", b"of the first")
    n1.write("b", WriteOne(OTHER, n1.partitions.by_pid[OTHER].copy.entry.ver, b"b", b"of the other"))
    story.settle()
    vers = {pid: partition.copy.entry.ver for pid, partition in n1.partitions.by_pid.items()}

    def ask(ver: int = 0) -> Any:
        reads = [ReadOne(PID, vers[PID], b"a"), ReadOne(OTHER, vers[OTHER] + ver, b"b")]
        return n1.partitions.reads.at_once(reads, n1.engine.snapshot(), story.now, ROOM)

    assert [plain(row) for row in ask()] == [b"of the first", b"of the other"]
    assert ask(ver=-1) is None
    other = n1.partitions.by_pid[OTHER].leader
    assert other is not None
    other.is_passing_on = True
    assert ask() is None


def test_a_key_ends_by_the_time_of_its_partition_which_never_goes_back(story: Story, n1: StoryNode) -> None:
    n1.put("e", b"k", ttl_ms=1000)
    story.settle()
    story.pass_ms(2000)
    n1.put("later", b"other")
    story.settle()
    story.beat()
    story.now = story.now._replace(wall_ms=story.now.wall_ms - 60_000)
    assert rows(n1, b"other") is not None
    assert rows(n1, b"k") is None


def test_rows_that_are_too_many_bytes_are_not_answered_together(story: Story, n1: StoryNode) -> None:
    story.beat()
    ((row,),) = [rows(n1, b"k")]
    assert rows(n1, b"k", b"k", room=2 * len(row)) == [row, row]
    assert rows(n1, b"k", b"k", room=2 * len(row) - 1) is None
