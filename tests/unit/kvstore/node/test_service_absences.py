"""Reads that are to tell absences from each other get, beside each key that is not there, what does."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

from unit.kvstore.story import PID, Story

from kvstore.messages import Envelope, Read, ReadOne, ReadResult
from kvstore.node.metrics import NodeMetrics
from kvstore.node.service import Service
from kvstore.node.shell import Shell


async def answer(story: Story, *keys: bytes, tells_absences: bool = True) -> ReadResult:
    node = story.n1
    clock: Any = Mock(now=lambda: story.now)
    engine: Any = node.engine
    shell = Shell(engine, node.partitions, clock, NodeMetrics(node.partitions), lambda *_: None)
    service = Service(lambda: None, lambda: None, b"process", is_new=False)
    service.bind(shell)
    connection = Mock(role="gateway", peer="gateway")
    reads = [ReadOne(PID, node.partition.ver, key) for key in keys]
    service.handle(connection, Envelope(1, 1000, Read(reads, tells_absences=tells_absences)))
    shell._writer.close()
    (_, body), _ = connection.answer.call_args
    assert isinstance(body, ReadResult)
    return body


async def test_only_where_it_is_asked_for_and_only_of_what_is_not_there() -> None:
    story = Story(nodes=1)
    n1 = story.lead()
    n1.put("w", b"there")
    n1.delete("d", b"gone")
    n1.put("w2", b"gone")
    n1.delete("d2", b"gone")
    story.settle()
    told = await answer(story, b"there", b"gone")
    assert told.results[1] is None
    assert told.absences == [None, (PID, 0, n1.leader.epoch, n1.partition.copy.log.end)]
    assert (await answer(story, b"there", b"gone", tells_absences=False)).absences == []
