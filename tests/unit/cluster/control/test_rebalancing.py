"""Plans on request: what they show, that exactly they are started, and how moves are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from unit.cluster.control.moving_world import FILL_TURNS, SETTINGS, TURN_S, MovingWorld
from unit.cluster.control.world import of_kind

from cluster.cluster_map import PutEntry, PutMove, PutRebalance, StartMoves
from cluster.control.events import Asked, PlannerChosen, Propose, Refuse, Reply, Ticked
from cluster.control.map_store import Outcome
from cluster.control.messages import (
    AbortMove,
    ChangeNode,
    ClusterStatus,
    MakePlan,
    Newcomer,
    PlanView,
    RebalanceStatus,
    RebalanceView,
    SetRebalance,
    StartPlan,
)
from cluster.control.rebalancing import PLANS_KEPT, SETTLE_S
from cluster.placement.ring import RingPlacement
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.map_values import Move, MoveState

MANUAL = replace(SETTINGS, manual_rebalance=True)


def by_hand(*more: str) -> MovingWorld:
    """Three nodes whose copies move only when a plan is started."""
    world = MovingWorld("n1", "n2", "n3", settings=MANUAL)
    for node in more:
        world.add(node)
        for _ in range(6):
            world.turn()
    return world


def ways(moves: Any) -> list[tuple[int, str, str]]:
    return [(one.partition, one.source, one.target) for one in moves]


def test_a_plan_shows_what_would_move_and_how_even_that_is_and_changes_nothing() -> None:
    world = by_hand()
    before = world.stored
    plan = world.ask_for(MakePlan((Newcomer("n4"),)))
    assert isinstance(plan, PlanView)
    assert world.stored == before
    assert {one.target for one in plan.moves} == {"n4"}
    assert (plan.partitions, plan.keys, plan.size_bytes) == (
        len(plan.moves),
        10 * len(plan.moves),
        100 * len(plan.moves),
    )
    balance = {one.node: one for one in plan.balance}
    assert balance["n4"].copies_before == 0
    assert balance["n4"].copies_after == len(plan.moves)
    assert all(one.copies_after <= one.most_after for one in plan.balance)
    assert sum(one.leads_after for one in plan.balance) == MANUAL.partitions


def test_what_would_move_is_what_moves_by_itself_when_the_node_joins() -> None:
    world = MovingWorld("n1", "n2", "n3")
    plan = world.ask_for(MakePlan((Newcomer("n4"),)))
    world.add("n4")
    world.until(lambda: bool(world.stored.moves))
    assert ways(world.ask_for(RebalanceStatus()).moves) == ways(plan.moves)


def test_exactly_the_plan_that_was_asked_for_is_started() -> None:
    world = by_hand("n4")
    assert not world.stored.moves
    plan = world.ask_for(MakePlan())
    started = world.ask_for(StartPlan(plan.id))
    assert isinstance(started, RebalanceView)
    assert ways(started.moves) == ways(plan.moves)
    world.run()
    world.check_even(4)


def test_what_an_operator_started_is_not_dropped_for_a_node_that_joined_shortly_before() -> None:
    world = by_hand()
    world.add("n4")
    world.turn()
    started = world.ask_for(StartPlan(world.ask_for(MakePlan()).id))
    assert len(started.moves) > 2
    world.run()
    world.check_even(4)


@pytest.mark.parametrize("change", ["joined", "weight", "moved", "leaves"])
def test_a_plan_is_refused_where_something_changed_and_what_is_told(change: str) -> None:
    world = by_hand("n4")
    plan = world.ask_for(MakePlan())
    told = {
        "joined": "node n5 is to hold copies now",
        "weight": "node n1 has zone default and weight 2 now",
        "moved": "partition",
        "leaves": "node n2 is not to hold copies now",
    }[change]
    if change == "joined":
        world.add("n5")
    elif change == "weight":
        world.ask_for(ChangeNode("n1", weight=2.0))
    elif change == "moved":
        world.ask_for(StartPlan(plan.id))
    else:
        plan = world.ask_for(MakePlan((Newcomer("n2b"),)))
        told = "node n2b is not to hold copies now"
    refusal = world.ask_for(StartPlan(plan.id))
    assert isinstance(refusal, Conflict)
    assert told in refusal.detail


def test_the_number_of_a_move_is_used_once() -> None:
    world = by_hand("n4")
    first = world.ask_for(StartPlan(world.ask_for(MakePlan()).id)).moves
    for move in first:
        world.ask_for(AbortMove(move.id))
    world.until(lambda: not world.stored.active_moves)
    again = world.ask_for(StartPlan(world.ask_for(MakePlan()).id)).moves
    assert again
    assert not {move.id for move in first} & {move.id for move in again}


def test_a_plan_that_nobody_made_here_is_not_found() -> None:
    assert isinstance(by_hand().ask_for(StartPlan("0")), NotFound)


def test_only_the_last_plans_are_remembered() -> None:
    world = by_hand()
    first = world.ask_for(MakePlan((Newcomer("n4"),)))
    for number in range(5, 5 + PLANS_KEPT):
        world.ask_for(MakePlan((Newcomer(f"n{number}"),)))
    assert isinstance(world.ask_for(StartPlan(first.id)), NotFound)


@pytest.mark.parametrize(
    "request_",
    [
        MakePlan((Newcomer("n1"),)),
        MakePlan((Newcomer("n4"), Newcomer("n4"))),
        MakePlan((Newcomer("n 4"),)),
        MakePlan((Newcomer("n4", weight=-1.0),)),
        MakePlan(remove=("n9",)),
        MakePlan(remove=("n1", "n2", "n3")),
    ],
)
def test_a_plan_of_what_cannot_be_is_refused(request_: MakePlan) -> None:
    assert isinstance(by_hand().ask_for(request_), BadParameter)


def test_moves_are_shown_with_their_steps_and_the_cluster_as_rebalancing() -> None:
    world = MovingWorld("n1", "n2", "n3")
    assert world.ask_for(RebalanceStatus()).state == "idle"
    world.is_slow = True
    world.add("n4")
    world.until(lambda: any(entry.adding for entry in world.stored.entries.values()))
    for _ in range(4):
        world.turn()
    view = world.ask_for(ClusterStatus())
    assert view.state == "rebalancing"
    first = view.moves[0]
    assert (first.step, first.keys, first.size_bytes) == ("backfill", 10, 100)
    assert {move.step for move in view.moves[1:]} == {"planned"}
    assert world.ask_for(RebalanceStatus()).state == "running"
    world.is_slow = False
    world.run()
    assert world.ask_for(ClusterStatus()).state == "healthy"
    assert {move.state for move in world.stored.moves.values()} == {MoveState.DONE}


# ---- when moves are planned, and by whom -------------------------------------------------------------------------


def starts(world: MovingWorld) -> list[StartMoves]:
    """The plans that were proposed."""
    return [
        change for one in of_kind(world.effects, Propose) for change in one.changes if isinstance(change, StartMoves)
    ]


def test_nothing_is_planned_before_members_have_been_the_same_for_a_while() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    for _ in range(int(SETTLE_S / TURN_S)):
        world.turn()
        assert not starts(world)
    world.until(lambda: bool(starts(world)), 3)


def test_where_copies_should_be_is_worked_out_once_while_nothing_that_counts_for_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    place = RingPlacement.place

    def counted(self: RingPlacement, *question: Any) -> dict[int, tuple[str, ...]]:
        nonlocal asked
        asked += 1
        return place(self, *question)

    monkeypatch.setattr(RingPlacement, "place", counted)
    world = MovingWorld("n1", "n2", "n3")
    for _ in range(10):
        world.turn()
    asked = 0
    world.stop("n2")
    world.turn()
    world.start("n2")
    for _ in range(10):
        world.turn()
    assert asked == 0
    world.add("n4")
    world.until(lambda: bool(starts(world)))
    assert asked == 1


def test_a_plan_is_proposed_once_while_its_outcome_is_open() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.store_is_held = True
    for _ in range(20):
        world.turn()
    assert len(starts(world)) == 1
    world.release()
    world.run()
    world.check_even(4)


def test_only_what_lacks_nothing_moves_by_itself() -> None:
    world = MovingWorld("n1", "n2", "n3")
    lacking = {pid for pid, entry in world.stored.entries.items() if entry.holds("n2") is not None}
    world.stop("n2")
    for _ in range(4):
        world.turn()
    world.add("n4")
    for _ in range(20):
        world.turn()
    assert world.stored.moves
    assert not lacking & world.stored.moves.keys()


def test_nothing_moves_by_itself_to_a_node_that_is_away() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    world.stop("n4")
    for _ in range(20):
        world.turn()
    assert not world.stored.moves
    world.start("n4")
    world.run()
    world.check_even(4)


# ---- what is asked for at the same time --------------------------------------------------------------------------


def answers(world: MovingWorld, *requests: Any) -> list[Any]:
    """What comes of requests that meet the store together."""
    world.store_is_held = True
    first = world.last_ask + 1
    for request in requests:
        world.last_ask += 1
        world.send(Asked(world.last_ask, request))
    world.release()
    told = {one.ask: one.answer for one in of_kind(world.effects, Reply)}
    told |= {one.ask: one.error for one in of_kind(world.effects, Refuse)}
    return [told[ask] for ask in range(first, world.last_ask + 1)]


def test_what_two_ask_for_at_the_same_time_both_comes_true() -> None:
    world = by_hand()
    _, last = answers(world, SetRebalance(paused=True), SetRebalance(max_bytes_per_second=7))
    assert (last.state, last.max_bytes_per_second) == ("paused", 7)
    again = world.ask_for(SetRebalance(paused=False))
    assert (again.state, again.max_bytes_per_second) == ("idle", 7)


def undoing(world: MovingWorld) -> tuple[int, Move]:
    """Moves that were started, and the number of a question to undo the first, which has not met the store."""
    world.ask_for(StartPlan(world.ask_for(MakePlan()).id))
    world.store_is_held = True
    move = world.stored.active_moves[0]
    return world.ask(AbortMove(move.id)), move


def test_two_moves_that_are_undone_at_the_same_time_both_are() -> None:
    world = by_hand("n4")
    world.ask_for(StartPlan(world.ask_for(MakePlan()).id))
    moves = world.stored.active_moves[:2]
    told = answers(world, *(AbortMove(move.id) for move in moves))
    assert [one.state for one in told] == ["paused", "paused"]
    assert [world.stored.moves[move.pid].state for move in moves] == [MoveState.ABORTING] * 2


@pytest.mark.parametrize("what", ["entry", "bound"])
def test_a_move_is_undone_whatever_else_changes_at_the_same_time(what: str) -> None:
    world = by_hand("n4")
    ask, move = undoing(world)
    entry, stands = world.stored.entries[move.pid], world.stored.rebalance
    change = {
        "entry": PutEntry(msgspec.structs.replace(entry, ver=entry.ver + 1)),
        "bound": PutRebalance(msgspec.structs.replace(stands, ver=stands.ver + 1, max_bytes_per_second=5)),
    }[what]
    world.stored, _ = world.stored.changed([change])
    world.release()
    assert world.answer(ask).state == "paused"
    assert world.stored.rebalance.is_paused
    assert world.stored.moves[move.pid].state is MoveState.ABORTING


@pytest.mark.parametrize("state", [MoveState.DONE, MoveState.MOVING], ids=["over", "switched"])
def test_where_a_move_can_be_undone_no_more_nothing_is_paused(state: MoveState) -> None:
    world = by_hand("n4")
    ask, move = undoing(world)
    entry = world.stored.entries[move.pid]
    switched = msgspec.structs.replace(entry, ver=entry.ver + 1, removing=(entry.holds(move.source),))
    over = PutMove(msgspec.structs.replace(move, state=state), move, switched.ver)
    world.stored, landed = world.stored.changed([PutEntry(switched), over])
    world.release()
    assert all(landed)
    assert isinstance(world.answer(ask), NotFound if state is MoveState.DONE else Conflict)
    assert not world.stored.rebalance.is_paused
    assert world.stored.moves[move.pid].state is state


def test_a_move_that_was_undone_unheard_of_is_told_as_undone() -> None:
    world = by_hand("n4")
    ask, move = undoing(world)
    held, world.held, world.store_is_held = world.held, [], False
    world.store(*held, outcome=Outcome.UNKNOWN)
    stands = world.stored.rebalance
    bound = PutRebalance(msgspec.structs.replace(stands, ver=stands.ver + 1, max_bytes_per_second=5))
    world.stored, _ = world.stored.changed([bound])
    world.send(Ticked())
    assert world.answer(ask).state == "paused"
    assert world.stored.rebalance == bound.rebalance
    assert world.stored.moves[move.pid].state is MoveState.ABORTING


def test_a_control_that_does_not_plan_shows_how_fast_moves_go() -> None:
    world = MovingWorld("n1", "n2", "n3")
    world.add("n4")
    while not any(entry.adding for entry in world.stored.entries.values()):
        world.turn()
    world.send(PlannerChosen(False))
    rates = []
    for _ in range(2 * FILL_TURNS):
        world.turn()
        rates += [move.bytes_per_second for move in world.ask_for(RebalanceStatus()).moves]
    assert max(rates) > 0
