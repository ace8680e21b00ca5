"""Which pings are remembered, and for how long; what a lease is worth is shown in `test_failover`."""

from __future__ import annotations

import msgspec
from unit.kvstore.story import PID, Story

from kvstore.leases import PING_MS, PING_OPEN_MS, Leases
from kvstore.map_values import Rid
from kvstore.messages import Ping, Pong
from kvstore.partition import Partition
from kvstore.replication.peer import NEVER_MS


def test_a_node_with_many_peers_gets_the_lease_of_each() -> None:
    leads: dict[int, Partition] = {}
    leases = Leases(leads, boot=1)
    story = Story()
    n1 = story.lead()
    entry = story.entry
    others = tuple(Rid(f"m{number}", b"store".ljust(16, b".")) for number in range(100))
    n1.on_entry(msgspec.structs.replace(entry, ver=entry.ver + 1, adding=others))
    leads[PID] = n1.partition
    pings = leases.pings(story.now)
    assert len(pings) == 1 + len(others)
    for ping in pings:
        assert isinstance(ping.body, Ping)
        leases.on_pong(ping.node, Pong(ping.body.number, []))
    peers = dict(iter(n1.leader.followers))
    assert {peer.granted_ms for peer in peers.values()} == {story.now.mono_ms}


def test_a_ping_that_is_not_answered_is_forgotten() -> None:
    story = Story()
    n1 = story.lead()
    leases = Leases({PID: n1.partition}, boot=1)
    (ping,) = leases.pings(story.now)
    assert isinstance(ping.body, Ping)
    story.pass_ms(PING_OPEN_MS + PING_MS)
    leases.pings(story.now)
    n1.leader.followers.drop_lease(story.now)
    leases.on_pong("n2", Pong(ping.body.number, []))
    assert dict(iter(n1.leader.followers))["n2"].granted_ms == NEVER_MS


def test_a_pong_that_refuses_grants_nothing_for_what_it_refuses() -> None:
    story = Story(pids=(1, 2))
    n1 = story.lead()
    story.beat()
    leases = Leases(n1.partitions.by_pid, boot=1)
    leaders = [partition.leader for partition in n1.partitions if partition.leader is not None]
    for leader in leaders:
        leader.followers.drop_lease(story.now)
    (ping,) = leases.pings(story.now)
    assert isinstance(ping.body, Ping)
    refused, *granted = [pid for pid, _, _ in ping.body.leads]
    leases.on_pong("n2", Pong(ping.body.number, [refused]))
    for partition in n1.partitions:
        if partition.leader is not None:
            peers = dict(iter(partition.leader.followers))
            assert (peers["n2"].granted_ms == story.now.mono_ms) == (partition.pid in granted)
            assert (peers["n2"].granted_ms == NEVER_MS) == (partition.pid == refused)


def test_a_pong_of_another_node_or_to_no_ping_grants_nothing() -> None:
    story = Story()
    n1 = story.lead()
    leases = Leases({PID: n1.partition}, boot=1)
    (ping,) = leases.pings(story.now)
    assert isinstance(ping.body, Ping)
    n1.leader.followers.drop_lease(story.now)
    leases.on_pong("n3", Pong(ping.body.number, []))
    leases.on_pong("n2", Pong(ping.body.number + 1, []))
    assert dict(iter(n1.leader.followers))["n2"].granted_ms == NEVER_MS


def test_a_copy_that_is_gone_when_the_pong_comes_is_no_harm() -> None:
    story = Story()
    n1 = story.lead()
    leads = {PID: n1.partition}
    leases = Leases(leads, boot=1)
    (ping,) = leases.pings(story.now)
    assert isinstance(ping.body, Ping)
    del leads[PID]
    leases.on_pong("n2", Pong(ping.body.number, [], [(PID, 1, 0)]))
