"""Reads that trust no clock: answered when the in-sync set has confirmed, after they came, whom it follows."""

from __future__ import annotations

import msgspec
from unit.kvstore.story import PID, Story, StoryNode, code, plain

from kvstore.confirmations import ASK_AGAIN_MS, WAIT_MS_MAX
from kvstore.messages import Confirm, Confirmed, ReadOne
from kvstore.replication.answers import ELSEWHERE, LATER
from kvstore.replication.peer import LEASE_MS

FOR_EVER_MS = 100 * LEASE_MS


def test_a_read_waits_for_the_confirmation_and_not_for_a_lease(story: Story, n1: StoryNode) -> None:
    story.pass_ms(FOR_EVER_MS)
    assert code(n1.read("strong", b"k")) == "no_leader"
    assert n1.read_quorum("r", b"k") is LATER
    story.deliver(n1, Confirm)
    assert "r" not in n1.replies
    story.deliver(story.n2, Confirmed)
    assert plain(n1.replies["r"]) == b"v"


def test_a_lease_is_no_confirmation(story: Story, n1: StoryNode) -> None:
    story.beat()
    assert n1.read("strong", b"k") == b"v"
    assert n1.read_quorum("r", b"k") is LATER
    story.drop()
    assert "r" not in n1.replies


def test_a_confirmation_that_was_asked_before_the_read_does_not_count(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("first", b"k")
    story.deliver(n1, Confirm)
    n1.read_quorum("second", b"k")
    story.deliver(story.n2, Confirmed)
    assert list(n1.replies) == ["w", "first"]
    story.settle()
    assert plain(n1.replies["second"]) == b"v"


def test_reads_that_wait_together_share_a_question(story: Story, n1: StoryNode) -> None:
    for ticket in ("a", "b", "c"):
        asked = ReadOne(PID, n1.partition.ver, b"k")
        assert n1.partitions.reads.quorum(ticket, asked, n1.engine.snapshot(), story.now) is LATER
    n1.retry()
    assert len(story.deliver(n1, Confirm)) == 1
    story.deliver(story.n2, Confirmed)
    assert {ticket: plain(n1.replies[ticket]) for ticket in ("a", "b", "c")} == dict.fromkeys("abc", b"v")


def test_a_lost_question_is_asked_again(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("r", b"k")
    story.drop()
    story.pass_ms(ASK_AGAIN_MS - 1)
    n1.retry()
    assert not n1.sent
    story.pass_ms(1)
    n1.retry()
    story.settle()
    assert plain(n1.replies["r"]) == b"v"


def test_a_silent_member_ends_the_read_in_time(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("r", b"k")
    story.pass_ms(WAIT_MS_MAX - 1)
    n1.retry()
    assert "r" not in n1.replies
    story.pass_ms(1)
    n1.retry()
    assert code(n1.replies["r"]) == "no_leader"


def test_a_member_that_asks_to_lead_refuses_at_once(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    for _ in range(30):
        story.pass_ms(100)
        n2.tick()
    assert n2.asks
    story.drop()
    n1.read_quorum("r", b"k")
    story.deliver(n1, Confirm)
    story.deliver(n2, Confirmed)
    assert code(n1.replies["r"]) == "no_leader"


def test_a_member_that_leads_or_promised_more_refuses(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    rid = n2.rid
    n2.partition.copy.promise(2)
    n2.receive("n1", Confirm(1, [(PID, rid, 1), (PID, rid, 2), (PID, n1.rid, 2), (99, rid, 2)]))
    assert [send.body for send in n2.sent] == [Confirmed(1, [(PID, 2)], [(PID, 1), (PID, 2), (99, 2)])]
    n1.receive("n2", Confirm(1, [(PID, n1.rid, 1)]))
    assert n1.sent[-1].body == Confirmed(1, [], [(PID, 1)])


def test_a_refusal_that_was_asked_before_the_read_does_not_end_it(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("first", b"k")
    n1.read_quorum("second", b"k")
    n1.receive("n2", Confirmed(1, [], [(PID, 1)]))
    assert code(n1.replies["first"]) == "no_leader"
    assert "second" not in n1.replies


def test_every_member_must_confirm_and_no_learner(story: Story) -> None:
    story = Story(nodes=3)
    n1 = story.lead()
    n1.put("w", b"k", b"v")
    story.settle()
    n1.read_quorum("r", b"k")
    assert {send.node for send in n1.sent} == {"n2", "n3"}
    story.deliver(n1, Confirm)
    story.deliver(story.n2, Confirmed)
    assert "r" not in n1.replies
    story.deliver(story.nodes["n3"], Confirmed)
    assert plain(n1.replies["r"]) == b"v"
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid, story.n2.rid)))
    n1.read_quorum("r2", b"k")
    assert {send.node for send in n1.sent if isinstance(send.body, Confirm)} == {"n2"}


def test_a_leader_alone_in_sync_answers_at_once(story: Story, n1: StoryNode) -> None:
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,)))
    story.pass_ms(FOR_EVER_MS)
    assert n1.read_quorum("r", b"k") == b"v"


def test_a_read_waits_for_no_member_that_was_let_go(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("r", b"k")
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,)))
    n1.retry()
    assert plain(n1.replies["r"]) == b"v"


def test_reads_end_with_the_leadership(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("r", b"k")
    entry = story.entry
    n1.on_entry(msgspec.structs.replace(entry, ver=entry.ver + 1, epoch=2, leader=story.n2.rid, leader_boot=7))
    n1.retry()
    assert code(n1.replies["r"]) == "no_leader"


def test_an_overdue_key_is_gone_when_its_end_is_committed(story: Story, n1: StoryNode) -> None:
    n1.put("w2", b"t", b"soon gone", ttl_ms=1)
    story.settle()
    story.pass_ms(FOR_EVER_MS)
    n1.read_quorum("r", b"t")
    story.settle()
    assert n1.replies["r"] is None


def test_only_the_leader_of_the_entry_asked_by_answers(story: Story, n1: StoryNode) -> None:
    assert code(story.n2.read_quorum("r", b"k")) == "no_leader"
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1))
    fault = n1.partitions.reads.quorum("r", ReadOne(PID, story.entry.ver, b"k"), n1.engine.snapshot(), story.now)
    assert code(fault) == "wrong_leader"


def test_nothing_waits_and_nobody_is_asked_once_all_are_answered(story: Story, n1: StoryNode) -> None:
    n1.read_quorum("r", b"k")
    assert n1.partitions.reads.are_waiting
    story.settle()
    assert "r" in n1.replies
    assert not n1.partitions.reads.are_waiting
    story.pass_ms(10 * ASK_AGAIN_MS)
    n1.retry()
    assert not n1.sent


def test_a_read_is_not_answered_when_keys_came_or_went_while_it_waited(story: Story, n1: StoryNode) -> None:
    assert n1.read_quorum("r", b"k") is LATER
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, layout=story.entry.layout + 1))
    story.settle()
    assert n1.replies["r"] == ELSEWHERE
    assert n1.read_quorum("next", b"k") is LATER
    story.settle()
    assert plain(n1.replies["next"]) == b"v"
