"""A process that comes back after its node was removed: it is told by the RPC, and nobody else is told that."""

from __future__ import annotations

import msgspec
import pytest
from unit.cluster.control.world import World, of_kind

from cluster.cluster_map import PutNode
from cluster.control.events import (
    Asked,
    Connected,
    Dial,
    Disconnected,
    HangUp,
    Loaded,
    Propose,
    Refuse,
    Reply,
    Retired,
    RetireNode,
    Ticked,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import AdmitNode, Admitted
from cluster.control.settings import ControlSettings
from cluster.control.standing import TELL_AGAIN_S
from kvstore.errors import Conflict
from kvstore.map_values import NodeInfo, Standing

REMOVED = NodeInfo("n1", "127.0.0.1:7001", "default", 1.0, 3, b"process3", Standing.REMOVED, "default", 1.0)
MEMBER = msgspec.structs.replace(REMOVED, boot=4, process=b"process4", standing=Standing.MEMBER)


@pytest.fixture
def world() -> World:
    """A control of a cluster from which n1 was removed."""
    world = World(ControlSettings(initial_nodes=99))
    world.stored, _ = world.stored.changed([PutNode(REMOVED, None)])
    world.send(Loaded(world.stored))
    return world


def come(world: World, boot: int = 3, process: bytes = b"process3", is_new: bool = False) -> int:
    """Its process asks, is dialled and connects; returns the number of the question."""
    ask = world.ask_admission("n1", 7001)
    world.last_connection += 1
    world.send(Connected("n1", world.last_connection, boot, process, is_new))
    return ask


def tick(world: World, after_s: float = 0.25) -> list[RetireNode]:
    """Time goes by; returns who is told."""
    world.now_s += after_s
    return of_kind(world.send(Ticked()), RetireNode)


def refused(world: World) -> dict[int, type[Exception]]:
    return {one.ask: type(one.error) for one in of_kind(world.effects, Refuse)}


@pytest.mark.parametrize(
    ("boot", "process", "is_new"), [(3, b"process3", False), (4, b"process4", False), (3, b"process3", True)]
)
def test_one_that_was_a_member_is_told_and_refused_only_when_it_knows(
    world: World, boot: int, process: bytes, is_new: bool
) -> None:
    ask = come(world, boot, process, is_new)
    assert tick(world) == [RetireNode("n1", world.last_connection)]
    assert not refused(world)
    assert not of_kind(world.effects, HangUp)
    world.send(Retired("n1", world.last_connection))
    assert refused(world) == {ask: Conflict}
    assert of_kind(world.effects, HangUp) == [HangUp("n1")]
    assert world.stored.nodes == {"n1": REMOVED}
    assert not world.told("n1")


def test_another_process_on_an_empty_disk_is_let_in(world: World) -> None:
    ask = come(world, 4, b"process4", is_new=True)
    assert of_kind(world.effects, Reply) == [Reply(ask, Admitted(created=True))]
    assert world.stored.nodes["n1"] == MEMBER
    assert not tick(world)


def test_nobody_is_told_before_the_store_says_that_the_record_stands(world: World) -> None:
    world.store_is_held = True
    come(world)
    assert [one.changes for one in world.held] == [(PutNode(REMOVED, REMOVED),)]
    assert not tick(world)
    world.release()
    assert tick(world)


def test_an_unknown_outcome_is_no_confirmation(world: World) -> None:
    world.store_is_held = True
    come(world)
    world.store(*world.held, outcome=Outcome.UNKNOWN)
    world.held.clear()
    assert not tick(world)
    assert len(world.held) == 1
    world.release()
    assert tick(world)


def test_one_that_another_gateway_let_in_again_meanwhile_is_a_member(world: World) -> None:
    world.stored, _ = world.stored.changed([PutNode(MEMBER, REMOVED)])
    ask = come(world, 4, b"process4")
    assert [one.ask for one in of_kind(world.effects, Reply)] == [ask]
    assert not tick(world)
    assert world.told("n1")


def test_where_the_store_says_otherwise_and_not_yet_what_nothing_is_proposed_until_it_does(world: World) -> None:
    world.store_is_held = True
    come(world, 4, b"process4")
    world.store(*world.held, outcome=Outcome.CONFLICT)
    assert len(world.held) == 1
    assert not tick(world)
    assert len(world.held) == 1
    world.send(Loaded(world.stored.changed([PutNode(MEMBER, REMOVED)])[0]))
    assert len(of_kind(world.effects, Reply)) == 1


def test_a_confirmation_that_was_asked_for_before_it_connected_again_does_not_count(world: World) -> None:
    world.store_is_held = True
    come(world)
    first = list(world.held)
    world.held.clear()
    world.send(Disconnected("n1", world.last_connection))
    come(world)
    world.store(*first)
    assert not tick(world)
    world.release()
    assert tick(world) == [RetireNode("n1", world.last_connection)]


def test_one_that_does_not_answer_is_told_again_for_as_long_as_its_connection_stands(world: World) -> None:
    come(world)
    assert tick(world)
    assert not tick(world, TELL_AGAIN_S / 2)
    assert tick(world, TELL_AGAIN_S / 2)
    world.send(Disconnected("n1", world.last_connection))
    assert not tick(world, TELL_AGAIN_S)


def test_when_its_connection_ends_it_is_refused_and_dialled_no_more(world: World) -> None:
    ask = come(world)
    world.send(Disconnected("n1", world.last_connection))
    assert refused(world) == {ask: Conflict}
    assert of_kind(world.effects, HangUp) == [HangUp("n1")]
    world.effects.clear()
    tick(world, 60)
    assert not world.effects


def test_it_is_asked_of_the_store_once_for_each_connection(world: World) -> None:
    world.effects.clear()
    come(world)
    for _ in range(20):
        tick(world)
    assert len(of_kind(world.effects, Propose)) == 1


def test_what_an_old_connection_says_ends_nothing(world: World) -> None:
    come(world)
    world.send(Retired("n1", world.last_connection - 1))
    assert not refused(world)


def test_everybody_who_asked_is_answered(world: World) -> None:
    first = come(world)
    world.send(Asked(99, AdmitNode("n1", "127.0.0.1:7001")))
    tick(world)
    world.send(Retired("n1", world.last_connection))
    assert refused(world) == {first: Conflict, 99: Conflict}


def test_one_that_comes_once_more_is_dialled_and_told_once_more(world: World) -> None:
    come(world)
    tick(world)
    world.send(Disconnected("n1", world.last_connection))
    world.effects.clear()
    come(world, 4, b"process4")
    assert of_kind(world.effects, Dial) == [Dial("n1", "127.0.0.1:7001")]
    assert tick(world) == [RetireNode("n1", world.last_connection)]
