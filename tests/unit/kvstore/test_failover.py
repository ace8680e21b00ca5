"""Who leads when a leader is gone: an in-sync copy, after its grace, by a compare-and-set that landed."""

from __future__ import annotations

import msgspec
from unit.kvstore.story import ALL_GRACE_MS, PID, TICK_MS, Story, StoryNode, alone, code, returned, taken_over, version

from kvstore.candidate import ASK_AGAIN_MS, GRACE_MS, GRACE_STEP_MS, PASSED_ON
from kvstore.leases import PING_MS
from kvstore.messages import Acked, Append, Ping, Pong, Reconcile, Refused
from kvstore.replication.answers import LATER
from kvstore.replication.peer import LEASE_MS, SILENCE_MS


def pongs(node: StoryNode) -> list[Pong]:
    """The answers to pings that it has sent."""
    return [send.body for send in node.sent if isinstance(send.body, Pong)]


# ---- leases -----------------------------------------------------------------------------------------------------


def test_a_leader_reads_only_while_its_lease_lasts(story: Story, n1: StoryNode) -> None:
    story.beat()
    assert n1.read("r", b"k") == b"v"
    alone(story, n1, LEASE_MS - 200)
    assert n1.read("r", b"k") == b"v"
    alone(story, n1, 200)
    assert code(n1.read("r", b"k")) == "no_leader"
    assert code(n1.put("c", b"k", if_none_match="*")) == "no_leader", "an answer without a record of its own is a read"


def test_a_lease_counts_from_when_it_was_asked_for(story: Story, n1: StoryNode) -> None:
    story.pass_ms(LEASE_MS)
    n1.tick()
    (ping,) = [send.body for send in n1.sent if isinstance(send.body, Ping)]
    story.pass_ms(LEASE_MS)
    n1.receive("n2", Pong(ping.number, []))
    assert code(n1.read("r", b"k")) == "no_leader"


def test_an_answer_that_the_process_before_this_one_asked_for_grants_nothing(story: Story, n1: StoryNode) -> None:
    for _ in range(20):
        story.beat()
    story.pass_ms(PING_MS)
    n1.tick()
    story.deliver(n1)
    late = pongs(story.n2)
    assert late
    story.restart(n1)
    story.settle()
    assert n1.leader.epoch == 2
    alone(story, n1, LEASE_MS)
    for _ in range(40):
        story.pass_ms(PING_MS)
        n1.tick()
        n1.receive("n2", late[0])
        assert code(n1.read("r", b"k")) == "no_leader"


def test_a_leader_alone_in_sync_needs_no_lease(story: Story, n1: StoryNode) -> None:
    n1.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,)))
    story.pass_ms(100_000)
    assert n1.read("r", b"k") == b"v"


