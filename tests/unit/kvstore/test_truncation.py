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
