"""Copies are filled one after the other where there is room, and none of them waits for a leader that is silent to
another; few begin anew before that; whatever a node sends at one pace takes turns."""

from __future__ import annotations

import itertools
from collections import Counter
from unittest import mock

import msgspec
import pytest

from kvstore.effects import Send
from kvstore.filling import BEGUN_MAX, PULL_AGAIN_MS, Filling
from kvstore.instant import Instant
from kvstore.map_values import Entry, Rebalance, Rid
from kvstore.messages import Append, BeginBackfill, Chunk, PullChunk, Reconcile
from kvstore.partition import Partition
from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import CopyName
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.replication.pace import Pace
from kvstore.storage.memory import MemoryEngine

VIEW = MemoryEngine().snapshot()
PIECE = b"v" * 30_000


class Empty:
    """A node whose copies are all to be filled, each by the leader that is given for it."""

    def __init__(self, leaders: dict[int, str]) -> None:
        self.mono_ms = 1_000_000
        numbers = itertools.count(10)
        self.partitions = {
            pid: Partition(
                Copy(pid, CopyName(pid, Rid("c", b"%016d" % pid))), 1, NodeLeaders(1 << 20), lambda _: next(numbers)
            )
            for pid in leaders
        }
        for pid, leader in leaders.items():
            partition, rid = self.partitions[pid], Rid(leader, leader.encode().ljust(16, b"-"))
            mine = partition.copy.name.rid
            entry = Entry(pid, "default", 2, 1, rid, (rid,), (rid,), adding=(mine,))
            partition.on_entry(entry, self.now)
            partition.handle(leader, Reconcile(pid, mine, 1, 2), self.now)
            partition.handle(leader, BeginBackfill(pid, mine, 1, 5000, 7, [(1, 1)], 1), self.now)
        self.is_full = False
        self.filling = Filling(self.partitions, lambda: self.is_full)

    @property
    def now(self) -> Instant:
        return Instant(self.mono_ms, 0)

    def ask(self) -> list[tuple[str, int]]:
        """Whom it asks now, and for which copy."""
        pulls = [one for one in self.filling.pull(self.now) if isinstance(one, Send)]
        return [(one.node, one.body.pid) for one in pulls if isinstance(one.body, PullChunk)]

    def ask_later(self) -> list[tuple[str, int]]:
        """The same after the last question got no answer."""
        self.mono_ms += PULL_AGAIN_MS
        return self.ask()

    def answer(self, pid: int) -> None:
        """A piece comes for the copy, and there are more; the pace allows the next question."""
        rid = self.partitions[pid].copy.name.rid
        self.filling.on_chunk(self.partitions[pid], Chunk(pid, rid, 1, b"", b"k", 5000, [(b"k", b"v")], False, 0))
        self.mono_ms += 100


def test_a_copy_is_filled_before_the_next_one_begins() -> None:
    node = Empty({1: "a", 2: "b"})
    for _ in range(3):
        assert node.ask() == [("a", 1)]
        assert node.ask() == []
        node.answer(1)


def test_a_leader_that_is_silent_holds_up_nobody_elses_copies() -> None:
    node = Empty({1: "a", 2: "a", 3: "b"})
    assert node.ask() == [("a", 1)]
    assert node.ask_later() == [("a", 2)]
    assert node.ask_later() == [("b", 3)]
    for _ in range(3):
        node.answer(3)
        assert node.ask() == [("b", 3)]


def test_silent_leaders_are_asked_in_turns() -> None:
    node = Empty({1: "a", 2: "b"})
    asked = [node.ask_later() for _ in range(4)]
    assert asked == [[("a", 1)], [("b", 2)], [("a", 1)], [("b", 2)]]


def test_one_that_answers_again_is_filled_in_its_turn() -> None:
    node = Empty({1: "a", 2: "b"})
    node.ask()
    assert node.ask_later() == [("b", 2)]
    node.answer(1)
    node.answer(2)
    assert node.ask() == [("a", 1)]


def test_nothing_is_asked_for_while_the_store_is_full() -> None:
    node = Empty({1: "a", 2: "b"})
    assert node.ask() == [("a", 1)]
    node.is_full = True
    node.answer(1)
    assert node.ask() == []
    assert node.ask_later() == []
    node.is_full = False
    assert node.ask() == [("a", 1)]


def test_while_moves_are_paused_only_copies_that_none_of_them_brings_are_filled() -> None:
    node = Empty({1: "a", 2: "b"})
    copy = node.partitions[1].copy
    assert copy.entry is not None
    copy.adopt(msgspec.structs.replace(copy.entry, moving=copy.name.rid))
    node.filling.steer(Rebalance(is_paused=True))
    for _ in range(3):
        assert node.ask() == [("b", 2)]
        node.answer(2)
    node.filling.steer(Rebalance())
    assert node.ask() == [("a", 1)]


