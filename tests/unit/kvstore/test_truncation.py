"""Old log rows go in bounded pieces, of each log in its turn."""

from __future__ import annotations

import pytest
from unit.kvstore.story import Story

from kvstore import truncation
from kvstore.replication.retention import Retention
from kvstore.storage.engine import Table

ALL = Retention(0, 0)
KEYS = 6


@pytest.fixture
def story() -> Story:
    story = Story()
    story.lead()
    for number in range(KEYS):
        story.n1.put(f"w{number}", b"k%d" % number)
        story.settle()
    story.settle(apply=True)
    return story


def advance(story: Story) -> int:
    """How many rows go."""
    before = len(story.n1.rows(Table.LOG))
    story.n1.perform(story.n1.partitions.truncation.advance(story.n1.engine.snapshot(), story.now, ALL))
    story.settle()
    return before - len(story.n1.rows(Table.LOG))


def test_no_more_rows_go_at_once_than_allowed_and_all_in_the_end(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncation, "ROWS_MAX", 2)
    assert [advance(story) for _ in range(4)] == [2, 2, 2, 0]


def test_no_more_logs_are_looked_at_than_allowed_and_each_in_its_turn(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(truncation, "LOGS_MAX", 2)
    story.n1.partitions.create_copies(list(range(2, 7)))
    story.settle()
    looked_at: list[int] = []

    def look(partition: object, *_: object) -> int:
        looked_at.append(partition.pid)  # type: ignore[attr-defined]
        return 0

    monkeypatch.setattr("kvstore.partition.Partition.truncate_log", look)
    for turn in range(1, 4):
        advance(story)
        assert len(looked_at) == 2 * turn
    assert sorted(looked_at) == list(range(1, 7))


def test_rows_of_several_logs_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(pids=(1, 2, 3, 4))
    asked: list[int] = []

    def drop(_partition: object, _view: object, _now: object, _retention: object, rows_max: int) -> int:
        asked.append(rows_max)
        return 3

    monkeypatch.setattr(truncation, "ROWS_MAX", 5)
    monkeypatch.setattr("kvstore.partition.Partition.truncate_log", drop)
    advance(story)
    assert asked == [5, 2]
    advance(story)
    assert asked == [5, 2, 5, 2], "the log whose rows were not all dropped comes first"


def test_a_copy_that_stopped_keeps_its_rows(story: Story) -> None:
    story.n1.perform(story.n1.partition.quarantine("it is damaged"))
    assert advance(story) == 0


def test_a_copy_that_is_gone_meanwhile_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truncation, "LOGS_MAX", 1)
    story = Story(pids=(1, 2))
    assert advance(story) == 0
    del story.n1.partitions.by_pid[1]
    truncating = story.n1.partitions.truncation
    assert truncating.advance(story.n1.engine.snapshot(), story.now, ALL) == []
