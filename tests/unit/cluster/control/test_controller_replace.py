"""A node that stays away, from its last report to the return of its process."""

from __future__ import annotations

from collections import Counter
from math import ceil

import msgspec
import pytest
from unit.cluster.control.test_controller_repair import ask_to_lead, in_sync_with, state
from unit.cluster.control.world import World, leading, of_kind, rid_of

from cluster.control.absences import STOOD_STILL_S
from cluster.control.events import (
    AskCopies,
    CasAsked,
    Disconnected,
    DropOrphans,
    Effect,
    PlannerChosen,
    Propose,
    Reported,
    Ticked,
)
from cluster.control.settings import ControlSettings
from kvstore.messages import CopyReport, NodeReport

REPLACE_AFTER_S = 20.0
SETTINGS = ControlSettings(initial_nodes=3, partitions=24, replace_after_s=REPLACE_AFTER_S, manual_rebalance=True)


class Cluster(World):
    """Three nodes that lead what they should; `n3` goes away."""

    def __init__(self) -> None:
        super().__init__(SETTINGS)
        self.connections = self.join("n1", "n2", "n3")
        for node in self.connections:
            ask_to_lead(self, node, self.connections[node])
        self.over(STOOD_STILL_S)
        self.effects.clear()

    def over(self, seconds: float) -> list[Effect]:
        """Time goes by, in which those that are connected report."""
        start = len(self.effects)
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 1.0
            for node, connection in self.connections.items():
                self.report(node, connection)
            self.send(Ticked())
        return self.effects[start:]

    def lose(self, node: str) -> None:
        """A node is gone; the others lead what it led, and have it out of sync."""
        self.send(Disconnected(node, self.connections.pop(node)))
        for pid, entry in list(self.stored.entries.items()):
            other = next((rid for rid in entry.in_sync if rid.node != node), None) if entry.holds(node) else None
            if other is None:
                continue
            asked = leading(entry, other.node) if entry.leader == entry.holds(node) else in_sync_with(self, pid, other)
            asked = msgspec.structs.replace(asked, in_sync=(other,))
            self.send(CasAsked(other.node, self.connections[other.node], 1, (asked,)))

    def take_in(self) -> None:
        """Leaders have every copy in sync that is not to be given up."""
        for pid, entry in list(self.stored.entries.items()):
            copies = [rid for rid in (*entry.replicas, *entry.adding) if rid not in entry.removing]
            there = tuple(rid for rid in copies if rid.node in self.connections)
            if entry.leader is not None and set(there) != set(entry.in_sync):
                leader = entry.leader.node
                self.send(CasAsked(leader, self.connections[leader], 2, (in_sync_with(self, pid, *there),)))

    def copies_on(self, node: str) -> int:
        return sum(entry.holds(node) is not None for entry in self.stored.entries.values())


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    assert state(cluster) == "healthy"
    cluster.lose("n3")
    return cluster


def replaced(cluster: Cluster) -> None:
    cluster.over(REPLACE_AFTER_S + 3)
    cluster.take_in()
    cluster.over(3)


def test_nothing_is_made_anew_before_its_time(cluster: Cluster) -> None:
    assert not of_kind(cluster.over(REPLACE_AFTER_S - 1), AskCopies)


def test_in_time_all_its_copies_are_elsewhere_and_the_map_names_it_no_more(cluster: Cluster) -> None:
    replaced(cluster)
    assert cluster.copies_on("n3") == 0
    assert (cluster.copies_on("n1"), cluster.copies_on("n2")) == (24, 24)
    assert all(len(entry.in_sync) == 2 for entry in cluster.stored.entries.values())
    assert state(cluster) == "healthy"


def test_leaders_are_to_be_balanced_over_those_that_are_left(cluster: Cluster) -> None:
    replaced(cluster)
    cluster.over(3)
    first = Counter(entry.replicas[0].node for entry in cluster.stored.entries.values())
    assert max(first.values()) <= ceil(1.05 * 12)
    assert not of_kind(cluster.over(10), Propose)


def test_who_does_not_plan_replaces_nobody_but_has_watched_when_it_is_to_plan(cluster: Cluster) -> None:
    cluster.send(PlannerChosen(False))
    assert not of_kind(cluster.over(REPLACE_AFTER_S + 3), AskCopies)
    cluster.send(PlannerChosen(True))
    assert of_kind(cluster.over(2), AskCopies)


def test_a_control_that_starts_counts_the_absence_anew(cluster: Cluster) -> None:
    cluster.over(REPLACE_AFTER_S - 1)
    stored, connections = cluster.stored, dict(cluster.connections)
    later = World(SETTINGS, stored, now_s=cluster.now_s)
    for node in connections:
        later.connect(node)
    for _ in range(int(REPLACE_AFTER_S)):
        later.now_s += 1
        for number, node in enumerate(connections, 1):
            later.report(node, number)
        assert not of_kind(later.send(Ticked()), AskCopies)


def test_while_two_of_three_are_away_nobody_is_replaced(cluster: Cluster) -> None:
    cluster.send(Disconnected("n2", cluster.connections.pop("n2")))
    assert not of_kind(cluster.over(REPLACE_AFTER_S * 3), AskCopies)


def report_with(cluster: Cluster, node: str, pid: int, ver: int) -> list[DropOrphans]:
    report = NodeReport([CopyReport(pid, 1, False, 1, 10, ver)])
    return of_kind(cluster.send(Reported(node, cluster.connections[node], report)), DropOrphans)


def test_a_node_that_comes_back_is_told_which_of_its_copies_nobody_needs(cluster: Cluster) -> None:
    pid = next(pid for pid, entry in cluster.stored.entries.items() if entry.holds("n3"))
    replaced(cluster)
    cluster.connections["n3"] = cluster.connect("n3", boot=2)
    entry = cluster.stored.entries[pid]
    assert report_with(cluster, "n3", pid, entry.ver - 3) == [DropOrphans("n3", cluster.connections["n3"], (entry,))]
    assert not report_with(cluster, "n3", pid, 0)
    assert not report_with(cluster, "n3", pid, entry.ver)
    assert not report_with(cluster, "n1", pid, entry.ver - 3)
    assert not of_kind(cluster.over(5), Propose)


def test_a_process_that_is_not_admitted_is_told_nothing_of_its_copies(cluster: Cluster) -> None:
    pid = next(pid for pid, entry in cluster.stored.entries.items() if entry.holds("n3"))
    replaced(cluster)
    cluster.store_is_held = True
    cluster.connections["n3"] = cluster.connect("n3", boot=2)
    assert not report_with(cluster, "n3", pid, cluster.stored.entries[pid].ver - 3)


def test_a_copy_is_kept_while_the_partition_has_fewer_in_sync_than_it_should(cluster: Cluster) -> None:
    pid = next(pid for pid, entry in cluster.stored.entries.items() if entry.holds("n3"))
    replaced(cluster)
    cluster.connections["n3"] = cluster.connect("n3", boot=2)
    leader = cluster.stored.entries[pid].leader
    assert leader is not None
    shrunk = in_sync_with(cluster, pid, rid_of(leader.node, pid))
    cluster.send(CasAsked(leader.node, cluster.connections[leader.node], 3, (shrunk,)))
    assert not report_with(cluster, "n3", pid, 1)
