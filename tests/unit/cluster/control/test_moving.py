"""Moves from their plan to their end, whatever ends in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil

import pytest
from unit.cluster.control.moving_world import PARTITIONS, SETTINGS, Crashed, MovingWorld
from unit.cluster.control.world import of_kind

from cluster.cluster_map import PutEntry, PutMove, StartMoves
from cluster.control.events import AskCopies, Compare, Effect, Loaded, Propose, Ticked
from cluster.control.map_store import Outcome
from cluster.control.messages import AbortMove, RebalanceStatus, RebalanceView, RemoveNode, SetRebalance
from cluster.control.moving import NOT_EQUAL
from kvstore.errors import Conflict, NotFound
from kvstore.map_values import Move, MoveState, Rebalance


def moved_to(world: MovingWorld, node: str) -> int:
    return sum(move.target == node and move.state is MoveState.DONE for move in world.stored.moves.values())


def test_a_node_that_joins_gets_its_share_and_no_more_moves_than_that() -> None:
    world = MovingWorld("n1", "n2", "n3")
    before = dict(world.stored.entries)
    world.add("n4")
    world.run()
    world.check_even(4)
    moved = moved_to(world, "n4")
    assert 0 < moved <= ceil(1.10 * PARTITIONS * 2 / 4)
    changed = [pid for pid, entry in world.stored.entries.items() if set(entry.replicas) != set(before[pid].replicas)]
    assert len(changed) == moved == len(world.stored.moves)


def test_a_node_takes_one_copy_at_a_time() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.run()
    assert world.most_moves == {"n4": 1}


def test_the_copy_that_goes_stays_in_sync_until_the_new_one_is() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    for _ in range(200):
        world.turn()
        assert all(len(entry.in_sync) >= 2 for entry in world.stored.entries.values())
    assert world.is_at_rest


def begun(world: MovingWorld) -> MovingWorld:
    """A node joined, and a copy is being filled there."""
    world.is_slow = True
    world.add("n4")
    world.until(lambda: any(entry.adding for entry in world.stored.entries.values()))
    return world


def test_who_goes_away_while_it_is_filled_is_filled_when_it_is_back() -> None:
    world = begun(MovingWorld("n1", "n2", "n3"))
    world.stop("n4")
    for _ in range(10):
        world.turn()
    assert any(entry.adding for entry in world.stored.entries.values())
    world.is_slow = False
    world.start("n4")
    world.run()
    world.check_even(4)


def test_a_target_that_stays_away_is_given_up_and_nothing_else_changes() -> None:
    world = MovingWorld("n1", "n2", "n3")
    before = {pid: set(entry.replicas) for pid, entry in world.stored.entries.items()}
    begun(world)
    world.stop("n4")
    world.run()
    assert {pid: set(entry.replicas) for pid, entry in world.stored.entries.items()} == before
    assert all(move.state is MoveState.ABORTED for move in world.stored.moves.values())


def test_a_source_that_dies_is_replaced_by_the_copy_that_was_on_its_way() -> None:
    world = begun(MovingWorld("n1", "n2", "n3"))
    entry = next(entry for entry in world.stored.entries.values() if entry.adding)
    world.stop(world.stored.moves[entry.pid].source)
    world.is_slow = False
    world.run()
    assert "n4" in {rid.node for rid in world.stored.entries[entry.pid].in_sync}
    world.check_even(3)


def test_a_move_ends_without_a_switch_where_the_source_is_needed() -> None:
    world = begun(MovingWorld("n1", "n2", "n3"))
    entry = next(entry for entry in world.stored.entries.values() if entry.adding)
    move = world.stored.moves[entry.pid]
    world.stop(next(rid.node for rid in entry.replicas if rid.node != move.source))
    for _ in range(60):
        world.turn()
    world.is_slow = False
    world.until(lambda: not world.stored.moves[move.pid].is_active or world.stored.moves[move.pid] != move)
    assert "stays" in world.stored.moves[move.pid].reason
    assert {rid.node for rid in world.stored.entries[move.pid].in_sync} == {move.source, "n4"}
    world.run()
    world.check_even(3)


def test_a_copy_that_differs_is_thrown_away_and_an_alarm_is_raised() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.differing.add("n4")
    world.add("n4")
    world.until(lambda: any(move.state is MoveState.ABORTED for move in world.stored.moves.values()))
    assert world.notes("copies_differ")[0].fields["differences"] == "key k"
    assert not world.copies()["n4"]
    assert NOT_EQUAL in {move.reason for move in world.stored.moves.values()}
    world.differing.clear()
    world.run()
    world.check_even(4)


def test_who_is_to_lead_after_a_switch_stays_the_same_while_the_source_still_leads() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=replace(SETTINGS, manual_rebalance=True))
    world.add("n4")
    leader = world.stored.entries[1].leader
    assert leader is not None
    start = StartMoves(Rebalance(world.stored.rebalance.ver + 1, 2), (Move(1, 1, leader.node, "n4"),))
    world.stored, _ = world.stored.changed([start])
    world.send(Loaded(world.stored))
    world.until(lambda: leader in world.stored.entries[1].removing)
    switched = world.stored.entries[1]
    assert (switched.leader, switched.replicas[0].node) == (leader, "n4")
    world.send(Ticked())
    assert world.stored.entries[1] == switched


def test_a_move_whose_target_is_away_for_good_before_it_began_is_given_up() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=replace(SETTINGS, manual_rebalance=True))
    world.add("n4")
    world.stop("n4")
    source = world.stored.entries[1].replicas[0].node
    start = StartMoves(Rebalance(world.stored.rebalance.ver + 1, 2), (Move(1, 1, source, "n4"),))
    world.stored, _ = world.stored.changed([start])
    world.send(Loaded(world.stored))
    world.until(lambda: not world.stored.moves[1].is_active)
    assert world.stored.moves[1].state is MoveState.ABORTED
    assert not any(entry.adding or entry.holds("n4") for entry in world.stored.entries.values())


def test_a_move_is_not_over_before_its_source_has_deleted_the_copy() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    for _ in range(200):
        world.turn()
        done = [move for move in world.stored.moves.values() if move.state is MoveState.DONE]
        assert not [move for move in done if (move.source, move.pid) in world.held_copies]
    assert world.is_at_rest


def test_a_damaged_copy_that_no_entry_can_reach_does_not_keep_a_move_from_its_end() -> None:
    """Its node knows of no entry that ever named it, and so deletes it only when it makes another one."""
    world = begun(MovingWorld("n1", "n2", "n3"))
    entry = next(entry for entry in world.stored.entries.values() if entry.adding)
    source = world.held_copies[world.stored.moves[entry.pid].source, entry.pid]
    world.damage(source)
    world.is_slow = False
    world.until(lambda: not world.stored.moves[entry.pid].is_active)
    assert world.stored.entries[entry.pid].holds(source.node) is None


def test_past_its_switch_a_copy_that_falls_behind_is_kept_although_its_node_is_to_leave() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.until(lambda: any(entry.removing for entry in world.stored.entries.values()))
    pid = next(pid for pid, entry in world.stored.entries.items() if entry.removing)
    world.until(lambda: not world.stored.entries[pid].removing)
    world.ask_for(RemoveNode("n4"))
    world.stop("n4")
    for _ in range(3):
        world.turn()
    entry = world.stored.entries[pid]
    assert "n4" in {rid.node for rid in entry.replicas} - {rid.node for rid in entry.in_sync}


def test_no_copy_gets_in_sync_that_was_not_compared_in_that_epoch() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    compared: set[tuple[int, int]] = set()
    for _ in range(200):
        before = world.stored.entries
        world.turn()
        compared |= {(one.pid, one.epoch) for one in of_kind(world.effects, Compare)}
        for pid, entry in world.stored.entries.items():
            for rid in set(entry.in_sync) - set(before[pid].in_sync):
                assert rid.node != "n4" or (pid, entry.epoch) in compared or (pid, before[pid].epoch) in compared
    assert world.is_at_rest


def test_a_copy_that_began_anew_after_it_was_compared_is_compared_again_and_gets_in_sync() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.until(lambda: any(entry.verified_epoch and entry.adding for entry in world.stored.entries.values()))
    world.began_anew = {rid for entry in world.stored.entries.values() for rid in entry.adding}
    world.run()
    world.check_even(4)


# ---- crashes ----------------------------------------------------------------------------------------------------


def is_of_moves(effect: Effect) -> bool:
    if isinstance(effect, Propose):
        return any(
            isinstance(change, StartMoves | PutMove) or (isinstance(change, PutEntry) and change.move is not None)
            for change in effect.changes
        )
    return isinstance(effect, AskCopies | Compare)


def nth(number: int) -> Callable[[Effect], bool]:
    seen = 0

    def is_it(effect: Effect) -> bool:
        nonlocal seen
        seen += is_of_moves(effect)
        return is_of_moves(effect) and seen == number

    return is_it


@pytest.mark.parametrize("number", range(1, 26))
def test_another_control_goes_on_wherever_one_ended(number: int) -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.crash_at = nth(number)
    with pytest.raises(Crashed):
        world.run()
    world.crash_at = lambda effect: False
    world.restart()
    world.run()
    world.check_even(4)
    assert moved_to(world, "n4") <= ceil(1.10 * PARTITIONS * 2 / 4)


@pytest.mark.parametrize("number", range(1, 16))
@pytest.mark.parametrize("lands", [True, False])
def test_a_proposal_whose_outcome_is_unknown_is_settled(number: int, lands: bool) -> None:
    world = MovingWorld("n1", "n2", "n3")
    is_due = nth(number)
    store = world.store

    def hide(*proposals: Propose, outcome: Outcome | None = None) -> list[Effect]:
        if not is_due(proposals[0]) or not isinstance(proposals[0], Propose):
            return store(*proposals, outcome=outcome)
        if lands:
            return store(*proposals, outcome=Outcome.UNKNOWN)
        stored = world.stored
        effects = store(*proposals, outcome=Outcome.UNKNOWN)
        world.stored = stored
        return effects

    world.store = hide  # type: ignore[method-assign]
    world.add("n4")
    world.run()
    world.check_even(4)


def test_two_controls_that_both_plan_make_the_same_moves_once() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.until(lambda: bool(world.stored.active_moves))
    first = world.controller
    world.restart()
    second = world.controller
    for turn in range(300):
        world.controller = (first, second)[turn % 2]
        world.turn()
    assert world.is_at_rest
    world.check_even(4)


# ---- steering ---------------------------------------------------------------------------------------------------


def test_paused_moves_begin_nothing_and_go_on_when_resumed() -> None:
    world = MovingWorld("n1", "n2", "n3")
    assert isinstance(world.ask_for(SetRebalance(paused=True)), RebalanceView)
    world.add("n4")
    for _ in range(20):
        world.turn()
    assert not world.stored.moves
    world.ask_for(SetRebalance(paused=False))
    world.run()
    world.check_even(4)


def test_a_move_that_is_under_way_gets_no_copy_in_sync_while_paused() -> None:
    world = begun(MovingWorld("n1", "n2", "n3"))
    world.ask_for(SetRebalance(paused=True))
    world.is_slow = False
    for _ in range(20):
        world.turn()
    assert any(entry.adding for entry in world.stored.entries.values())
    assert not world.copies()["n4"]
    assert world.ask_for(RebalanceStatus()).state == "paused"
    world.ask_for(SetRebalance(paused=False))
    world.run()
    world.check_even(4)


@pytest.mark.parametrize("is_source", [True, False])
def test_a_copy_that_is_lost_while_moves_are_paused_is_made_anew(is_source: bool) -> None:
    world = begun(MovingWorld("n1", "n2", "n3"))
    world.ask_for(SetRebalance(paused=True))
    entry = next(entry for entry in world.stored.entries.values() if entry.adding)
    move = world.stored.moves[entry.pid]
    world.stop(next(rid.node for rid in entry.replicas if (rid.node == move.source) == is_source))
    world.is_slow = False
    world.until(lambda: world.stored.moves[entry.pid].state is MoveState.ABORTED, 100)
    world.until(lambda: len(world.stored.entries[entry.pid].in_sync) == 2, 100)
    assert world.ask_for(RebalanceStatus()).state == "paused"


def test_a_bound_is_kept_and_told_to_every_node() -> None:
    world = MovingWorld("n1", "n2", settings=replace(SETTINGS, initial_nodes=2))
    assert world.ask_for(SetRebalance(max_bytes_per_second=5000)).max_bytes_per_second == 5000
    for node in ("n1", "n2"):
        rebalance = world.told(node)[-1].rebalance
        assert rebalance is not None
        assert rebalance.max_bytes_per_second == 5000
    world.add("n3")
    assert world.told("n3")[0].rebalance == world.stored.rebalance


def test_an_aborted_move_leaves_everything_as_it_was_and_pauses_the_others() -> None:
    world = MovingWorld("n1", "n2", "n3")
    before = {pid: set(entry.replicas) for pid, entry in world.stored.entries.items()}
    begun(world)
    number = next(move.id for move in world.stored.active_moves if world.stored.entries[move.pid].adding)
    assert world.ask_for(AbortMove(number)).state == "paused"
    world.until(lambda: not any(entry.adding for entry in world.stored.entries.values()))
    world.until(lambda: not any(node == "n4" for node, _ in world.held_copies))
    assert {pid: set(entry.replicas) for pid, entry in world.stored.entries.items()} == before
    assert isinstance(world.ask_for(AbortMove(number)), NotFound)


def test_a_move_whose_new_copy_is_in_sync_can_still_be_undone() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.until(lambda: any(entry.verified_epoch for entry in world.stored.entries.values()))
    world.ask_for(SetRebalance(paused=True))
    world.until(lambda: any("n4" in {rid.node for rid in entry.in_sync} for entry in world.stored.entries.values()))
    for _ in range(10):
        world.turn()
    pid = next(pid for pid, one in world.stored.entries.items() if "n4" in {rid.node for rid in one.in_sync})
    move = world.stored.moves[pid]
    assert not world.stored.entries[pid].removing
    world.ask_for(AbortMove(move.id))
    world.until(lambda: not world.stored.moves[pid].is_active)
    entry = world.stored.entries[pid]
    assert world.stored.moves[pid].state is MoveState.ABORTED
    assert len(entry.in_sync) == 2
    assert "n4" not in {rid.node for rid in entry.replicas}


def test_a_move_past_its_switch_only_goes_forward() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.until(lambda: any(entry.removing for entry in world.stored.entries.values()))
    pid = next(pid for pid, entry in world.stored.entries.items() if entry.removing)
    assert isinstance(world.ask_for(AbortMove(world.stored.moves[pid].id)), Conflict)
    world.run()
    world.check_even(4)


def test_a_node_that_joins_while_others_wait_changes_what_has_not_begun() -> None:
    world = begun(MovingWorld("n1", "n2", "n3"))
    world.add("n5")
    world.is_slow = False
    world.run()
    world.check_even(5)
    done = [move for move in world.stored.moves.values() if move.state is MoveState.DONE]
    assert len(done) <= ceil(1.10 * PARTITIONS * 2 * (1 / 4 + 1 / 5))


def test_as_many_copies_as_allowed_move_at_a_time() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=replace(SETTINGS, moves_per_node=3))
    world.add("n4")
    world.run()
    assert world.most_moves == {"n4": 3}
    world.check_even(4)
