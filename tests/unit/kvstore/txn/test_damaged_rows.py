"""A copy whose transactions cannot be read stops itself; the other partitions of its node go on."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code
from unit.kvstore.txn.coordinating import ELSEWHERE, abort, ask, named, part, prepare, prepared, put, transact

from kvstore.messages import InDoubt, ResolveTxns, Transacted
from kvstore.replication.copy_rows import decode_row
from kvstore.storage.engine import Batch, Table
from kvstore.storage.records import DamagedRow, Record, RecordType
from kvstore.txn.records import ENDED, PREPARED, Ended, payload_of

TXN = named("t")
OURS = named("o", primary=PID)


@pytest.fixture
def story() -> Story:
    story = Story(nodes=1, pids=(PID, ELSEWHERE))
    story.lead()
    prepared(story, story.n1, TXN, part(put(b"k")))
    abort(story.n1, "a", OURS)
    story.settle(apply=True)
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


def damage(node: StoryNode, kind: bytes) -> None:
    prefix, batch = node.partition.copy.prefix, Batch()
    for key in node.rows(Table.TXN):
        if key[:1] == kind:
            batch.put(Table.TXN, prefix + key, b"\xc1")
    assert batch
    node.engine.commit(batch)


def others_go_on(story: Story, node: StoryNode) -> bool:
    transact(node, "other", named("x", primary=ELSEWHERE), part(put(b"k")), pid=ELSEWHERE)
    story.settle()
    return isinstance(node.replies["other"], Transacted)


@pytest.mark.parametrize("kind", [PREPARED])
def test_at_the_start(story: Story, n1: StoryNode, kind: bytes) -> None:
    damage(n1, kind)
    story.restart(n1)
    assert n1.partition.is_quarantined
    assert n1.alarms


def test_when_a_coordinator_asks(story: Story, n1: StoryNode) -> None:
    damage(n1, ENDED)
    assert code(ask(n1, "t", OURS)) == "no_leader"
    n1.batch()
    assert n1.partition.is_quarantined
    assert "Ended" in n1.alarms[0]
    assert others_go_on(story, n1)
    assert code(prepare(n1, "p", TXN, part(put(b"k")))) == "no_leader"


def test_when_another_node_is_in_doubt(story: Story, n1: StoryNode) -> None:
    damage(n1, ENDED)
    n1.receive("n2", ResolveTxns([InDoubt(OURS, ELSEWHERE, 1, 1, True)]))
    n1.batch()
    assert n1.partition.is_quarantined
    assert n1.alarms
    assert others_go_on(story, n1)


def test_when_one_who_waited_goes_on(story: Story, n1: StoryNode) -> None:
    vote = n1.replies["prepare 74 1"].vote
    transact(n1, "waits", named("w", primary=PID), part(put(b"k")))
    again = named("o", 2, primary=PID)
    transact(n1, "damaged", again, part(put(b"k")))
    n1.put("behind", b"k")
    damage(n1, ENDED)
    n1.leader.txns.participant.force("force", TXN, False, False, n1.engine.snapshot(), story.now)
    assert vote
    n1.retry()
    assert n1.partition.is_quarantined
    assert [code(n1.replies[one]) for one in ("waits", "damaged", "behind")] == [
        "outcome_unknown",
        "no_leader",
        "no_leader",
    ]
    assert others_go_on(story, n1)


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x90", b"\x81\xa1a\x01", b"\x93\x01\x02\x03"])
def test_what_is_no_row_or_record_is_found_damaged(value: bytes) -> None:
    with pytest.raises(DamagedRow):
        decode_row(value, Ended)
    for kind in (RecordType.PREPARE, RecordType.DECIDE, RecordType.FINISH, RecordType.FORGET):
        with pytest.raises(DamagedRow):
            payload_of(Record(kind, value=value))
