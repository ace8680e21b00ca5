"""Members that are drained, removed, changed, and that come again."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil
from typing import Any

import pytest
from unit.cluster.control.moving_world import PARTITIONS, SETTINGS, MovingWorld
from unit.cluster.control.world import of_kind

from cluster.cluster_map import PutKeyspace
from cluster.control.events import Asked, HangUp, Loaded, Refuse, RetireNode
from cluster.control.messages import AdmitNode, ChangeNode, ClusterStatus, NodeChanged, RemoveNode
from cluster.control.standing import AWAY_S, removal
from kvstore.errors import BadParameter, Conflict, NotFound, Overloaded
from kvstore.map_values import KeyspaceInfo, Standing


def of_three() -> MovingWorld:
    return MovingWorld("n1", "n2", "n3")


def shown(world: MovingWorld, node: str) -> str:
    return {one.id: one.state for one in world.ask_for(ClusterStatus()).nodes}.get(node, "")


# ---- drain ------------------------------------------------------------------------------------------------------


def test_a_drained_node_leads_nothing_and_keeps_its_copies() -> None:
    world = of_three()
    copies = world.copies()
    world.ask_for(ChangeNode("n2", draining=True))
    world.run()
    assert not world.leads()["n2"]
    assert world.copies() == copies
    assert shown(world, "n2") == "draining"
    assert max(world.leads().values()) <= ceil(1.05 * PARTITIONS / 2)


def test_leadership_goes_although_another_copy_is_missing_somewhere() -> None:
    world = of_three()
    world.stop("n3")
    for _ in range(4):
        world.turn()
    world.ask_for(ChangeNode("n2", draining=True))
    for _ in range(20):
        world.turn()
    alone = sum({rid.node for rid in entry.in_sync} == {"n2"} for entry in world.stored.entries.values())
    assert world.leads()["n2"] == alone


def test_one_that_is_drained_no_more_leads_its_share_again() -> None:
    world = of_three()
    world.ask_for(ChangeNode("n2", draining=True))
    world.run()
    world.ask_for(ChangeNode("n2", draining=False))
    world.run()
    world.check_even(3)
    assert shown(world, "n2") == "up"


# ---- removal ----------------------------------------------------------------------------------------------------


def of_four() -> MovingWorld:
    return MovingWorld("n1", "n2", "n3", "n4", settings=replace(SETTINGS, initial_nodes=4))


def test_a_node_that_is_removed_gives_up_all_it_leads_and_holds_and_is_told_last() -> None:
    world = of_four()
    answer = world.ask_for(RemoveNode("n4"))
    assert answer == NodeChanged("n4", "default", 1.0, "leaving")
    world.turn()
    assert shown(world, "n4") == "draining"
    for _ in range(200):
        world.turn()
        assert all(len(entry.in_sync) >= 2 for entry in world.stored.entries.values())
    assert world.ended == ["n4"]
    assert shown(world, "n4") == ""
    assert world.stored.nodes["n4"].standing is Standing.REMOVED
    world.check_even(3)


def test_by_hand_only_what_is_on_nodes_that_leave_moves() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=replace(SETTINGS, manual_rebalance=True))
    world.add("n4")
    for _ in range(20):
        world.turn()
    assert not world.stored.moves
    world.ask_for(RemoveNode("n3"))
    world.until(lambda: world.ended == ["n3"])
    assert {move.source for move in world.stored.moves.values()} == {"n3"}


def test_nobody_is_removed_where_copies_would_fall_below_what_is_asked_for() -> None:
    world = of_three()
    world.ask_for(RemoveNode("n3"))
    refusal = world.ask_for(RemoveNode("n2"))
    assert isinstance(refusal, Conflict)
    assert "1 nodes would be left, for 2 copies" in refusal.detail


def test_the_keyspace_of_which_most_copies_are_asked_for_decides_whether_a_node_may_go() -> None:
    world = of_four()
    more = KeyspaceInfo("more", "consistent", (PARTITIONS + 1,), 4, 1)
    world.stored, _ = world.stored.changed([PutKeyspace(more, None)])
    world.send(Loaded(world.stored))
    refusal = world.ask_for(RemoveNode("n4"))
    assert isinstance(refusal, Conflict)
    assert "3 nodes would be left, for 4 copies" in refusal.detail


def asked_together(world: MovingWorld, *requests: RemoveNode) -> list[Any]:
    """What comes of requests that are all asked before the first has met the store."""
    world.store_is_held = True
    asks = [world.ask(request) for request in requests]
    world.release()
    return [world.answer(ask) for ask in asks]


def those(world: MovingWorld, standing: Standing) -> set[str]:
    return {node for node, info in world.stored.nodes.items() if info.standing is standing}


def test_of_removals_at_the_same_time_as_many_begin_as_copies_allow() -> None:
    world = of_three()
    first, *others = asked_together(world, RemoveNode("n2"), RemoveNode("n3"), RemoveNode("n1"))
    assert first == NodeChanged("n2", "default", 1.0, "leaving")
    assert all(isinstance(refusal, Conflict) for refusal in others)
    assert "1 nodes would be left, for 2 copies" in others[0].detail
    world.until(lambda: world.ended == ["n2"])
    assert those(world, Standing.MEMBER) == {"n1", "n3"}


def test_two_nodes_that_may_both_go_are_removed_at_the_same_time() -> None:
    world = of_four()
    assert [one.standing for one in asked_together(world, RemoveNode("n2"), RemoveNode("n3"))] == ["leaving", "leaving"]
    world.until(lambda: sorted(world.ended) == ["n2", "n3"])


def test_a_removal_meets_what_another_gateway_removed_meanwhile() -> None:
    world = of_three()
    world.store_is_held = True
    ask = world.ask(RemoveNode("n2"))
    elsewhere = removal(RemoveNode("n3"), world.stored, world.stored.nodes)
    world.stored, landed = world.stored.changed([elsewhere])
    world.release()
    assert landed == (True,)
    assert isinstance(world.answer(ask), Conflict)
    assert those(world, Standing.MEMBER) == {"n1", "n2"}


@pytest.mark.parametrize("is_together", [False, True])
def test_of_two_dead_nodes_with_all_copies_in_sync_of_a_partition_both_are_kept(is_together: bool) -> None:
    world = of_four()
    world.stop("n3")
    world.stop("n4")
    both = (RemoveNode("n3", force=True), RemoveNode("n4", force=True))
    for refusal in asked_together(world, *both) if is_together else map(world.ask_for, both):
        assert isinstance(refusal, Conflict)
        assert "last in-sync copy" in refusal.detail
    assert not those(world, Standing.DEAD)


def test_one_is_given_up_once_another_with_a_copy_in_sync_is_back() -> None:
    world = of_four()
    world.stop("n3")
    world.stop("n4")
    pids = [pid for pid, one in world.stored.entries.items() if {rid.node for rid in one.in_sync} <= {"n3", "n4"}]
    refusal = world.ask_for(RemoveNode("n3", force=True))
    assert re.search(rf"of partitions? {pids[0]}\b", refusal.detail), (pids, refusal.detail)
    assert "start it again, or n4, or promote" in refusal.detail
    world.start("n4")
    assert isinstance(world.ask_for(RemoveNode("n3", force=True)), NodeChanged)
    world.until(lambda: world.stored.nodes["n3"].standing is Standing.REMOVED)


def test_one_that_leaves_is_still_there_for_a_partition_whose_other_copy_is_dead() -> None:
    world = of_four()
    world.ask_for(RemoveNode("n3"))
    world.stop("n4")
    pair = any({rid.node for rid in entry.in_sync} == {"n3", "n4"} for entry in world.stored.entries.values())
    assert pair
    assert world.ask_for(RemoveNode("n4", force=True)) == NodeChanged("n4", "default", 1.0, "dead")
    world.until(lambda: world.ended == ["n3"])


def test_one_that_is_away_is_removed_by_force_only_and_one_that_is_there_without() -> None:
    world = of_four()
    assert isinstance(world.ask_for(RemoveNode("n4", force=True)), Conflict)
    world.stop("n4")
    assert isinstance(world.ask_for(RemoveNode("n4")), Conflict)
    assert isinstance(world.ask_for(RemoveNode("n9")), NotFound)


def test_a_dead_node_is_replaced_at_once_and_removed_without_being_told() -> None:
    world = of_four()
    world.stop("n4")
    world.turn()
    world.ask_for(RemoveNode("n4", force=True))
    start_s = world.now_s
    world.until(lambda: world.stored.nodes["n4"].standing is Standing.REMOVED)
    assert world.now_s - start_s < SETTINGS.replace_after_s
    assert not world.ended
    world.run()
    world.check_even(3)


def test_a_dead_node_that_holds_nothing_is_removed_without_waiting_for_it() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=replace(SETTINGS, manual_rebalance=True))
    world.add("n4")
    world.stop("n4")
    world.turn()
    world.ask_for(RemoveNode("n4", force=True))
    world.turn()
    assert world.stored.nodes["n4"].standing is Standing.REMOVED


def test_two_changes_of_a_member_at_the_same_time_both_come_true() -> None:
    world = of_three()
    world.store_is_held = True
    for request in (ChangeNode("n1", weight=2.0), ChangeNode("n1", zone="z")):
        world.send(Asked(0, request))
    world.release()
    info = world.stored.nodes["n1"]
    assert (info.weight, info.zone) == (2.0, "z")


def test_one_with_the_last_copy_in_sync_is_not_given_up_even_by_force() -> None:
    world = of_four()
    world.stop("n4")
    for _ in range(4):
        world.turn()
    world.stop("n3")
    for _ in range(4):
        world.turn()
    alone = any({rid.node for rid in entry.in_sync} == {"n3"} for entry in world.stored.entries.values())
    assert alone
    assert "last in-sync copy" in world.ask_for(RemoveNode("n3", force=True)).detail


def test_one_that_goes_away_before_it_was_told_is_removed_all_the_same() -> None:
    world = of_four()
    world.ask_for(RemoveNode("n4"))
    world.until(lambda: sum(world.copies().values()) == 2 * PARTITIONS and world.copies()["n4"] == 1)
    world.stop("n4")
    start_s = world.now_s
    world.until(lambda: world.stored.nodes["n4"].standing is Standing.REMOVED)
    assert world.now_s - start_s <= AWAY_S + 5


def test_the_time_away_counts_anew_at_another_removal() -> None:
    world = MovingWorld("n1", "n2", "n3", settings=replace(SETTINGS, manual_rebalance=True))
    world.add("n4")
    world.retires = False
    world.ask_for(RemoveNode("n4"))
    world.stop("n4")
    world.turn()
    world.ask_for(ChangeNode("n4", draining=False))
    world.start("n4")
    for _ in range(int(2 * AWAY_S)):
        world.turn()
    world.ask_for(RemoveNode("n4"))
    world.stop("n4")
    world.turn()
    assert world.stored.nodes["n4"].standing is Standing.LEAVING


def test_one_that_does_not_say_that_it_heard_of_its_removal_is_told_again() -> None:
    world = of_four()
    world.retires = False
    world.ask_for(RemoveNode("n4"))
    world.until(lambda: bool(of_kind(world.effects, RetireNode)))
    for _ in range(10):
        world.turn()
    assert world.stored.nodes["n4"].standing is Standing.LEAVING
    world.retires = True
    world.until(lambda: world.ended == ["n4"], 10)


def test_a_removal_can_be_called_off() -> None:
    world = of_four()
    world.ask_for(RemoveNode("n4"))
    world.until(lambda: bool(world.stored.active_moves))
    world.ask_for(ChangeNode("n4", draining=False))
    world.run()
    assert not world.ended
    world.check_even(4)


def test_another_control_ends_a_removal_that_one_began() -> None:
    world = of_four()
    world.ask_for(RemoveNode("n4"))
    world.until(lambda: bool(world.stored.active_moves))
    world.restart()
    world.until(lambda: world.ended == ["n4"])


# ---- coming again -----------------------------------------------------------------------------------------------


def removed() -> MovingWorld:
    world = of_four()
    world.ask_for(RemoveNode("n4"))
    world.until(lambda: world.stored.nodes["n4"].standing is Standing.REMOVED)
    return world


def test_one_that_was_removed_is_let_in_again_with_an_empty_disk_only() -> None:
    world = removed()
    world.ask_admission("n4", 7004)
    world.start("n4")
    assert world.stored.nodes["n4"].standing is Standing.REMOVED
    assert of_kind(world.effects, HangUp)[-1] == HangUp("n4")
    world.connections.pop("n4", None)
    world.boots["n4"] = world.stored.nodes["n4"].boot
    world.ask_admission("n4", 7004)
    world.start_new("n4")
    assert world.stored.nodes["n4"].standing is Standing.MEMBER
    world.run()
    world.check_even(4)


def test_one_that_comes_with_an_empty_disk_before_its_removal_has_landed_waits_and_is_a_member_then() -> None:
    world = of_four()
    world.retires = False
    world.ask_for(RemoveNode("n4"))
    world.until(lambda: bool(of_kind(world.effects, RetireNode)))
    world.stop("n4")
    world.retires = True
    world.ask_admission("n4", 7004)
    world.start_new("n4")
    assert isinstance(of_kind(world.effects, Refuse)[-1].error, Overloaded)
    world.connections.pop("n4")
    world.until(lambda: world.stored.nodes["n4"].standing is Standing.REMOVED)
    world.ask_admission("n4", 7004)
    world._connect("n4", is_new=True)
    assert world.stored.nodes["n4"].standing is Standing.MEMBER
    world.run()
    assert not world.ended
    world.check_even(4)


def test_one_that_lost_its_disk_while_it_leaves_is_removed_all_the_same() -> None:
    world = of_four()
    world.ask_for(RemoveNode("n4"))
    world.turn()
    world.stop("n4")
    world.start_new("n4")
    assert world.stored.nodes["n4"].standing is Standing.LEAVING
    assert "n4" in world.controller._members.up()


def test_who_was_removed_is_told_once_it_is_nobody_any_more() -> None:
    world = removed()
    assert of_kind(world.effects, RetireNode)[-1].node == "n4"


# ---- weight and zone --------------------------------------------------------------------------------------------


def test_a_changed_weight_moves_copies_and_outlives_a_restart_of_the_node() -> None:
    world = of_four()
    world.ask_for(ChangeNode("n1", weight=0.5))
    world.run()
    assert world.copies()["n1"] < min(world.copies()[node] for node in ("n2", "n3", "n4"))
    world.stop("n1")
    world.ask_admission("n1", 7001)
    world.start("n1")
    assert world.stored.nodes["n1"].weight == 0.5
    world.stop("n1")
    world.ask_admission("n1", 7001, weight=2.0)
    world.start("n1")
    assert world.stored.nodes["n1"].weight == 2.0


@pytest.mark.parametrize("request_", [ChangeNode("n1", weight=0.0), ChangeNode("n1", zone="a b")])
def test_what_cannot_be_is_refused(request_: ChangeNode) -> None:
    world = of_three()
    assert isinstance(world.ask_for(request_), BadParameter)
    assert isinstance(world.ask_for(ChangeNode("n9", weight=1.0)), NotFound)
    assert isinstance(world.ask_for(AdmitNode("n 1", "127.0.0.1:1")), BadParameter)
