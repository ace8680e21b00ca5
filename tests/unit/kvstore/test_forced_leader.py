"""A copy that control made leader by force, where all that were in sync are dead."""

from __future__ import annotations

import msgspec
from unit.kvstore.story import PID, Story

from kvstore.candidate import PASSED_ON
from kvstore.storage.engine import Table


def test_a_copy_that_control_promoted_by_force_leads_at_once_in_an_epoch_of_its_own_with_what_it_has() -> None:
    story = Story()
    n1, n2 = story.lead(), story.n2
    n1.put("w1", b"k", b"both")
    story.settle(apply=True)
    n1.put("w2", b"k", b"n1 alone")
    n1.batch()
    story.drop()
    former, epoch = n1.rid, story.entry.epoch
    n1.restart()
    story.entry = msgspec.structs.replace(
        story.entry,
        ver=story.entry.ver + 1,
        epoch=epoch + 1,
        leader=n2.rid,
        leader_boot=PASSED_ON,
        in_sync=(n2.rid,),
        replicas=(n2.rid,),
        unclean_count=1,
    )
    n2.on_entry(story.entry)
    story.land(n2)
    story.settle()
    assert n2.leader.is_serving
    assert (story.entry.epoch, story.entry.unclean_count) == (epoch + 2, 1)
    assert n2.read("r", b"k") == b"both"

    n1.perform(n1.partitions.drop_copies([story.entry]))
    ((_, rid),) = n1.partitions.create_copies([PID])
    assert rid != former
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, adding=(rid,))
    story.push()
    for _ in range(30):
        story.beat()
    assert story.entry.in_sync == (n2.rid, rid)
    story.settle(apply=True)
    assert n1.rows(Table.DATA).keys() == n2.rows(Table.DATA).keys()
