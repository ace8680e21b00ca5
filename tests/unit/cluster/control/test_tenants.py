"""Which partition has a tenant's keys, as controls that share one map tell."""

from __future__ import annotations

from collections import Counter

import pytest
from unit.cluster.control.world import World, of_kind

from cluster.control.events import Loaded, LookAtStore, Propose, Publish, Reported
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, ResolveTenant, TenantResolved
from cluster.control.map_store import Outcome
from cluster.control.settings import ControlSettings
from kvstore.errors import Conflict, NotFound
from kvstore.map_values import Tenant
from kvstore.messages import CopyReport, NodeReport

SETTINGS = ControlSettings(initial_nodes=1, partitions=2, replicas=1)
DIRECTORY = CreateKeyspace("shops", "directory", partitions=3, replicas=1)
PIDS = (3, 4, 5)


@pytest.fixture
def world() -> World:
    world = World(SETTINGS)
    world.join("n1")
    world.ask(DIRECTORY)
    assert world.stored.keyspaces["shops"].pids == PIDS
    return world


def assigned(world: World, name: bytes) -> int:
    answer = world.answer(world.ask(ResolveTenant("shops", name, assign=True)))
    assert isinstance(answer, TenantResolved), answer
    assert answer.pid is not None
    return answer.pid


def test_a_tenant_that_nobody_wrote_has_no_partition(world: World) -> None:
    before = world.stored
    assert world.answer(world.ask(ResolveTenant("shops", b"acme"))) == TenantResolved(None)
    assert world.stored == before


def test_that_a_tenant_has_none_is_said_only_after_a_look_at_the_store(world: World) -> None:
    other = World(SETTINGS, world.stored)
    pid = assigned(other, b"acme")
    world.stored = other.stored
    assert not world.controller.map.tenants
    assert world.answer(world.ask(ResolveTenant("shops", b"acme"))) == TenantResolved(pid)


def test_new_tenants_are_shared_out_evenly_and_stay(world: World) -> None:
    found = {name: assigned(world, name) for name in (b"t%d" % number for number in range(9))}
    assert Counter(found.values()) == dict.fromkeys(PIDS, 3)
    looks = len(of_kind(world.effects, LookAtStore))
    for name, pid in found.items():
        assert world.answer(world.ask(ResolveTenant("shops", name))) == TenantResolved(pid)
    assert len(of_kind(world.effects, LookAtStore)) == looks


def test_of_partitions_with_as_many_tenants_the_one_with_fewest_keys_gets_the_next(world: World) -> None:
    copies = [CopyReport(pid, 0, False, keys, 0) for pid, keys in zip(PIDS, (70, 20, 50), strict=True)]
    world.send(Reported("n1", 1, NodeReport(copies)))
    assert [assigned(world, name) for name in (b"a", b"b", b"c", b"d")] == [4, 5, 3, 4]


def test_many_that_come_at_once_are_shared_out_evenly_too(world: World) -> None:
    world.store_is_held = True
    asks = [world.ask(ResolveTenant("shops", b"t%d" % number, assign=True)) for number in range(6)]
    world.release()
    assert Counter(world.answer(ask).pid for ask in asks) == dict.fromkeys(PIDS, 2)
    assert {assigned(world, name) for name in (b"a", b"b", b"c")} == {*PIDS}


def test_who_asks_for_one_tenant_at_once_gets_one_answer(world: World) -> None:
    world.store_is_held = True
    asks = [world.ask(ResolveTenant("shops", b"acme", assign=True)) for _ in range(3)]
    assert len(world.held) == 1
    world.release()
    assert len({world.answer(ask).pid for ask in asks}) == 1


def test_two_controls_agree_on_a_tenant(world: World) -> None:
    world.store_is_held = True
    assigned_here = world.ask(ResolveTenant("shops", b"acme", assign=True))
    other = World(SETTINGS, world.stored)
    assigned(other, b"b0lt")
    pid = assigned(other, b"acme")
    world.stored = other.stored
    world.release()
    assert world.answer(assigned_here) == TenantResolved(pid)
    assert world.stored.tenants["shops", b"acme"] == Tenant("shops", b"acme", pid)


def test_one_whose_outcome_is_unknown_is_told_once_it_is_known(world: World) -> None:
    world.store_is_held = True
    ask = world.ask(ResolveTenant("shops", b"acme", assign=True))
    (proposal,) = world.held
    world.store(proposal, outcome=Outcome.UNKNOWN)
    assert world.answer(ask) is None
    world.store(proposal)
    assert world.answer(ask) == TenantResolved(world.stored.tenants["shops", b"acme"].pid)


def test_news_of_a_tenant_come_to_subscribers(world: World) -> None:
    pid = assigned(world, b"acme")
    assert [Tenant("shops", b"acme", pid)] in [one.update.tenants for one in of_kind(world.effects, Publish)]


def test_what_is_left_of_a_deleted_keyspace_s_tenants_does_not_count(world: World) -> None:
    before = assigned(world, b"acme")
    world.ask(DeleteKeyspace("shops"))
    assert isinstance(world.answer(world.ask(ResolveTenant("shops", b"acme"))), NotFound)
    world.ask(DIRECTORY)
    assert world.answer(world.ask(ResolveTenant("shops", b"acme"))) == TenantResolved(None)
    after = assigned(world, b"acme")
    assert after in world.stored.keyspaces["shops"].pids
    assert after != before


def test_a_keyspace_that_is_deleted_meanwhile_is_not_found(world: World) -> None:
    world.store_is_held = True
    ask = world.ask(ResolveTenant("shops", b"acme", assign=True))
    other = World(SETTINGS, world.stored)
    other.ask(DeleteKeyspace("shops"))
    world.stored = other.stored
    world.send(Loaded(world.stored))
    world.release()
    assert isinstance(world.answer(ask), NotFound)


@pytest.mark.parametrize(("keyspace", "error"), [("nobody", NotFound), ("default", Conflict)])
def test_only_a_directory_has_tenants(world: World, keyspace: str, error: type[Exception]) -> None:
    for assign in (False, True):
        assert isinstance(world.answer(world.ask(ResolveTenant(keyspace, b"acme", assign))), error)
    assert not of_kind(world.effects[-1:], Propose)
