"""Single steps of a move, each from an entry and reports that are put there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import pytest
from unit.cluster.control.world import rid_of

from cluster.cluster_map import ClusterMap, PutEntry, PutMove
from cluster.control.events import Compare, Compared
from cluster.control.moving import NEAR_RECORDS, Mover, Scene, Step, is_past_switch, step_of
from cluster.control.repair import Host
from cluster.control.view import NodeStatus
from kvstore.map_values import Entry, KeyspaceInfo, Move, MoveState, NodeInfo, Rebalance, Standing
from kvstore.messages import CopyReport

PID, EPOCH, LOG_END = 1, 3, 5000
S, B, T, X = (rid_of(node, PID) for node in ("s", "b", "t", "x"))
MOVE = Move(7, PID, "s", "t")
BEGUN = Entry(PID, "default", 9, EPOCH, B, (S, B), (S, B), adding=(T,), moving=T, leader_boot=1)
JOINED = msgspec.structs.replace(BEGUN, in_sync=(S, B, T), replicas=(S, B, T), adding=(), verified_epoch=EPOCH)


def changed(entry: Entry, **changes: Any) -> Entry:
    return msgspec.structs.replace(entry, **changes)


def scene(
    entry: Entry,
    move: Move = MOVE,
    away: Collection[str] = (),
    gone: Collection[str] = (),
    is_paused: bool = False,
    standing: Standing = Standing.MEMBER,
    replicas: int = 2,
    **target: Any,
) -> Scene:
    """Nodes s, b, t and x, of which those are connected that are not `away`; `target` changes the report of t, and
    `standing` is what t is."""
    nodes = {
        name: NodeInfo(name, "h:1", "default", 1.0, 1, b"", standing if name == "t" else Standing.MEMBER)
        for name in "sbtx"
    }
    reports = {
        rid.node: CopyReport(PID, entry.epoch, rid == entry.leader, 10, 100, entry.ver, entry.epoch, LOG_END)
        for rid in (*entry.replicas, *entry.adding)
    }
    if "t" in reports:
        reports["t"] = msgspec.structs.replace(reports["t"], **target)
    up = [name for name in nodes if name not in away]
    status = {name: NodeStatus(True, {PID: reports[name]} if name in reports else {}) for name in up}
    keyspaces = {"default": KeyspaceInfo("default", "consistent", (PID,), replicas, 1)}
    cluster = ClusterMap(b"c", 1, nodes, keyspaces, {PID: entry}, {PID: move}, Rebalance(is_paused=is_paused))
    return Scene(cluster, {name: Host(number) for number, name in enumerate(up, 1)}, status, gone)


def wished(seen: Scene) -> Entry | Move | None:
    """What a control that has just begun proposes."""
    changes = Mover(1).tick(seen, 0.0).changes
    assert len(changes) <= 1
    for change in changes:
        assert isinstance(change, PutEntry | PutMove)
        return change.entry if isinstance(change, PutEntry) else change.move
    return None


# ---- where a move stands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "step"),
    [
        ({}, Step.VERIFY),
        ({"log_end": LOG_END - NEAR_RECORDS + 1}, Step.VERIFY),
        ({"log_end": LOG_END - NEAR_RECORDS}, Step.CATCH_UP),
        ({"log_end": 0}, Step.BACKFILL),
        ({"complete": False}, Step.BACKFILL),
        ({"epoch": EPOCH - 1}, Step.BACKFILL),
    ],
)
def test_a_copy_is_compared_once_it_is_whole_and_near_in_this_epoch(target: dict[str, Any], step: Step) -> None:
    assert step_of(MOVE, scene(BEGUN, **target)) is step


@pytest.mark.parametrize(
    ("entry", "step"),
    [
        (changed(BEGUN, adding=(), moving=None), Step.PLANNED),
        (changed(BEGUN, verified_epoch=EPOCH), Step.JOIN),
        (changed(BEGUN, verified_epoch=EPOCH - 1), Step.VERIFY),
        (changed(JOINED, in_sync=(S, B)), Step.JOIN),
        (JOINED, Step.SWITCH),
        (changed(JOINED, removing=(S,)), Step.LEAVE),
        (changed(JOINED, removing=(S,), leader=S), Step.SWITCH),
        (changed(JOINED, in_sync=(B, T), replicas=(T, B)), Step.DONE),
        (changed(BEGUN, replicas=(B,), adding=(), in_sync=(B,)), Step.DONE),
    ],
)
def test_where_a_move_stands_is_read_from_the_entry(entry: Entry, step: Step) -> None:
    assert step_of(MOVE, scene(entry)) is step


@pytest.mark.parametrize(
    ("entry", "is_past"),
    [
        (JOINED, False),
        (changed(JOINED, removing=(S,)), True),
        (changed(JOINED, leader=T), True),
        (changed(JOINED, in_sync=(B, T), replicas=(T, B)), True),
    ],
)
def test_a_move_is_past_its_switch_once_the_source_gives_way_or_the_target_leads(entry: Entry, is_past: bool) -> None:
    assert is_past_switch(MOVE, entry) is is_past


# ---- the switch -------------------------------------------------------------------------------------------------


def test_the_new_copy_takes_the_place_of_the_one_that_goes() -> None:
    assert wished(scene(JOINED)) == changed(JOINED, ver=10, replicas=(T, B, S), removing=(S,))


def test_nothing_is_switched_before_all_others_are_in_sync() -> None:
    assert wished(scene(changed(JOINED, in_sync=(S, T)))) is None


def test_a_copy_that_is_going_itself_does_not_count_as_one_that_stays() -> None:
    ended = wished(scene(changed(JOINED, removing=(B,), leader=S), gone=("b",)))
    assert isinstance(ended, Move)
    assert ended.state is MoveState.DONE


def test_a_source_that_gives_way_already_does_so_although_another_copy_is_given_up_too() -> None:
    assert wished(scene(changed(JOINED, replicas=(T, B, S), removing=(S, B), leader=S))) is None


def test_who_is_away_is_not_made_the_one_that_is_to_lead() -> None:
    switched = wished(scene(JOINED, away=("t",)))
    assert isinstance(switched, Entry)
    assert switched.replicas[0] == B
    led_on = wished(scene(changed(JOINED, replicas=(T, B, S), removing=(S,), leader=S), away=("t",)))
    assert isinstance(led_on, Entry)
    assert led_on.replicas[0] == B


def test_a_copy_that_gives_way_is_not_the_first_any_more_in_whatever_order_they_stood() -> None:
    switched = wished(scene(changed(JOINED, replicas=(B, S, T), removing=(B,), in_sync=(S, B, T)), replicas=1))
    assert isinstance(switched, Entry)
    assert switched.replicas[0] == T


def test_what_is_past_its_switch_goes_on_while_moves_are_paused() -> None:
    assert wished(scene(JOINED, is_paused=True)) is None
    led = changed(JOINED, replicas=(T, B, S), removing=(S,), leader=S)
    assert isinstance(wished(scene(led, away=("t",), is_paused=True)), Entry)


# ---- undone -----------------------------------------------------------------------------------------------------

ABORTING = msgspec.structs.replace(MOVE, state=MoveState.ABORTING)


def test_a_copy_that_is_not_in_sync_is_taken_out_with_everything_that_was_said_of_it() -> None:
    entry = changed(BEGUN, replicas=(S, B, T), adding=(), removing=(T,))
    assert wished(scene(entry, ABORTING)) == changed(entry, ver=10, replicas=(S, B), removing=(), moving=None)


@pytest.mark.parametrize("target", ["leaves", "is gone"])
def test_a_move_is_undone_where_its_target_leaves_or_is_gone(target: str) -> None:
    seen = scene(BEGUN, standing=Standing.LEAVING) if target == "leaves" else scene(BEGUN, away=("t",), gone=("t",))
    ended = wished(seen)
    assert isinstance(ended, Move)
    assert ended.state is MoveState.ABORTING


def test_a_target_that_was_away_for_too_long_and_is_back_is_no_reason() -> None:
    assert wished(scene(BEGUN, gone=("t",))) is None


# ---- comparing --------------------------------------------------------------------------------------------------


def questions(mover: Mover, seen: Scene, now_s: float) -> list[int]:
    """In which epochs a comparison is asked for."""
    return [effect.epoch for effect in mover.tick(seen, now_s).effects if isinstance(effect, Compare)]


def test_a_comparison_that_failed_is_asked_for_again_after_a_while() -> None:
    mover, seen = Mover(1), scene(BEGUN)
    assert questions(mover, seen, 0.0) == [EPOCH]
    assert not questions(mover, seen, 5.0)
    mover.compared(Compared(MOVE.id, PID, EPOCH, failed="no answer"), seen.cluster, 5.0)
    assert not questions(mover, seen, 5.5)
    assert questions(mover, seen, 6.0) == [EPOCH]


def test_a_verdict_counts_in_its_epoch_only_and_another_epoch_is_another_question() -> None:
    mover, seen, later = Mover(1), scene(BEGUN), scene(changed(BEGUN, ver=10, epoch=EPOCH + 1))
    assert questions(mover, seen, 0.0) == [EPOCH]
    assert questions(mover, later, 0.0) == [EPOCH + 1]
    assert not mover.compared(Compared(MOVE.id, PID, EPOCH, ("key",)), later.cluster, 0.0).changes
    mover.compared(Compared(MOVE.id, PID, EPOCH + 1), later.cluster, 0.0)
    again = scene(changed(BEGUN, ver=11, epoch=EPOCH + 2))
    wishes = mover.tick(again, 0.0)
    assert not wishes.changes
    assert [effect.epoch for effect in wishes.effects if isinstance(effect, Compare)] == [EPOCH + 2]


def test_what_is_heard_of_a_move_that_is_being_undone_changes_nothing() -> None:
    mover, seen = Mover(1), scene(BEGUN)
    questions(mover, seen, 0.0)
    undone = scene(BEGUN, ABORTING).cluster
    assert not mover.compared(Compared(MOVE.id, PID, EPOCH, ("key",)), undone, 0.0).changes


def test_a_question_to_a_process_that_is_gone_is_asked_anew() -> None:
    mover, seen = Mover(1), scene(BEGUN)
    questions(mover, seen, 0.0)
    hosts = {name: Host(host.connection + 10) for name, host in seen.hosts.items()}
    assert questions(mover, Scene(seen.cluster, hosts, seen.status), 0.0) == [EPOCH]


# ---- beginning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "away"),
    [({}, "b"), ({"leader": None}, ""), ({"adding": (X,)}, ""), ({"removing": (S,)}, "")],
)
def test_no_copy_is_asked_for_where_something_else_of_the_partition_changes(changes: dict[str, Any], away: str) -> None:
    planned = changed(BEGUN, adding=(), moving=None)
    mover = Mover(1)
    mover.tick(scene(changed(planned, **changes), away=(away,)), 0.0)
    assert not mover.has_begun(PID)
    mover.tick(scene(planned), 0.0)
    assert mover.has_begun(PID)


def test_a_copy_that_was_made_is_not_added_beside_another_one_and_counts_only_for_its_own_question() -> None:
    planned = changed(BEGUN, adding=(), moving=None)
    mover, seen = Mover(1), scene(planned)
    mover.tick(seen, 0.0)
    connection = seen.hosts["t"].connection
    mover.made("t", connection + 1, [(PID, T)])
    assert not mover.tick(seen, 0.0).changes
    mover.made("t", connection, [(PID, T)])
    assert not mover.tick(scene(changed(planned, adding=(X,))), 0.0).changes


def test_a_new_copy_is_added_as_one_that_was_not_compared_yet() -> None:
    planned = changed(BEGUN, adding=(), moving=None, verified_epoch=EPOCH)
    mover, seen = Mover(1), scene(planned)
    mover.tick(seen, 0.0)
    mover.made("t", seen.hosts["t"].connection, [(PID, T)])
    (change,) = mover.tick(seen, 0.0).changes
    assert isinstance(change, PutEntry)
    assert change.move == MOVE
    assert change.entry == changed(planned, ver=10, adding=(T,), moving=T, verified_epoch=0)


def test_what_was_proposed_is_proposed_again_only_when_it_has_met_the_store() -> None:
    mover, seen = Mover(1), scene(JOINED)
    assert mover.tick(seen, 0.0).changes
    assert not mover.tick(seen, 1.0).changes
    mover.settled([PID])
    assert mover.tick(seen, 2.0).changes
