"""Making keyspaces and making an end of them, by controls that share one map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from unit.cluster.control.world import World, of_kind, rid_of

from cluster.control.events import DropOrphans, Loaded, Publish, Reply, Reported
from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceCreated,
    KeyspaceDeleted,
    KeyspacesLearnt,
    LearnKeyspaces,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import ClusterStatus, Readiness
from cluster.control.settings import ControlSettings
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.map_values import KeyspaceInfo
from kvstore.messages import CopyReport, NodeReport

RANGES = CreateKeyspace("logs", "range", replicas=2, bounds=(b"g", b"p"), default_ttl_ms=5000, max_value_bytes=100)
PLAIN = CreateKeyspace("logs", "consistent", partitions=4)
SETTINGS = ControlSettings(initial_nodes=2, partitions=8)


@pytest.fixture
def world() -> World:
    world = World(SETTINGS)
    world.connections = world.join("n1", "n2")  # type: ignore[attr-defined]
    return world


def made(world: World, request: CreateKeyspace = PLAIN) -> KeyspaceInfo:
    answer = world.answer(world.ask(request))
    assert isinstance(answer, KeyspaceCreated), answer
    return answer.keyspace


def test_a_keyspace_is_made_with_partitions_of_its_own_and_placed(world: World) -> None:
    answer = world.answer(world.ask(RANGES))
    keyspace = KeyspaceInfo(
        *("logs", "range", (9, 10, 11), 2, 1),
        default_ttl_ms=5000,
        max_value_bytes=100,
        bounds=(b"g", b"p"),
        least_partitions=3,
    )
    assert answer == KeyspaceCreated(keyspace, True)
    assert world.stored.keyspaces["logs"] == keyspace
    for pid in (9, 10, 11):
        entry = world.stored.entries[pid]
        assert (entry.keyspace, entry.ver, len(entry.in_sync)) == ("logs", 1, 2)
    assert any(keyspace in one.update.keyspaces for one in of_kind(world.effects, Publish))


def test_the_very_same_again_changes_nothing(world: World) -> None:
    keyspace = made(world, RANGES)
    before = world.stored
    assert world.answer(world.ask(RANGES)) == KeyspaceCreated(keyspace, False)
    assert world.stored == before


OTHERS = [
    msgspec.structs.replace(RANGES, strategy="consistent", bounds=()),
    msgspec.structs.replace(RANGES, replicas=1),
    msgspec.structs.replace(RANGES, bounds=(b"g",)),
    msgspec.structs.replace(RANGES, bounds=(b"g", b"q")),
    msgspec.structs.replace(RANGES, default_ttl_ms=0),
    msgspec.structs.replace(RANGES, max_value_bytes=101),
    msgspec.structs.replace(RANGES, min_in_sync=2),
]


@pytest.mark.parametrize("other", OTHERS)
def test_another_one_of_that_name_is_refused(world: World, other: CreateKeyspace) -> None:
    made(world, RANGES)
    assert isinstance(world.answer(world.ask(other)), Conflict)


def test_ranges_that_were_split_since_are_the_same_that_were_asked_for(world: World) -> None:
    keyspace = made(world, RANGES)
    split = msgspec.structs.replace(keyspace, layout=1, pids=(9, 20, 10, 11), bounds=(b"c", b"g", b"p"))
    world.stored = replace(world.stored, keyspaces={**world.stored.keyspaces, "logs": split})
    assert world.answer(world.ask(RANGES)) == KeyspaceCreated(split, False)


def test_ranges_that_were_made_before_merges_knew_an_end_are_the_same_that_are_asked_for(world: World) -> None:
    older = msgspec.structs.replace(made(world, RANGES), least_partitions=1)
    world.stored = replace(world.stored, keyspaces={**world.stored.keyspaces, "logs": older})
    assert world.answer(world.ask(RANGES)) == KeyspaceCreated(older, False)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "Logs"}, "name"),
    ({"name": "l" * 65}, "name"),
    ({"name": "a/b"}, "name"),
    ({"strategy": "best"}, "strategy"),
    ({"partitions": 0}, "partitions"),
    ({"partitions": 4097}, "partitions"),
    ({"replicas": -1}, "replicas"),
    ({"replicas": 17}, "replicas"),
    ({"min_in_sync": 0}, "min_in_sync"),
    ({"min_in_sync": 3}, "min_in_sync"),
    ({"default_ttl_ms": -1}, "default_ttl"),
    ({"default_ttl_ms": 11 * 366 * 24 * 3600 * 1000}, "default_ttl"),
    ({"max_value_bytes": 16 * 1024**2 + 1}, "max_value_bytes"),
    ({"bounds": (b"a",)}, "splits"),
    ({"strategy": "range", "bounds": (b"b", b"a")}, "splits"),
    ({"strategy": "range", "bounds": (b"b", b"b")}, "splits"),
    ({"strategy": "range", "bounds": (b"",)}, "splits"),
    ({"strategy": "range", "bounds": (b"x" * 481,)}, "splits"),
    ({"regions": ((b"eu", "default"),)}, "regions"),
    ({"default_zone": "default"}, "default_zone"),
    ({"strategy": "geo"}, "default_zone"),
    ({"strategy": "geo", "default_zone": "mars"}, "default_zone"),
    ({"strategy": "geo", "default_zone": "default", "regions": ((b"eu", "mars"),)}, "regions"),
    ({"strategy": "geo", "default_zone": "default", "regions": ((b"e/u", "default"),)}, "regions"),
    ({"strategy": "geo", "default_zone": "default", "regions": ((b"eu", "default"), (b"eu", "x"))}, "regions"),
    ({"strategy": "geo", "default_zone": "default", "replicas": 0}, "replicas"),
    ({"strategy": "geo", "default_zone": "default", "partitions": 4097}, "partitions"),
]


@pytest.mark.parametrize(("changes", "parameter"), BAD)
def test_what_cannot_be_is_refused_by_the_parameter_s_name(
    world: World, changes: dict[str, Any], parameter: str
) -> None:
    before = world.stored
    answer = world.answer(world.ask(msgspec.structs.replace(PLAIN, **changes)))
    assert isinstance(answer, BadParameter)
    assert answer.detail.startswith(f"{parameter}: ")
    assert world.stored == before


def test_of_two_that_ask_at_once_for_different_ones_one_is_refused(world: World) -> None:
    world.store_is_held = True
    first, second = world.ask(PLAIN), world.ask(msgspec.structs.replace(PLAIN, partitions=5))
    same = world.ask(PLAIN)
    world.release()
    assert world.answer(first).created
    assert isinstance(world.answer(second), Conflict)
    assert world.answer(same) == KeyspaceCreated(world.stored.keyspaces["logs"], False)


def test_a_keyspace_that_another_control_made_meanwhile_is_the_same_one(world: World) -> None:
    world.store_is_held = True
    ask = world.ask(PLAIN)
    other = World(SETTINGS, world.stored, next_pid=50)
    keyspace = made(other)
    world.stored = other.stored
    world.release()
    assert world.answer(ask) == KeyspaceCreated(keyspace, False)


def test_one_whose_outcome_was_unknown_is_told_once_it_is_known(world: World) -> None:
    world.store_is_held = True
    ask = world.ask(PLAIN)
    (proposal,) = world.held
    world.store(proposal, outcome=Outcome.UNKNOWN)
    assert world.answer(ask) is None
    world.store(proposal)
    assert world.answer(ask) == KeyspaceCreated(world.stored.keyspaces["logs"], True)


def test_one_that_was_made_unseen_and_deleted_since_is_made_anew_with_other_partitions(world: World) -> None:
    world.store_is_held = True
    ask = world.ask(PLAIN)
    (proposal,) = world.held
    world.held.clear()
    world.store(proposal, outcome=Outcome.UNKNOWN)
    first = world.stored.keyspaces["logs"]
    other = World(SETTINGS, world.stored)
    assert other.answer(other.ask(DeleteKeyspace("logs"))) == KeyspaceDeleted()
    world.stored = other.stored
    world.store_is_held = False
    world.store(proposal)
    assert world.answer(ask) == KeyspaceCreated(world.stored.keyspaces["logs"], True)
    assert not set(first.pids) & set(world.stored.keyspaces["logs"].pids)


def test_what_another_control_knows_is_looked_up_before_a_name_is_given_away(world: World) -> None:
    other = World(SETTINGS, world.stored, next_pid=50)
    made(other, RANGES)
    world.stored = other.stored
    assert "logs" not in world.controller.map.keyspaces
    assert isinstance(world.answer(world.ask(PLAIN)), Conflict)


# ---- the end of one -------------------------------------------------------------------------------------------------


def test_what_another_control_made_is_told_to_subscribers_before_the_answer_to_who_asks_for_news(world: World) -> None:
    other = World(SETTINGS, world.stored, next_pid=50)
    keyspace = made(other)
    world.stored = other.stored
    before = len(world.effects)
    assert world.answer(world.ask(LearnKeyspaces())) == KeyspacesLearnt()
    *news, last = (effect for effect in world.effects[before:] if isinstance(effect, Publish | Reply))
    assert isinstance(last, Reply)
    assert [keyspace] in [one.update.keyspaces for one in news if isinstance(one, Publish)]


def test_a_deleted_keyspace_leaves_entries_without_copies(world: World) -> None:
    keyspace = made(world)
    assert world.answer(world.ask(DeleteKeyspace("logs"))) == KeyspaceDeleted()
    left = world.stored.keyspaces["logs"]
    assert (left.is_deleted, left.layout) == (True, 1)
    for pid in keyspace.pids:
        entry = world.stored.entries[pid]
        assert (entry.ver, entry.leader, entry.replicas, entry.in_sync) == (2, None, (), ())
    assert not set(keyspace.pids) & set(world.stored.living)


def test_nodes_that_have_copies_are_told_at_once_and_then_to_delete_them(world: World) -> None:
    keyspace = made(world)
    world.ask(DeleteKeyspace("logs"))
    for node in ("n1", "n2"):
        assert {entry.pid for entry in world.told(node)[-1].entries} == set(keyspace.pids)
    start = len(world.effects)
    connection = world.connections["n1"]  # type: ignore[attr-defined]
    copies = [CopyReport(pid, 0, False, 0, 0, ver=1) for pid in (1, *keyspace.pids)]
    world.send(Reported("n1", connection, NodeReport(copies)))
    (dropped,) = of_kind(world.effects[start:], DropOrphans)
    assert {entry.pid for entry in dropped.entries} == set(keyspace.pids)


def test_a_keyspace_that_is_not_placed_yet_is_deleted_for_good(world: World) -> None:
    world.makes_copies = False
    keyspace = made(world)
    assert keyspace.pids[0] not in world.stored.entries
    assert world.answer(world.ask(DeleteKeyspace("logs"))) == KeyspaceDeleted()
    assert all(world.stored.entries[pid].ver == 1 for pid in keyspace.pids)
    world.makes_copies = True
    made(world, msgspec.structs.replace(PLAIN, partitions=2))
    assert not set(keyspace.pids) & set(world.stored.living)


def test_a_new_one_of_that_name_has_partitions_of_its_own(world: World) -> None:
    first = made(world)
    world.ask(DeleteKeyspace("logs"))
    second = made(world)
    assert not set(first.pids) & set(second.pids)
    assert set(second.pids) <= set(world.stored.living)
    assert world.answer(world.ask(PLAIN)) == KeyspaceCreated(second, False)


@pytest.mark.parametrize(("name", "error"), [("default", Conflict), ("nobody", NotFound)])
def test_what_cannot_be_deleted(world: World, name: str, error: type[Exception]) -> None:
    assert isinstance(world.answer(world.ask(DeleteKeyspace(name))), error)


def test_what_is_deleted_is_not_found_afterwards(world: World) -> None:
    made(world)
    world.ask(DeleteKeyspace("logs"))
    assert isinstance(world.answer(world.ask(DeleteKeyspace("logs"))), NotFound)


def test_a_deletion_that_meets_a_changed_entry_is_made_again(world: World) -> None:
    keyspace = made(world)
    world.store_is_held = True
    ask = world.ask(DeleteKeyspace("logs"))
    pid = keyspace.pids[0]
    entry = world.stored.entries[pid]
    moved = msgspec.structs.replace(entry, ver=2, epoch=1, leader=rid_of(entry.replicas[0].node, pid))
    world.stored = replace(world.stored, entries={**world.stored.entries, pid: moved})
    world.release()
    assert world.answer(ask) == KeyspaceDeleted()
    assert world.stored.entries[pid].ver == 3
    assert not set(keyspace.pids) & set(world.stored.living)


def test_one_that_was_deleted_and_made_anew_meanwhile_is_not_deleted_again(world: World) -> None:
    made(world)
    world.store_is_held = True
    ask = world.ask(DeleteKeyspace("logs"))
    other = World(SETTINGS, world.stored, next_pid=70)
    other.ask(DeleteKeyspace("logs"))
    anew = made(other)
    world.stored = other.stored
    world.release()
    assert world.answer(ask) == KeyspaceDeleted()
    assert world.stored.keyspaces["logs"] == anew


def test_nothing_of_a_deleted_keyspace_is_shown_or_waited_for(world: World) -> None:
    keyspace = made(world)
    world.ask(DeleteKeyspace("logs"))
    view = world.answer(world.ask(ClusterStatus()))
    assert not {one.id for one in view.partitions} & set(keyspace.pids)
    assert "8 of 8" in world.answer(world.ask(Readiness())).reason


def test_a_control_that_starts_later_goes_on(world: World) -> None:
    world.makes_copies = False
    keyspace = made(world)
    later = World(SETTINGS, world.stored, next_pid=50)
    later.send(Loaded(later.stored))
    for node in ("n1", "n2"):
        later.connect(node)
    assert set(keyspace.pids) <= set(later.stored.living)
