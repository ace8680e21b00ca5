"""A leader that meets a row which cannot be read stops its copy, whoever asked; nobody is left without an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code

from kvstore.messages import ReadOne
from kvstore.replication.answers import LATER
from kvstore.storage.engine import Batch, Table

BYTES_MAX = 1 << 20
TOKEN = b"t" * 32
SHORT = b"\x01short"


class Damaged(Story):
    """n1 leads, and holds two keys, of which b"k" cannot be read."""

    def __init__(self, nodes: int = 1) -> None:
        super().__init__(nodes)
        self.lead()
        self.n1.put("put k", b"k", ttl_ms=60_000)
        self.n1.put("put other", b"other", ttl_ms=60_000, token=TOKEN)
        self.settle(apply=True)
        self.cut_short(Table.DATA, b"k")

    def cut_short(self, table: Table, ending: bytes) -> None:
        """The rows whose keys end so."""
        batch = Batch()
        for key in self.n1.rows(table):
            if key.endswith(ending):
                batch.put(table, self.n1.partition.copy.prefix + key, SHORT)
        assert batch
        self.n1.engine.commit(batch)

    def has_stopped(self) -> bool:
        """Whether n1's copy is quarantined, and said so once."""
        self.n1.batch()
        self.n1.tick()
        return self.n1.partition.is_quarantined and self.n1.partition.leader is None and len(self.n1.alarms) == 1


@pytest.fixture
def story() -> Damaged:
    return Damaged()


ASKED: dict[str, Callable[[StoryNode], Any]] = {
    "a read": lambda n1: n1.read("asked", b"k"),
    "a quorum read": lambda n1: n1.read_quorum("asked", b"k"),
    "a stale read": lambda n1: n1.read_stale(b"k"),
    "a put": lambda n1: n1.put("asked", b"k"),
    "a delete": lambda n1: n1.delete("asked", b"k"),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
def test_a_copy_stops_at_a_row_that_is_cut_short(story: Damaged, asked: Callable[[StoryNode], Any]) -> None:
    assert code(asked(story.n1)) == "no_leader"
    assert code(story.n1.read("next", b"other")) == "no_leader"
    assert story.has_stopped()


def test_it_stops_at_a_token_that_cannot_be_read(story: Damaged) -> None:
    story.cut_short(Table.IDEMPOTENCY, TOKEN[:16])
    assert code(story.n1.put("asked", b"other", ttl_ms=60_000, token=TOKEN)) == "no_leader"
    assert story.has_stopped()


def test_a_look_leaves_such_a_row_to_those_who_take_more_care(story: Damaged) -> None:
    reads = [ReadOne(PID, story.n1.partition.ver, key) for key in (b"other", b"k")]
    assert story.n1.partitions.reads.at_once(reads, story.n1.engine.snapshot(), story.now, BYTES_MAX) is None
    assert not story.n1.partition.is_quarantined


def test_whoever_waits_for_a_confirmation_is_answered_when_the_row_is_damaged() -> None:
    story = Damaged(nodes=2)
    assert [story.n1.read_quorum(f"asked {number}", b"k") for number in range(2)] == [LATER, LATER]
    story.settle()
    assert [code(story.n1.replies[f"asked {number}"]) for number in range(2)] == ["no_leader", "no_leader"]
    assert story.has_stopped()


def test_the_sweep_of_the_expiry_index_stops_a_copy_where_it_is_cut_short(story: Damaged) -> None:
    batch = Batch()
    batch.put(Table.EXPIRY, story.n1.partition.copy.prefix + b"\x00", b"")
    story.n1.engine.commit(batch)
    for _ in range(10):
        story.pass_ms(1000)
        story.n1.tick()
    assert story.has_stopped()
