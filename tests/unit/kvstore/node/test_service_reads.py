"""Reads of one message: at a look where that is enough, and never where a quorum or absences are asked for."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from unit.kvstore.story import PID, Story

from kvstore.messages import Envelope, Read, ReadOne, ReadResult
from kvstore.node.metrics import NodeMetrics
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.storage.memory import MemoryEngine


class Node:
    """A service on the leader of a story, whose engine counts the views that are open."""

    def __init__(self, story: Story) -> None:
        node = story.n1
        self.open = 0
        clock: Any = Mock(now=lambda: story.now)
        self.shell = Shell(self._counted(node.engine), node.partitions, clock, NodeMetrics(node.partitions), Mock())
        self.connection = Mock(role="gateway", peer="gateway")
        self.looks = Mock(wraps=node.partitions.reads.at_once)
        node.partitions.reads.at_once = self.looks  # type: ignore[method-assign]
        self._service = Service(lambda: None, lambda: None, b"process", is_new=False)
        self._service.bind(self.shell)

    def _counted(self, engine: MemoryEngine) -> Any:
        def snapshot() -> Any:
            view: Any = engine.snapshot()
            self.open += 1
            return Mock(wraps=view, close=self._close)

        return Mock(wraps=engine, snapshot=snapshot)

    def _close(self) -> None:
        self.open -= 1

    def ask(self, body: Read) -> Any:
        self._service.handle(self.connection, Envelope(7, 1000, body))
        self.shell._writer.close()
        return self.connection.answer.call_args


@pytest.fixture
def story() -> Story:
    story = Story(nodes=1)
    n1 = story.lead()
    n1.put("w", b"there")
    story.settle()
    return story


def reads(story: Story) -> list[ReadOne]:
    return [ReadOne(PID, story.n1.partition.ver, key) for key in (b"there", b"nothing")]


async def test_what_a_look_finds_is_answered_at_once_and_no_view_stays_open(story: Story) -> None:
    node = Node(story)
    row = story.n1.leader.overlay.committed[b"there"][1]
    (call, body), _ = node.ask(Read(reads(story), is_urgent=True))
    assert (call, body) == (7, ReadResult(story.now.wall_ms, [row, None]))
    assert node.open == 0
    assert node.shell.metrics.reads == 2
    assert not node.shell.urgent


async def test_a_look_that_fails_leaves_no_view_open(story: Story) -> None:
    node = Node(story)
    node.looks.side_effect = RuntimeError
    with pytest.raises(RuntimeError):
        node.ask(Read(reads(story)))
    node.shell._writer.close()
    assert node.open == 0


@pytest.mark.parametrize("asked", [{"is_quorum": True}, {"tells_absences": True}], ids=str)
async def test_a_quorum_and_absences_take_more_than_a_look(story: Story, asked: dict[str, bool]) -> None:
    node = Node(story)
    _, body = node.ask(Read(reads(story), **asked))[0]
    assert node.looks.call_count == 0
    assert len(body.results) == 2
