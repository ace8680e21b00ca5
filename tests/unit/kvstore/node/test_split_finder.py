"""The questions of control, where a partition is best cut: one at a time, in slices, and always answered."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode

from kvstore.map_values import Transfer, TransferState
from kvstore.messages import Failed, FindSplit, SplitBy, SplitFound
from kvstore.node import split_finder
from kvstore.node.split_finder import SplitFinder
from kvstore.storage.engine import EngineError


class Asking:
    """A connection of control's that keeps its answers."""

    def __init__(self) -> None:
        self.is_open = True
        self.answers: dict[int, Any] = {}
        self._answered = asyncio.Event()

    def answer(self, call: int, body: Any, priority: int) -> None:
        self.answers[call] = body
        self._answered.set()

    async def until(self, call: int) -> Any:
        async with asyncio.timeout(5):
            while call not in self.answers:
                self._answered.clear()
                await self._answered.wait()
        return self.answers[call]


@pytest.fixture
def full(story: Story, n1: StoryNode) -> StoryNode:
    """n1 leads 1,000 keys beside the first."""
    for number in range(1000):
        n1.put(f"w{number}", b"key%04d" % number, b"v" * 10)
    story.settle(apply=True)
    return n1


def finder_of(node: StoryNode) -> SplitFinder:
    return SplitFinder(node.engine, node.partitions)


def by(split_by: SplitBy, node: StoryNode, **fields: Any) -> FindSplit:
    return FindSplit(PID, node.partition.ver, split_by, **fields)


async def test_by_size_the_middle_key_is_read_in_slices(full: StoryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_finder, "SLICE_S", 1e-9)
    asking, finder = Asking(), finder_of(full)
    finder.ask(asking, 1, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    assert not asking.answers
    assert await asking.until(1) == SplitFound(b"key05", "half of its bytes is on each side")


async def test_by_load_the_answer_is_there_at_once(full: StoryNode) -> None:
    asking, finder = Asking(), finder_of(full)
    finder.ask(asking, 1, by(SplitBy.LOAD, full))  # type: ignore[arg-type]
    found = asking.answers[1]
    assert found.key is not None
    assert found.key > b"key09"
    finder.ask(asking, 2, by(SplitBy.LOAD, full, end=b"a"))  # type: ignore[arg-type]
    assert asking.answers[2].key is None


async def test_questions_are_answered_in_turn(full: StoryNode) -> None:
    asking, finder = Asking(), finder_of(full)
    for call in (1, 2, 3):
        finder.ask(asking, call, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    await asking.until(3)
    assert list(asking.answers) == [1, 2, 3]


async def test_who_does_not_lead_says_so(story: Story, full: StoryNode) -> None:
    asking = Asking()
    finder_of(story.n2).ask(asking, 1, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    assert isinstance(asking.answers[1], Failed)
    finder_of(full).ask(asking, 2, FindSplit(PID, full.partition.ver - 1, SplitBy.LOAD))  # type: ignore[arg-type]
    assert isinstance(asking.answers[2], Failed)


async def test_a_leadership_that_ends_meanwhile_ends_the_search(full: StoryNode) -> None:
    asking, finder = Asking(), finder_of(full)
    finder.ask(asking, 1, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    full.perform(full.partition.resign())
    assert isinstance(await asking.until(1), Failed)


async def test_while_keys_come_or_leave_there_is_no_point(story: Story, full: StoryNode) -> None:
    transfer = Transfer(1, PID, 2, TransferState.COPYING)
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, transfer=transfer)
    story.push()
    story.settle()
    asking = Asking()
    for call, split_by in enumerate(SplitBy):
        finder_of(full).ask(asking, call, by(split_by, full))  # type: ignore[arg-type]
        assert asking.answers[call].key is None


async def test_who_has_gone_is_not_searched_for(full: StoryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    asking, finder = Asking(), finder_of(full)
    read = 0

    def count(*_: Any) -> None:
        nonlocal read
        read += 1

    monkeypatch.setattr(SplitFinder, "_slice", count)
    finder.ask(asking, 1, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    asking.is_open = False
    await asking.until(1)
    assert read == 0


async def test_rows_that_cannot_be_read_are_told_and_others_go_on(
    full: StoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking, finder = Asking(), finder_of(full)
    snapshot = full.engine.snapshot
    calls = iter([EngineError("the disk is gone")])

    def fail_once() -> Any:
        for error in calls:
            raise error
        return snapshot()

    monkeypatch.setattr(full.engine, "snapshot", fail_once)
    for call in (1, 2):
        finder.ask(asking, call, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    assert isinstance(await asking.until(1), Failed)
    assert isinstance(await asking.until(2), SplitFound)


async def test_a_node_that_stops_does_not_wait_for_it(full: StoryNode) -> None:
    asking, finder = Asking(), finder_of(full)
    finder.ask(asking, 1, by(SplitBy.SIZE, full))  # type: ignore[arg-type]
    await finder.close()
    assert not asking.answers
