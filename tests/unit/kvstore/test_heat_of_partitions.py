"""What a node counts as served: each read and write once, whichever way it was asked."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode
from unit.kvstore.txn.coordinating import named, part, prepare, put, transact

from kvstore.messages import AskHeat, GroupBy, HeatOf, ReadOne, TxnIf

SECOND_MS = 1000


ASK = AskHeat([PID], GroupBy.KEY, 5)


def heat(node: StoryNode) -> HeatOf:
    (found,) = node.partitions.heat.answer(ASK, node.partitions.copies([PID])).copies
    return found


def counted(node: StoryNode) -> tuple[int, int]:
    """Reads and writes."""
    found = heat(node)
    return found.reads, found.writes


def test_writes_are_counted_by_who_leads(story: Story, n1: StoryNode) -> None:
    n1.put("a", b"a")
    n1.delete("b", b"b")
    story.settle()
    assert counted(n1) == (0, 3)
    assert counted(story.n2) == (0, 0)


def test_reads_are_counted_however_they_are_asked(story: Story, n1: StoryNode) -> None:
    story.beat()
    n1.read("strong", b"k")
    n1.read("absent", b"nothing")
    n1.read_quorum("quorum", b"k")
    n1.read_stale(b"k")
    assert counted(n1) == (4, 1)


def test_a_read_that_waits_is_counted_once(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("quorum", b"k")
    story.settle()
    assert "quorum" in n1.replies
    assert counted(n1) == (1, 1)


def test_a_copy_that_may_be_behind_counts_what_it_serves(story: Story, n1: StoryNode) -> None:
    story.beat()
    story.n2.read_stale(b"k")
    assert counted(story.n2) == (1, 0)


def test_what_was_asked_of_who_does_not_lead_is_not_counted(story: Story, n1: StoryNode) -> None:
    story.n2.read("r", b"k")
    n1.partitions.reads.plain("old", ReadOne(PID, n1.partition.ver - 1, b"k"), n1.engine.snapshot(), story.now)
    assert counted(story.n2) == (0, 0)
    assert counted(n1) == (0, 1)


def test_transactions_are_counted(story: Story, n1: StoryNode) -> None:
    prepare(n1, "p", named("t"), part(put(b"a"), put(b"b")))
    transact(n1, "q", named("u"), part(put(b"c"), conditions=[TxnIf(b"d", exists=False)]))
    assert counted(n1) == (1, 4)


def test_a_copy_that_is_given_up_takes_its_counts_along(story: Story, n1: StoryNode) -> None:
    story.beat()
    n2, rid = story.n2, n1.rid
    n2.read_stale(b"k")
    report = n2.partition.report(story.now, (0.0, 0.0))
    assert n2.partitions.heat.answer(ASK, [report]).copies[0].reads == 1
    without = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(rid,), replicas=(rid,))
    n2.perform(n2.partitions.drop_copies([without]))
    assert n2.partitions.heat.answer(ASK, [report]).copies[0].reads == 0


def test_rates_are_told_with_the_copies(story: Story, n1: StoryNode) -> None:
    n1.tick()
    for second in range(60):
        for number in range(10):
            n1.read(f"{second}.{number}", b"k")
        story.pass_ms(SECOND_MS)
        n1.tick()
    (report,) = n1.partitions.report().copies
    assert report.reads == pytest.approx(10, rel=0.05)
    assert heat(n1).copy == report
    assert heat(n1).hottest[0].name == b"k"


def test_partitions_that_are_not_here_are_left_out(n1: StoryNode) -> None:
    assert [one.pid for one in n1.partitions.copies([PID, 99])] == [PID]