def begun(count: int) -> tuple[Empty, Partition]:
    """A node with so many copies that have begun anew, all led by one other, and one that is to."""
    node = Empty(dict.fromkeys(range(1, count + 1), "a"))
    (fresh,) = Empty({0: "b"}).partitions.values()
    fresh.copy.backfill = None
    node.partitions[0] = fresh
    return node, fresh


def test_few_copies_begin_anew_before_their_turn_has_come() -> None:
    for count in range(BEGUN_MAX + 2):
        node, fresh = begun(count)
        assert node.filling.may_begin(fresh) == (count < BEGUN_MAX)
        assert all(node.filling.may_begin(one) for one in node.partitions.values() if one is not fresh)


def test_a_copy_whose_leader_is_silent_keeps_no_other_from_beginning() -> None:
    node, fresh = begun(BEGUN_MAX)
    assert node.ask() == [("a", 1)]
    assert node.ask_later() == [("a", 2)]
    assert node.filling.may_begin(fresh)
    node.answer(1)
    assert not node.filling.may_begin(fresh)


def test_a_copy_that_follows_nobody_or_waits_for_moves_to_go_on_keeps_no_other_from_beginning() -> None:
    node, fresh = begun(BEGUN_MAX)
    node.partitions[1].copy.promise(9)
    assert node.filling.may_begin(fresh)
    node, fresh = begun(BEGUN_MAX)
    copy = node.partitions[1].copy
    assert copy.entry is not None
    copy.adopt(msgspec.structs.replace(copy.entry, moving=copy.name.rid))
    assert not node.filling.may_begin(fresh)
    node.filling.steer(Rebalance(is_paused=True))
    assert node.filling.may_begin(fresh)


class Sender:
    """A node that leads a partition whose learner lags (`rows`), and one whose learner asks for chunks (`chunk`), and
    is the source of a transfer (`transfer`), as far as these are named: each has the next piece ready at once."""

    def __init__(self, *wants: str) -> None:
        self.wants = wants
        self.mono_ms = 1_000_000
        self.sent: Counter[str] = Counter()
        rid = Rid("c", b"%016d" % 1)
        rows = Send("c", Append(1, rid, 1, 0, 0, 0, [PIECE]))
        self.lagging = mock.Mock(pid=1, has_laggard=True, moves_one=False, feed=lambda *_: [rows])
        self.asked = mock.Mock(pid=2)
        self.asked.leader.followers.chunk = lambda *_: Chunk(2, rid, 1, b"", b"k", 1, [(b"k", PIECE)], False, 0)
        self.pull = PullChunk(2, rid, 1, b"", len(PIECE))
        self.filling = Filling({1: self.lagging, 2: self.asked}, lambda: False)
        self.filling.use(Pace(bytes_per_s_max=3_000_000))

    def turn(self) -> None:
        """One turn of the loop, a millisecond after the last one: transfers come after what is filled."""
        self.mono_ms += 1
        now = Instant(self.mono_ms, 0)
        if "rows" in self.wants:
            self.filling.feed(self.lagging)
        if "chunk" in self.wants:
            self.filling.on_pull("c", self.pull)
        for one in self.filling.advance(VIEW, now):
            if isinstance(one, Send):
                self.sent["chunk" if isinstance(one.body, Chunk) else "rows"] += 1
        if "transfer" in self.wants and not self.filling.sending_wait_ms(now):
            self.filling.sent(len(PIECE))
            self.sent["transfer"] += 1


@pytest.mark.parametrize(
    "wants", [("rows", "chunk"), ("rows", "transfer"), ("chunk", "transfer"), ("rows", "chunk", "transfer")]
)
def test_rows_chunks_and_what_a_transfer_copies_take_turns(wants: tuple[str, ...]) -> None:
    sender = Sender(*wants)
    for _ in range(3000):
        sender.turn()
    assert set(sender.sent) == set(wants)
    assert max(sender.sent.values()) - min(sender.sent.values()) <= 2


def test_a_transfer_that_waits_no_more_holds_nobody_up() -> None:
    sender = Sender("chunk", "transfer")
    for _ in range(15):
        sender.turn()
    sender.wants = ("chunk",)
    sender.sent.clear()
    for _ in range(1000):
        sender.turn()
    assert sender.sent["chunk"] * len(PIECE) >= 2_500_000
