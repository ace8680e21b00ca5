"""A copy that is to be filled after another one waits as it is: nothing that is written meanwhile piles up for it."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import Story

import kvstore.filling as filling_module
import kvstore.replication.peer as peer_module
from kvstore.map_values import Rid
from kvstore.messages import WriteOne
from kvstore.replication import backfill
from kvstore.replication.retention import Retention

FIRST, SECOND = 1, 2
KEYS = 5


class TwoEmpty(Story):
    """n1 has five keys in each of two partitions, and no log left that reaches back; n3 is added to both, and empty."""

    def __init__(self) -> None:
        super().__init__(nodes=3, pids=(FIRST, SECOND))
        self.n3 = self.nodes["n3"]
        for pid, entry in self.entries.items():
            two = tuple(sorted(set(entry.replicas) - {self._rid(pid)}, key=lambda rid: rid.node))
            self.entries[pid] = msgspec.structs.replace(entry, in_sync=two, replicas=two)
        self.push()
        self.settle()
        for number in range(KEYS):
            self.write_both(number)
        self.settle(apply=True)
        self.truncate()
        self.settle()

    def write_both(self, number: int) -> None:
        for pid in (FIRST, SECOND):
            write = WriteOne(pid, self.entries[pid].ver, b"k%d" % (number % KEYS), b"v" * 40)
            self.n1.write(f"{pid}-{number}", write)
        self.settle()

    def truncate(self) -> None:
        for node in self.nodes.values():
            node.partitions.truncation.advance(node.engine.snapshot(), self.now, Retention(0, 0))

    def add(self) -> None:
        for pid, entry in self.entries.items():
            self.entries[pid] = msgspec.structs.replace(entry, ver=entry.ver + 1, adding=(self._rid(pid),))
        self.push()

    def _rid(self, pid: int) -> Rid:
        return next(one.copy.name.rid for one in self.n3.partitions if one.pid == pid)

    def filling(self) -> list[int]:
        return [one.pid for one in self.n3.partitions if one.copy.is_backfilling]

    def filled(self) -> list[int]:
        return sorted(one.pid for one in self.n3.partitions if one.copy.backfill and one.copy.backfill.done)

    def go_on(self) -> None:
        self.pass_ms(100)
        for node in self.nodes.values():
            node.tick()
        self.settle()


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> TwoEmpty:
    monkeypatch.setattr(filling_module, "BEGUN_MAX", 1)
    monkeypatch.setattr(peer_module, "JOIN_LAG_RECORDS", 3)
    monkeypatch.setattr(backfill, "CHUNK_BYTES", 100)
    story = TwoEmpty()
    story.n3.partitions.filling.set_rate(200)
    story.add()
    for _ in range(3):
        story.go_on()
    return story


def test_it_holds_no_rows_and_its_leader_keeps_none_and_is_mostly_idle_until_its_turn_has_come(story: TwoEmpty) -> None:
    (first,) = story.filling()
    other = story.n3.partitions.get(FIRST + SECOND - first)
    led = story.n1.partitions.get(FIRST + SECOND - first)
    assert other is not None
    assert led is not None
    number, to_feed = KEYS, 0
    while story.filling() == [first]:
        assert (other.copy.log.end, other.copy.log_bytes) == (0, 0)
        assert led.log_floor > 0
        to_feed += led.has_laggard
        story.write_both(number)
        story.go_on()
        number += 1
    assert number > 2 * KEYS
    assert to_feed * 5 < number
    story.n3.partitions.filling.set_rate(0)
    for _ in range(60):
        story.go_on()
    assert story.filled() == [FIRST, SECOND]


def test_a_copy_that_has_begun_goes_on_after_a_restart(story: TwoEmpty) -> None:
    begun = story.filling()
    story.restart(story.n3)
    story.n3.partitions.filling.set_rate(0)
    story.settle()
    assert story.filling() == begun or story.filled() == begun
    for _ in range(60):
        story.go_on()
    assert story.filled() == [FIRST, SECOND]
