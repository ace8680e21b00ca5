"""Who is dialled, admitted and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.cluster.control.world import World, of_kind, rid_of

from cluster.cluster_map import ClusterMap, PutNode
from cluster.control.events import (
    Complain,
    Connected,
    CopiesMade,
    Cut,
    Dial,
    DialFailed,
    DialProblem,
    Disconnected,
    HangUp,
    Propose,
    Refuse,
    Reply,
    Tell,
    Ticked,
)
from cluster.control.membership import COMPLAINTS_MAX, SILENCE_S_MAX, entries_by_node
from cluster.control.messages import Admitted
from cluster.control.settings import ControlSettings
from kvstore.errors import BadParameter, Conflict, KvError, Overloaded
from kvstore.map_values import Entry, NodeInfo, Rid


def waiting_world() -> World:
    """A world that never places anything."""
    return World(ControlSettings(initial_nodes=99))


def replies(world: World) -> dict[int, object]:
    """The answer or error that each question got; asserts that there was one only."""
    found: dict[int, object] = {}
    for effect in world.effects:
        if isinstance(effect, Reply | Refuse):
            assert effect.ask not in found
            found[effect.ask] = effect.answer if isinstance(effect, Reply) else type(effect.error)
    return found


def test_a_node_is_dialled_first_then_recorded_and_then_told_and_admitted() -> None:
    world = waiting_world()
    ask = world.ask_admission("n1", 7001, "east", 2.0)
    assert of_kind(world.effects, Dial) == [Dial("n1", "127.0.0.1:7001")]
    world.store_is_held = True
    world.connect("n1", boot=3)
    wanted = NodeInfo("n1", "127.0.0.1:7001", "east", 2.0, 3, own_zone="east", own_weight=2.0)
    assert [one.changes for one in world.held] == [(PutNode(wanted, None),)]
    assert not replies(world)
    assert not world.told("n1")
    world.release()
    assert replies(world) == {ask: Admitted(created=True)}
    assert [update.nodes for update in world.told("n1")] == [[wanted]]


def test_a_membership_under_way_is_not_proposed_again() -> None:
    world = waiting_world()
    world.store_is_held = True
    world.ask_admission("n1", 7001)
    world.connect("n1")
    for _ in range(3):
        world.send(Ticked())
    assert len(world.held) == 1


def test_a_member_that_asks_again_is_known() -> None:
    world = waiting_world()
    world.join("n1")
    ask = world.ask_admission("n1", 7001)
    assert replies(world)[ask] == Admitted(created=False)


def test_two_questions_at_once_about_one_node_are_both_answered_by_one_dial() -> None:
    world = waiting_world()
    asks = [world.ask_admission("n1", 7001), world.ask_admission("n1", 7001)]
    world.connect("n1")
    assert len(of_kind(world.effects, Dial)) == 1
    assert replies(world) == {ask: Admitted(created=True) for ask in asks}


def test_two_admissions_at_once_do_not_disturb_each_other() -> None:
    world = waiting_world()
    world.store_is_held = True
    asks = [world.ask_admission("n1", 7001), world.ask_admission("n2", 7002)]
    for node in ("n2", "n1"):
        world.connect(node)
    world.release()
    assert replies(world) == {ask: Admitted(created=True) for ask in asks}


def test_an_id_that_is_connected_elsewhere_is_a_conflict() -> None:
    world = waiting_world()
    world.join("n1")
    ask = world.ask_admission("n1", 7009)
    assert replies(world)[ask] is Conflict
    assert of_kind(world.effects, Dial) == [Dial("n1", "127.0.0.1:7001")]


def test_an_id_that_is_being_admitted_elsewhere_is_a_conflict() -> None:
    world = waiting_world()
    first, second = world.ask_admission("n1", 7001), world.ask_admission("n1", 7009)
    world.connect("n1")
    assert replies(world) == {first: Admitted(created=True), second: Conflict}


def test_a_member_that_is_away_may_come_back_at_another_address() -> None:
    world = waiting_world()
    world.send(Disconnected("n1", world.join("n1")["n1"]))
    ask = world.ask_admission("n1", 7009)
    world.connect("n1", boot=2)
    assert replies(world)[ask] == Admitted(created=False)
    assert world.stored.nodes["n1"] == NodeInfo(
        *("n1", "127.0.0.1:7009", "default", 1.0, 2), own_zone="default", own_weight=1.0
    )


def test_a_member_that_is_not_at_the_new_address_is_dialled_at_the_old_one() -> None:
    world = waiting_world()
    world.send(Disconnected("n1", world.join("n1")["n1"]))
    ask = world.ask_admission("n1", 7009, zone="elsewhere")
    world.effects.clear()
    world.send(DialFailed("n1", DialProblem.UNREACHABLE, "connection refused"))
    assert replies(world) == {ask: BadParameter}
    assert of_kind(world.effects, Dial) == [Dial("n1", "127.0.0.1:7001")]
    world.connect("n1", boot=2)
    assert world.stored.nodes["n1"] == NodeInfo(
        *("n1", "127.0.0.1:7001", "default", 1.0, 2), own_zone="default", own_weight=1.0
    )


@pytest.mark.parametrize(
    ("problem", "error"),
    [
        (DialProblem.UNREACHABLE, BadParameter),
        (DialProblem.SILENT, Overloaded),
        (DialProblem.REFUSED, Conflict),
    ],
)
def test_a_candidate_that_cannot_be_dialled_is_refused_and_forgotten(
    problem: DialProblem, error: type[KvError]
) -> None:
    world = waiting_world()
    ask = world.ask_admission("n1", 7001)
    effects = world.send(DialFailed("n1", problem, "why"))
    assert replies(world) == {ask: error}
    assert of_kind(effects, HangUp) == [HangUp("n1")]
    again = world.ask_admission("n1", 7009)
    world.connect("n1")
    assert replies(world)[again] == Admitted(created=True)


def test_a_bad_field_is_refused_without_a_dial() -> None:
    world = waiting_world()
    ask = world.ask_admission("n1", 0)
    assert replies(world) == {ask: BadParameter}
    assert not of_kind(world.effects, Dial)


def test_after_a_restart_of_control_members_are_dialled_and_told_without_a_proposal() -> None:
    before = waiting_world()
    before.join("n1", "n2")
    world = World(before.settings, before.stored)
    assert {dial.node for dial in of_kind(world.effects, Dial)} == {"n1", "n2"}
    world.connect("n1")
    assert not of_kind(world.effects, Propose)
    assert len(world.told("n1")) == 1


def test_a_higher_boot_is_recorded_before_the_node_is_told() -> None:
    world = waiting_world()
    world.send(Disconnected("n1", world.join("n1")["n1"]))
    world.store_is_held = True
    world.effects.clear()
    world.connect("n1", boot=2)
    assert not world.told("n1")
    world.release()
    assert world.stored.nodes["n1"].boot == 2
    assert len(world.told("n1")) == 1


def test_a_node_that_starts_again_while_its_boot_is_recorded_is_recorded_with_the_last_one() -> None:
    world = waiting_world()
    world.send(Disconnected("n1", world.join("n1")["n1"]))
    world.store_is_held = True
    world.send(Disconnected("n1", world.connect("n1", boot=2)))
    world.connect("n1", boot=3)
    world.effects.clear()
    world.release()
    assert world.stored.nodes["n1"].boot == 3
    assert [tell.connection for tell in of_kind(world.effects, Tell)] == [world.last_connection]


def test_an_older_disk_is_refused_until_somebody_asks_again() -> None:
    world = waiting_world()
    world.ask_admission("n1", 7001)
    world.send(Disconnected("n1", world.connect("n1", boot=5)))
    ask = world.ask_admission("n1", 7001)
    world.effects.clear()
    world.connect("n1", boot=4)
    assert replies(world) == {ask: Conflict}
    assert of_kind(world.effects, HangUp) == [HangUp("n1")]
    assert [complaint.what for complaint in of_kind(world.effects, Complain)] == ["node_refused"]
    assert not world.told("n1")
    assert world.stored.nodes["n1"].boot == 5
    again = world.ask_admission("n1", 7001)
    assert of_kind(world.effects, Dial) == [Dial("n1", "127.0.0.1:7001")]
    world.connect("n1", boot=6)
    assert replies(world)[again] == Admitted(created=False)


def test_an_older_disk_that_counted_up_to_the_same_boot_is_told_by_its_process() -> None:
    world = World()
    world.join("n1")
    world.send(Disconnected("n1", world.connect("n1", boot=2)))
    world.effects.clear()
    world.connect("n1", boot=2)
    assert world.told("n1")
    world.send(Disconnected("n1", world.last_connection))
    world.effects.clear()
    world.connect("n1", boot=2, process=b"another.")
    assert of_kind(world.effects, HangUp) == [HangUp("n1")]
    assert not world.told("n1")
    assert world.stored.nodes["n1"].process == b""


def test_a_dial_says_the_highest_boot_that_is_known_of_the_node() -> None:
    world = waiting_world()
    assert world.controller.boot_floor("n1") == 0
    world.ask_admission("n1", 7001)
    assert world.controller.boot_floor("n1") == 0
    world.send(Disconnected("n1", world.connect("n1", boot=5)))
    assert world.controller.boot_floor("n1") == 5
    assert World(world.settings, world.stored).controller.boot_floor("n1") == 5


def test_a_boot_that_is_not_recorded_yet_counts_for_the_next_dial() -> None:
    world = waiting_world()
    world.send(Disconnected("n1", world.join("n1")["n1"]))
    world.store_is_held = True
    world.send(Disconnected("n1", world.connect("n1", boot=9)))
    assert world.stored.nodes["n1"].boot == 1
    assert world.controller.boot_floor("n1") == 9
    world.release()
    ask = world.ask_admission("n1", 7009)
    world.connect("n1", boot=10)
    assert replies(world)[ask] == Admitted(created=False)


def test_a_new_weight_and_zone_of_a_member_are_recorded() -> None:
    world = waiting_world()
    world.join("n1")
    ask = world.ask_admission("n1", 7001, "west", 3.0)
    assert replies(world)[ask] == Admitted(created=False)
    assert (world.stored.nodes["n1"].zone, world.stored.nodes["n1"].weight) == ("west", 3.0)


def test_a_silent_connection_is_cut_and_one_that_reports_is_not() -> None:
    world = waiting_world()
    connections = world.join("n1", "n2")
    world.now_s = SILENCE_S_MAX - 0.1
    world.report("n1", connections["n1"])
    world.now_s = SILENCE_S_MAX + 0.1
    assert [cut.node for cut in of_kind(world.send(Ticked()), Cut)] == ["n2"]
    assert not of_kind(world.send(Ticked()), Cut)


def test_a_lost_node_is_one_line_in_the_log() -> None:
    world = waiting_world()
    connection = world.join("n1")["n1"]
    world.effects.clear()
    world.send(Disconnected("n1", connection))
    for _ in range(3):
        world.send(DialFailed("n1", DialProblem.UNREACHABLE, "connection refused"))
    assert [complaint.what for complaint in of_kind(world.effects, Complain)] == ["node_lost"]


def test_the_end_of_an_old_connection_says_nothing_of_the_present_one() -> None:
    world = World(ControlSettings(initial_nodes=1, partitions=1, replicas=1), makes_copies=False)
    old = world.join("n1")["n1"]
    new = world.connect("n1")
    world.send(Disconnected("n1", old))
    world.send(CopiesMade("n1", old, ((1, rid_of("n1", 1)),)))
    assert not world.stored.entries
    world.send(CopiesMade("n1", new, ((1, rid_of("n1", 1)),)))
    assert world.stored.entries


def test_a_connection_to_a_node_that_nobody_asked_for_is_hung_up() -> None:
    world = waiting_world()
    assert world.send(Connected("n9", 1, 1)) == [HangUp("n9")]


def test_an_entry_is_told_to_those_who_have_a_copy_by_it_or_had_one_before() -> None:
    a, b, c, d = (Rid(node, node.encode() * 16) for node in "abcd")
    before = Entry(1, "default", 4, 1, a, (a, b), (a, b))
    moved = Entry(1, "default", 5, 1, a, (a, c), (a, c), adding=(d,))
    new = Entry(2, "default", 1, 0, None, (a,), (a,))
    cluster = replace(ClusterMap.empty(b"cluster1"), entries={1: before})
    told = entries_by_node([moved, new], cluster)
    assert {node: [entry.pid for entry in entries] for node, entries in told.items()} == {
        "a": [1, 2],
        "b": [1],
        "c": [1],
        "d": [1],
    }


def test_a_node_of_another_cluster_is_told_of_once_however_often_it_asks_until_it_is_another_reason() -> None:
    world = waiting_world()
    reasons = ["it belongs to cluster a, not to cluster b"] * 3 + ["it belongs to cluster c, not to cluster b"] * 2
    for reason in reasons:
        world.ask_admission("n1", 7001)
        world.send(DialFailed("n1", DialProblem.REFUSED, reason))
    world.ask_admission("n2", 7002)
    world.send(DialFailed("n2", DialProblem.UNREACHABLE, "nobody is there"))
    told = [(one.what, one.fields) for one in of_kind(world.effects, Complain)]
    assert told == [("node_refused", {"node": "n1", "reason": reason}) for reason in (reasons[0], reasons[-1])]
    world.join("n1")
    world.send(Disconnected("n1", world.last_connection))
    world.send(DialFailed("n1", DialProblem.REFUSED, reasons[0]))
    assert [one.what for one in of_kind(world.effects, Complain)] == ["node_refused"] * 2 + [
        "node_lost",
        "node_refused",
    ]


def test_what_was_told_of_nodes_that_refused_is_kept_of_some_only() -> None:
    world = waiting_world()
    for number in range(COMPLAINTS_MAX + 50):
        world.ask_admission(f"n{number}", 7001)
        world.send(DialFailed(f"n{number}", DialProblem.REFUSED, "of another cluster"))
    assert len(world.controller._members._complaints) == COMPLAINTS_MAX