def test_a_pong_waits_for_the_disk(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    story.pass_ms(5000)
    n2.receive("n1", Ping(7, [(PID, n2.rid, 1)]))
    assert not pongs(n2)
    n2.begin_batch()
    assert not pongs(n2)
    n2.end_batch()
    assert pongs(n2) == [Pong(7, [])]


def test_a_disk_that_proved_itself_a_moment_ago_lets_a_pong_leave_at_once(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    n2.receive("n1", Ping(7, [(PID, n2.rid, 1)]))
    assert [send.body for send in n2.sent] == [Pong(7, [])]


def test_a_node_whose_batch_hangs_asks_for_no_lease(story: Story, n1: StoryNode) -> None:
    n1.put("w2", b"k2")
    n1.begin_batch()
    story.drop()
    for _ in range(30):
        story.pass_ms(TICK_MS)
        n1.tick()
    late = [send for send in n1.sent if isinstance(send.body, Ping)]
    assert len(late) <= 3, "it stops asking when the batch is 1.5 s old"


def test_a_lease_is_granted_for_the_promised_epoch_and_this_copy_only(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    n2.receive("n1", Ping(1, [(PID, n2.rid, 2)]))
    n2.receive("n1", Ping(2, [(PID, n1.rid, 1)]))
    n2.receive("n1", Ping(3, [(99, n2.rid, 1)]))
    assert [send.body for send in n2.sent] == [Pong(1, [PID]), Pong(2, [PID]), Pong(3, [99])]


def test_a_process_that_stood_still_relies_on_no_lease_and_takes_nothing_over(story: Story, n1: StoryNode) -> None:
    story.beat()
    story.n2.tick()
    story.pass_ms(SILENCE_MS + GRACE_MS)
    n1.tick()
    story.n2.tick()
    assert code(n1.read("r", b"k")) == "no_leader"
    assert not story.n2.asks


# ---- taking over ------------------------------------------------------------------------------------------------


def test_an_in_sync_follower_asks_to_lead_when_its_grace_is_over(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, GRACE_MS)
    assert not n2.asks
    alone(story, n2, GRACE_STEP_MS + TICK_MS)
    (asked,) = n2.asks
    before = story.entry
    assert asked == msgspec.structs.replace(
        before, ver=before.ver + 1, epoch=2, leader=n2.rid, leader_boot=1, in_sync=(n2.rid,)
    )


def test_whoever_hears_of_the_leader_does_not_ask(story: Story, n1: StoryNode) -> None:
    for _ in range(20):
        story.beat()
    assert not story.n2.asks
    assert story.entry.leader == n1.rid


def test_the_new_leader_has_every_acknowledged_write_and_serves_alone(story: Story, n1: StoryNode) -> None:
    n2 = taken_over(story)
    assert n2.read("r", b"k") == b"v"
    assert n2.put("w2", b"k", b"w") is LATER
    n2.batch()
    assert version(n2.replies["w2"])[0] == 2


def test_a_closed_follower_grants_and_accepts_nothing_of_the_former_leader(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    n1.put("late", b"k", b"late")
    n1.batch()
    story.deliver(n1)
    n2.receive("n1", Ping(9, [(PID, n2.rid, 1)]))
    n2.batch()
    assert n2.sent[-1].body == Pong(9, [PID])
    story.deliver(n2)
    assert "late" not in n1.replies


def test_a_closed_follower_opens_again_when_another_change_won(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    n2.asks.clear()
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1)
    story.push()
    n2.receive("n1", Ping(9, [(PID, n2.rid, 1)]))
    n2.batch()
    assert [send.body for send in n2.sent if isinstance(send.body, Pong)] == [Pong(9, [])]


def test_an_open_ask_to_lead_is_repeated_at_the_same_guard(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    (first,) = n2.asks
    alone(story, n2, ASK_AGAIN_MS)
    assert n2.asks == [first, first]


def test_late_news_of_leadership_is_no_leadership_once_a_higher_epoch_was_promised(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    landed = n2.asks.pop()
    n2.receive("n1", Reconcile(PID, n2.rid, landed.epoch + 1, landed.ver + 1))
    n2.on_entry(landed)
    assert n2.partition.leader is None


def test_a_copy_that_is_not_in_sync_never_asks(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    n2.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(n1.rid,)))
    alone(story, n2, 5 * GRACE_MS)
    assert not n2.asks


def test_a_restarted_follower_waits_its_whole_grace(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, GRACE_MS)
    story.restart(n2)
    alone(story, n2, GRACE_MS)
    assert not n2.asks


def test_of_two_followers_the_first_in_the_set_asks_first() -> None:
    story = Story(nodes=3)
    story.lead()
    story.settle()
    n3 = story.nodes["n3"]
    alone(story, n3, ALL_GRACE_MS)
    assert not n3.asks
    alone(story, n3, GRACE_STEP_MS)
    assert n3.asks


# ---- the former leader ------------------------------------------------------------------------------------------


def test_the_former_leader_commits_nothing_more_and_its_waiting_writes_are_unknown(story: Story, n1: StoryNode) -> None:
    n1.put("late", b"k", b"late")
    n1.batch()
    story.drop()
    n2 = taken_over(story)
    n1.perform(n1.partitions.reachable("n2", story.now))
    story.deliver(n1, Append)
    n1.on_entry(story.entry)
    assert code(n1.replies["late"]) == "outcome_unknown"
    assert n1.partition.leader is None
    assert n2.read("r", b"k") == b"v"


def test_a_refusal_with_a_higher_promise_ends_leadership(story: Story, n1: StoryNode) -> None:
    n1.receive("n2", Refused(PID, story.n2.rid, 2))
    assert n1.partition.leader is None


def test_the_former_leader_cuts_its_tail_catches_up_and_gets_in_sync(story: Story, n1: StoryNode) -> None:
    n1.put("late", b"k", b"late")
    n1.batch()
    story.drop()
    n2 = taken_over(story)
    n2.put("w2", b"k2", b"w")
    n2.batch()
    n1.on_entry(story.entry)
    n2.perform(n2.partitions.reachable("n1", story.now))
    story.settle()
    for _ in range(5):
        story.beat()
    assert set(story.entry.in_sync) == {n1.rid, n2.rid}
    story.settle(apply=True)
    assert n1.partition.copy.log.end == n2.partition.copy.log.end
    assert n2.read("r", b"k") == b"v"


def test_a_leader_that_restarts_while_nobody_took_over_goes_on_at_once(story: Story, n1: StoryNode) -> None:
    story.restart(n1)
    (asked,) = n1.asks
    assert asked.epoch == story.entry.epoch + 1
    story.settle()
    assert n1.leader.is_serving


def test_one_that_the_map_made_leader_behind_its_back_waits_until_what_it_granted_is_over(
    story: Story, n1: StoryNode
) -> None:
    n2 = story.n2
    alone(story, n2, ALL_GRACE_MS)
    landed = n2.asks.pop()
    story.restart(n2)
    n2.receive("n1", Reconcile(PID, n2.rid, 1, story.entry.ver))
    n2.receive("n1", Ping(5, [(PID, n2.rid, 1)]))
    story.entry = landed
    n2.on_entry(landed)
    alone(story, n2, GRACE_MS - TICK_MS)
    assert not n2.asks, "the lease that it granted since its restart may still be valid"
    alone(story, n2, GRACE_STEP_MS + 2 * TICK_MS)
    assert n2.asks[0].epoch == landed.epoch + 1


def test_one_that_was_passed_leadership_asks_for_it_without_grace(story: Story, n1: StoryNode) -> None:
    entry = story.entry
    passed = msgspec.structs.replace(
        entry, ver=entry.ver + 1, epoch=entry.epoch + 1, leader=story.n2.rid, leader_boot=PASSED_ON
    )
    story.n2.on_entry(passed)
    (asked,) = story.n2.asks
    assert (asked.epoch, asked.in_sync) == (passed.epoch + 1, passed.in_sync)


def test_an_ack_of_a_former_epoch_counts_for_nothing(story: Story, n1: StoryNode) -> None:
    n2 = returned(story, n1)
    n2.put("w2", b"k2")
    n2.batch()
    n2.receive("n1", Acked(PID, n1.rid, 1, 99, 0, False))
    assert "w2" not in n2.replies


def test_whoever_leads_by_a_newer_entry_gets_the_whole_grace(story: Story, n1: StoryNode) -> None:
    n2 = story.n2
    alone(story, n2, GRACE_MS - TICK_MS)
    assert not n2.asks
    entry = story.entry
    n2.on_entry(msgspec.structs.replace(entry, ver=entry.ver + 1))
    alone(story, n2, GRACE_MS - TICK_MS)
    assert not n2.asks
    alone(story, n2, ALL_GRACE_MS)
    assert n2.asks
