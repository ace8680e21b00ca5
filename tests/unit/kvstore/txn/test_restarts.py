"""Everything ends and starts again between any two steps of a transaction: it comes to one end, everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.kvstore.story import ALL_GRACE_MS, PID, TICK_MS, Story, StoryNode, plain
from unit.kvstore.txn.coordinating import ELSEWHERE, finish, named, part, prepare, put, transact, ver

from kvstore.messages import ReadOne, Transacted, Vote, Voted
from kvstore.storage.engine import Table

TXN = named("t", primary=PID)
LONG_MS = ALL_GRACE_MS + 12_000

Step = Callable[[Story], None]


def leader(story: Story, pid: int) -> StoryNode:
    (node,) = [one for one in story.nodes.values() if one.partitions.by_pid[pid].leader is not None]
    return node


def vote(story: Story) -> Vote | None:
    told = [one.replies.get("p") for one in story.nodes.values()]
    return next((one.vote for one in told if isinstance(one, Voted)), None)


def batches(story: Story) -> None:
    for node in story.nodes.values():
        if node.partitions.needs_batch:
            node.batch()


def deliver(story: Story) -> None:
    for node in story.nodes.values():
        story.deliver(node)


def ask_to_prepare(story: Story) -> None:
    prepare(leader(story, ELSEWHERE), "p", TXN, part(put(b"theirs")), ELSEWHERE)


def ask_to_decide(story: Story) -> None:
    known = vote(story)
    if known is not None:
        transact(leader(story, PID), "t", TXN, part(put(b"ours")), known)


def tell(story: Story) -> None:
    known = vote(story)
    if known is not None and any(isinstance(one.replies.get("t"), Transacted) for one in story.nodes.values()):
        finish(leader(story, ELSEWHERE), "f", known, TXN)


def apply(story: Story) -> None:
    story.settle(apply=True)


ROUND: list[Step] = [batches, deliver, batches, deliver, batches, deliver]
STEPS: list[Step] = [ask_to_prepare, *ROUND, apply, ask_to_decide, *ROUND, apply, tell, *ROUND, apply]


def restart_everything(story: Story) -> None:
    """The answers that were told stay told."""
    told = {node: dict(node.replies) for node in story.nodes.values()}
    for node in story.nodes.values():
        node.restart()
    for node in story.nodes.values():
        for entry in story.entries.values():
            node.on_entry(entry)
    for node, replies in told.items():
        node.replies = {f"before {ticket}": reply for ticket, reply in replies.items()}
    for _ in range(LONG_MS // TICK_MS):
        story.pass_ms(TICK_MS)
        for node in story.nodes.values():
            node.tick()
        story.settle()


def value(story: Story, pid: int, key: bytes) -> bytes | None:
    node = leader(story, pid)
    read = ReadOne(pid, ver(node, pid), key)
    row: bytes | None = plain(node.partitions.reads.plain("r", read, node.engine.snapshot(), story.now))
    return row


@pytest.mark.parametrize("number", range(len(STEPS) + 1))
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_restart_of_everything_leaves_one_outcome(nodes: int, number: int) -> None:
    story = Story(nodes=nodes, pids=(PID, ELSEWHERE))
    story.lead()
    for step in STEPS[:number]:
        step(story)
    restart_everything(story)
    values = value(story, PID, b"ours"), value(story, ELSEWHERE, b"theirs")
    assert values in ((b"new", b"new"), (None, None))
    was_told = any(
        isinstance(told := node.replies.get("before t"), Transacted) and told.commits for node in story.nodes.values()
    )
    assert not was_told or values == (b"new", b"new"), "the client was told that it is committed"
    for node in story.nodes.values():
        for partition in node.partitions:
            assert partition.leader is None or not partition.leader.txns.locks, "nothing stays in doubt"
    story.settle(apply=True)
    if nodes == 2:
        assert story.n1.rows_equal(story.n2)
        assert story.n1.rows(Table.DATA) == story.n2.rows(Table.DATA)
