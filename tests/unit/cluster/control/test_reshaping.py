"""Ranges that are split and merged by themselves, and tenants that are moved."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import pytest
from unit.cluster.control.reshaping_world import (
    FIRST_PID,
    RESHAPING,
    ReshapingWorld,
    directory_world,
    range_world,
)

from cluster.cluster_map import PutEntry, PutNode, Reshape
from cluster.control.events import AskCopies, AskSplit, Effect, PlannerChosen, Propose
from cluster.control.keyspace_messages import CreateKeyspace, MoveTenant, TenantMoving
from cluster.control.keyspace_rules import record_of
from cluster.control.map_store import Outcome
from cluster.control.messages import NodeChanged, RebalanceStatus, RemoveNode, SetRebalance
from cluster.control.reshaping import CALM_S, FUTILE_S, HOT_S, LEADERLESS_S, RETIRE_S
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.map_values import Standing, Tenant, TransferState


def pass_s(world: ReshapingWorld, seconds: float) -> None:
    until_s = world.now_s + seconds
    while world.now_s < until_s:
        world.turn()


def middle(asked: AskSplit) -> bytes:
    """As if keys were spread evenly over two bytes."""
    low = int.from_bytes(asked.start.ljust(2, b"\x00"), "big")
    high = int.from_bytes(asked.end.ljust(2, b"\x00"), "big") if asked.end else 0x10000
    return ((low + high) // 2).to_bytes(2, "big")


def width(world: ReshapingWorld, pid: int) -> int:
    """How many of the two-byte keys a partition has."""
    starts = [int.from_bytes(first.ljust(2, b"\x00"), "big") for first, _ in world.ranges]
    at = world.keyspace.pids.index(pid)
    return ([*starts, 0x10000][at + 1] if at + 1 < len(starts) else 0x10000) - starts[at]


def owned(world: ReshapingWorld, pid: int) -> int:
    return width(world, pid) if pid in world.keyspace.pids else 0


# ---- splits ---------------------------------------------------------------------------------------------------------


def test_a_partition_is_split_until_each_is_below_the_size() -> None:
    world = range_world()
    world.point_of = middle
    world.size_of = lambda pid: 3000 * owned(world, pid) // 0x10000
    world.run()
    sizes = [world.size_of(pid) for pid in world.keyspace.pids]
    assert len(sizes) == 4
    assert max(sizes) < RESHAPING.split_bytes
    assert {asked.by for asked in world.asked_splits} == {"size"}


def test_splits_whose_answers_from_the_store_are_lost_hold_up_no_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    world = range_world()
    world.point_of = middle
    world.size_of = lambda pid: 3000 * owned(world, pid) // 0x10000
    store, lost = world.store, set[int]()

    def lose(*proposals: Propose, outcome: Outcome | None = None) -> list[Effect]:
        (proposed,) = proposals
        is_split = any(
            isinstance(one, Reshape) and any(entry.ver == 1 for entry in one.entries) for one in proposed.changes
        )
        if not is_split or proposed.proposal in lost:
            return store(proposed, outcome=outcome)
        lost.add(proposed.proposal)
        return store(proposed, outcome=Outcome.UNKNOWN)

    monkeypatch.setattr(world, "store", lose)
    world.run()
    assert len(world.keyspace.pids) == 4
    assert len(lost) == 3


def test_a_partition_with_more_than_its_share_of_the_writes_is_split_once_that_lasts() -> None:
    world = range_world()
    world.point_of = middle
    pass_s(world, CALM_S)
    world.writes_of = lambda pid: 300.0 * owned(world, pid) / 0x10000
    pass_s(world, HOT_S - 1)
    assert not world.asked_splits
    world.until(lambda: len(world.keyspace.pids) == 2)
    world.run()
    assert len(world.keyspace.pids) == 4, "a third of the writes is a node's share; a quarter is below it"
    assert {asked.by for asked in world.asked_splits} == {"load"}


def test_a_quiet_partition_is_not_split_whatever_its_share_is() -> None:
    world = range_world()
    world.point_of = middle
    world.writes_of = lambda pid: RESHAPING.split_writes_per_s - 1
    pass_s(world, 60)
    assert not world.asked_splits


def test_rising_keys_go_to_each_node_in_turn() -> None:
    world = range_world(settings=replace(RESHAPING, partitions_max=1000, split_bytes=1 << 40))
    counter = itertools.count(1)
    world.point_of = lambda asked: b"%06d" % next(counter)
    world.writes_of = lambda pid: 1000.0 if pid == world.keyspace.pids[-1] else 0.0
    pass_s(world, 300)
    assert len(world.keyspace.pids) > 10
    share = sum(world.led.values()) / 3
    assert max(world.led.values()) < 1.5 * share


def test_a_partition_that_was_split_between_two_looks_is_left_alone_for_a_while() -> None:
    world = range_world()
    world.point_of = middle
    world.writes_of = lambda pid: 1000.0
    world.until(lambda: bool(world.asked_splits))
    while any(one.transfer for one in world.stored.entries.values()):
        for entry in [one for one in world.stored.entries.values() if one.transfer is not None]:
            world.bring(entry)
    asked = len(world.asked_splits)
    pass_s(world, CALM_S - 1)
    assert len(world.asked_splits) == asked


def test_where_no_point_helps_nothing_is_split_and_it_is_not_asked_all_the_time() -> None:
    world = range_world()
    world.writes_of = lambda pid: 1000.0
    pass_s(world, 100)
    assert 0 < len(world.asked_splits) <= 3
    assert world.notes("not_split")
    assert len(world.keyspace.pids) == 1


def test_a_point_outside_its_range_splits_nothing() -> None:
    world = range_world(b"g", b"p", least=3)
    world.size_of = lambda pid: 2000 if pid == FIRST_PID + 1 else 0
    for wrong in (b"g", b"p", b"a", b"z"):
        world.point_of = lambda asked, at=wrong: at  # type: ignore[misc]
        pass_s(world, FUTILE_S)
        assert len(world.keyspace.pids) == 3
    world.point_of = lambda asked: b"k"
    pass_s(world, FUTILE_S)
    assert world.ranges[1] == (b"g", b"k")


def test_a_partition_stays_whole_while_no_node_is_left_for_the_new_one() -> None:
    world = range_world()
    leaving = [
        PutNode(msgspec.structs.replace(info, standing=Standing.LEAVING), info) for info in world.stored.nodes.values()
    ]
    world.change(*leaving)
    world.point_of = middle
    world.size_of = lambda pid: 2000
    pass_s(world, 2 * CALM_S)
    assert world.asked_splits
    assert world.keyspace.pids == (FIRST_PID,)
    world.change(*(PutNode(one.guard, one.node) for one in leaving if one.guard))
    world.until(lambda: len(world.keyspace.pids) == 2)


def test_there_are_never_more_partitions_than_allowed() -> None:
    world = range_world(settings=replace(RESHAPING, partitions_max=3))
    world.point_of = middle
    world.size_of = lambda pid: 2000
    pass_s(world, 200)
    assert len(world.keyspace.pids) == 3


@pytest.mark.parametrize("how", ["paused", "manual", "other_planner"])
def test_nothing_is_split_or_merged_by_itself(how: str) -> None:
    world = range_world(b"m", settings=replace(RESHAPING, manual_rebalance=how == "manual"))
    if how == "paused":
        world.ask_for(SetRebalance(paused=True))
    if how == "other_planner":
        world.send(PlannerChosen(False))
    world.point_of = middle
    world.size_of = lambda pid: 5000 if pid == FIRST_PID else 0
    pass_s(world, RESHAPING.merge_after_s + 60)
    assert world.keyspace.pids == (FIRST_PID, FIRST_PID + 1)


def test_the_new_partition_is_led_where_least_was_written() -> None:
    world = range_world()
    leader = world.stored.entries[FIRST_PID].leader
    assert leader is not None
    world.writes_of = lambda pid: 1000.0 if pid == FIRST_PID else 0.0
    world.point_of = middle
    world.until(lambda: len(world.keyspace.pids) == 2)
    new = world.stored.entries[world.keyspace.pids[1]]
    assert new.replicas[0].node != leader.node


def test_an_uid_that_was_drawn_and_not_used_is_used_by_the_next_split() -> None:
    world = range_world()
    world.point_of = middle
    world.stop("n3")
    pass_s(world, 30)
    world.size_of = lambda pid: 3000 * owned(world, pid) // 0x10000
    pass_s(world, 60)
    world.start("n3")
    world.run()
    assert set(world.keyspace.pids) == set(range(FIRST_PID, FIRST_PID + 4))


# ---- merges ---------------------------------------------------------------------------------------------------------


def test_neighbours_that_are_small_and_calm_are_merged_and_the_one_without_keys_goes_later() -> None:
    world = range_world(b"g", b"p")
    world.size_of = lambda pid: 50 if pid in world.keyspace.pids else 0
    pass_s(world, RESHAPING.merge_after_s - 20)
    assert len(world.keyspace.pids) == 3
    world.until(lambda: len(world.keyspace.pids) == 1)
    gone = [pid for pid in range(FIRST_PID, FIRST_PID + 3) if pid not in world.keyspace.pids]
    assert all(world.stored.entries[pid].replicas for pid in gone), "it answers for what it had"
    pass_s(world, RETIRE_S + 10)
    assert not any(world.stored.entries[pid].replicas for pid in gone)
    assert world.keyspace.pids[0] not in gone


def test_copies_of_a_partition_without_keys_move_and_are_replaced_as_others_are() -> None:
    world = range_world(b"m")
    world.until(lambda: len(world.keyspace.pids) == 1)
    (gone,) = {FIRST_PID, FIRST_PID + 1} - set(world.keyspace.pids)
    leaving = world.stored.entries[gone].replicas[0].node
    world.add("n4")
    world.run()
    assert isinstance(world.ask_for(RemoveNode(leaving)), NodeChanged)
    world.until(lambda: world.stored.nodes[leaving].standing is Standing.REMOVED)
    assert len(world.stored.entries[gone].in_sync) == 2


def test_a_partition_without_keys_stays_while_it_has_open_transactions() -> None:
    world = range_world(b"m")
    world.open_txns_of = lambda pid: 1
    world.until(lambda: len(world.keyspace.pids) == 1)
    pass_s(world, 2 * RETIRE_S)
    assert all(one.replicas for one in world.stored.entries.values())
    world.open_txns_of = lambda pid: 0
    pass_s(world, RETIRE_S + 10)
    assert not all(one.replicas for one in world.stored.entries.values())


def test_what_was_split_on_creation_stays_so() -> None:
    world = range_world(b"g", b"p", least=2)
    pass_s(world, 3 * RESHAPING.merge_after_s)
    assert len(world.keyspace.pids) == 2


def test_what_is_made_with_splits_keeps_as_many_partitions_while_it_is_empty_and_as_it_shrinks() -> None:
    request = CreateKeyspace("k", "range", replicas=2, bounds=(b"m",))
    world = ReshapingWorld(record_of(request, FIRST_PID))
    pass_s(world, 3 * RESHAPING.merge_after_s)
    assert world.ranges == [(b"", b"m"), (b"m", b"")]
    world.point_of = middle
    world.size_of = lambda pid: 3000 * owned(world, pid) // 0x10000
    world.until(lambda: len(world.keyspace.pids) == 4)
    world.size_of = lambda pid: 0
    world.until(lambda: len(world.keyspace.pids) == 2)
    pass_s(world, 3 * RESHAPING.merge_after_s)
    assert len(world.keyspace.pids) == 2


@pytest.mark.parametrize("what", ["large", "busy"])
def test_neighbours_that_are_large_or_busy_stay_apart(what: str) -> None:
    world = range_world(b"m")
    if what == "large":
        world.size_of = lambda pid: 200
    else:
        world.writes_of = lambda pid: 10.0
    pass_s(world, 3 * RESHAPING.merge_after_s)
    assert len(world.keyspace.pids) == 2


# ---- whatever is under way ------------------------------------------------------------------------------------------


def test_another_control_switches_what_it_finds_handed() -> None:
    world = range_world()
    world.point_of = middle
    world.size_of = lambda pid: 3000 * owned(world, pid) // 0x10000
    world.until(lambda: any(one.transfer for one in world.stored.entries.values()))
    world.restart()
    world.send(PlannerChosen(False))
    pass_s(world, 5)
    assert len(world.keyspace.pids) == 2
    assert not any(one.transfer for one in world.stored.entries.values())


def test_a_transfer_whose_target_nobody_leads_is_called_off() -> None:
    world = directory_world(acme=FIRST_PID)
    world.is_handing_over = False
    world.ask_for(MoveTenant("k", b"acme", FIRST_PID + 1))
    target = world.stored.entries[FIRST_PID + 1]
    for rid in target.replicas:
        world.damage(rid)
    leaderless = msgspec.structs.replace(target, ver=target.ver + 1, leader=None)
    world.change(PutEntry(leaderless))
    pass_s(world, LEADERLESS_S + 10)
    assert world.stored.entries[FIRST_PID].transfer is None
    aborting = world.stored.entries[FIRST_PID + 1].transfer
    assert aborting is not None
    assert aborting.state is TransferState.ABORTING
    assert world.stored.tenants["k", b"acme"].pid == FIRST_PID


# ---- tenants --------------------------------------------------------------------------------------------------------


def test_a_tenant_is_moved_to_the_partition_that_is_named() -> None:
    world = directory_world(acme=FIRST_PID, other=FIRST_PID)
    answer = world.ask_for(MoveTenant("k", b"acme", FIRST_PID + 2))
    assert isinstance(answer, TenantMoving)
    assert answer.partition == FIRST_PID + 2
    world.run()
    assert world.stored.tenants["k", b"acme"] == Tenant("k", b"acme", FIRST_PID + 2)
    assert world.stored.tenants["k", b"other"] == Tenant("k", b"other", FIRST_PID)
    assert not any(one.transfer for one in world.stored.entries.values())


def test_a_tenant_for_whom_no_partition_is_named_goes_to_the_smallest_other_one() -> None:
    world = directory_world(acme=FIRST_PID)
    world.size_of = lambda pid: {FIRST_PID: 0, FIRST_PID + 1: 500, FIRST_PID + 2: 100}.get(pid, 0)
    world.turn()
    assert world.ask_for(MoveTenant("k", b"acme")).partition == FIRST_PID + 2


@pytest.mark.parametrize(
    ("request_", "refusal"),
    [
        (MoveTenant("none", b"acme"), NotFound),
        (MoveTenant("default", b"acme"), BadParameter),
        (MoveTenant("k", b"nobody"), NotFound),
        (MoveTenant("k", b"acme", 1), BadParameter),
        (MoveTenant("k", b"acme", FIRST_PID), Conflict),
    ],
)
def test_what_cannot_be_moved_is_refused(request_: MoveTenant, refusal: type[Exception]) -> None:
    world = directory_world(acme=FIRST_PID)
    assert isinstance(world.ask_for(request_), refusal)


def test_a_tenant_is_not_moved_while_its_partition_has_another_on_the_way() -> None:
    world = directory_world(acme=FIRST_PID, other=FIRST_PID)
    world.ask_for(MoveTenant("k", b"acme", FIRST_PID + 1))
    assert isinstance(world.ask_for(MoveTenant("k", b"other", FIRST_PID + 2)), Conflict)
    world.run()
    assert isinstance(world.ask_for(MoveTenant("k", b"other", FIRST_PID + 2)), TenantMoving)


def test_what_is_on_its_way_is_shown_until_both_partitions_are_done_with_it() -> None:
    world = directory_world(acme=FIRST_PID)
    number = world.ask_for(MoveTenant("k", b"acme", FIRST_PID + 1)).transfer
    (shown,) = world.ask_for(RebalanceStatus()).transfers
    assert (shown.id, shown.keyspace, shown.source, shown.target) == (number, "k", FIRST_PID, FIRST_PID + 1)
    assert (shown.state, shown.tenant) == ("copying", "acme")
    world.run()
    assert not world.ask_for(RebalanceStatus()).transfers


def test_a_split_whose_copies_nobody_makes_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = range_world()
    world.point_of = middle
    world.size_of = lambda pid: 3000 * owned(world, pid) // 0x10000
    react, lost = world._react, list[Effect]()

    def lose(effect: Effect) -> None:
        is_lost = isinstance(effect, AskCopies) and max(effect.pids) > FIRST_PID
        lost.append(effect) if is_lost else react(effect)

    monkeypatch.setattr(world, "_react", lose)
    world.until(lambda: bool(lost))
    monkeypatch.undo()
    world.run()
    assert len(world.keyspace.pids) == 4


def test_a_partition_that_has_keys_is_never_taken_away() -> None:
    world = range_world(b"m")
    world.size_of = lambda pid: 200
    pass_s(world, 2 * RETIRE_S)
    assert len(world.keyspace.pids) == 2
    assert all(entry.replicas and entry.leader for entry in world.stored.entries.values())
