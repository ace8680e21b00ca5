"""What every map store promises, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from etcd.members import needs_etcd

from cluster.cluster_map import (
    Change,
    ClusterMap,
    PlaceKeyspace,
    PutEntry,
    PutKeyspace,
    PutMove,
    PutNode,
    PutRebalance,
    PutTenant,
    Reshape,
    StartMoves,
)
from cluster.control.map_store import MapStore, Outcome
from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.map_store.etcd import EtcdMapStore
from cluster.control.map_store.etcd_client import EtcdClient
from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.map_values import Entry, KeyspaceInfo, Move, MoveState, NodeInfo, Rebalance, Rid, Tenant
from kvstore.messages import MapUpdate

LANDED, CONFLICT = Outcome.LANDED, Outcome.CONFLICT
NODE = NodeInfo("n1", "127.0.0.1:1", "a", 1.0, 1)
MOVED = NodeInfo("n1", "127.0.0.1:2", "a", 1.0, 2)
MOVE = Move(1, 1, "n1", "n3")
ABORTING = msgspec.structs.replace(MOVE, state=MoveState.ABORTING)
ABORTED = msgspec.structs.replace(MOVE, state=MoveState.ABORTED)
RIDS = (Rid("n1", b"1" * 16), Rid("n2", b"2" * 16))


def entry(pid: int, ver: int, epoch: int = 0, leader: Rid | None = None) -> Entry:
    return Entry(pid, "default", ver, epoch, leader, RIDS, RIDS)


async def outcomes(store: MapStore, *changes: Change) -> tuple[Outcome, ...]:
    return (await store.apply(changes)).outcomes


@pytest.fixture(params=["memory", "embedded", pytest.param("etcd", marks=needs_etcd)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MapStore]:
    opened: MapStore
    if request.param == "memory":
        opened = MemoryMapStore(b"cluster1")
    elif request.param == "embedded":
        opened = EmbeddedMapStore(tmp_path)
    else:
        opened = EtcdMapStore(EtcdClient(request.getfixturevalue("etcd").endpoints))
        await opened.load()
    yield opened
    await opened.close()


async def test_a_new_store_holds_an_empty_map_of_a_cluster_with_an_id(store: MapStore) -> None:
    cluster = await store.load()
    assert cluster == ClusterMap.empty(cluster.cluster_id)
    assert len(cluster.cluster_id) == 8


async def test_a_record_is_written_iff_its_proposer_saw_what_stands(store: MapStore) -> None:
    assert await outcomes(store, PutNode(NODE, None)) == (LANDED,)
    assert await outcomes(store, PutNode(MOVED, None)) == (CONFLICT,)
    assert await outcomes(store, PutNode(MOVED, NODE)) == (LANDED,)
    assert await outcomes(store, PutNode(NODE, NODE)) == (CONFLICT,)
    assert (await store.load()).nodes == {"n1": MOVED}


async def test_a_record_may_be_written_iff_others_stand_too_and_those_are_told(store: MapStore) -> None:
    other = msgspec.structs.replace(NODE, id="n2")
    await store.apply([PutNode(NODE, None)])
    refused = await store.apply([PutNode(other, None, (MOVED,))])
    assert (refused.outcomes, refused.current.nodes) == ((CONFLICT,), [NODE])
    assert await outcomes(store, PutNode(other, None, (NODE,)), PutNode(MOVED, NODE, (NODE, other))) == (LANDED, LANDED)
    assert (await store.load()).nodes == {"n1": MOVED, "n2": other}


async def test_keyspaces_are_guarded_like_nodes(store: MapStore) -> None:
    keyspace = KeyspaceInfo("default", "consistent", (1, 2), 2, 1)
    assert await outcomes(store, PutKeyspace(keyspace, None)) == (LANDED,)
    assert await outcomes(store, PutKeyspace(keyspace, None)) == (CONFLICT,)
    assert (await store.load()).keyspaces == {"default": keyspace}


async def test_a_keyspace_is_placed_once_and_whole(store: MapStore) -> None:
    assert await outcomes(store, PlaceKeyspace((entry(1, 1), entry(2, 1)))) == (LANDED,)
    assert await outcomes(store, PlaceKeyspace((entry(2, 1), entry(3, 1)))) == (CONFLICT,)
    assert (await store.load()).entries == {1: entry(1, 1), 2: entry(2, 1)}


async def test_an_entry_is_replaced_iff_its_version_is_the_next(store: MapStore) -> None:
    await store.apply([PlaceKeyspace((entry(1, 1),))])
    assert await outcomes(store, PutEntry(entry(1, 3))) == (CONFLICT,)
    assert await outcomes(store, PutEntry(entry(1, 1))) == (CONFLICT,)
    assert await outcomes(store, PutEntry(entry(9, 1))) == (CONFLICT,)
    assert await outcomes(store, PutEntry(entry(1, 2, 1, RIDS[0]))) == (LANDED,)
    assert (await store.load()).entries == {1: entry(1, 2, 1, RIDS[0])}


async def test_an_entry_that_a_move_changes_needs_that_move_as_it_was(store: MapStore) -> None:
    await store.apply([PlaceKeyspace((entry(1, 1),)), StartMoves(Rebalance(1, 2), (MOVE,))])
    other = msgspec.structs.replace(MOVE, target="n4")
    assert await outcomes(store, PutEntry(entry(1, 2), other)) == (CONFLICT,)
    assert await outcomes(store, PutEntry(entry(1, 2), MOVE)) == (LANDED,)
    assert await outcomes(store, PutMove(ABORTING, MOVE, 2), PutEntry(entry(1, 3), MOVE)) == (LANDED, CONFLICT)


async def test_moves_are_started_all_or_none_and_none_beside_another_of_the_partition(store: MapStore) -> None:
    second = Move(2, 2, "n2", "n3")
    assert await outcomes(store, StartMoves(Rebalance(1, 3), (MOVE, second))) == (LANDED,)
    assert await outcomes(store, StartMoves(Rebalance(1, 4), (Move(3, 3, "n1", "n3"),))) == (CONFLICT,)
    assert await outcomes(store, StartMoves(Rebalance(2, 5), (Move(3, 3, "n1", "n3"), Move(4, 2, "n1", "n3")))) == (
        CONFLICT,
    )
    cluster = await store.load()
    assert cluster.moves == {1: MOVE, 2: second}
    assert cluster.rebalance == Rebalance(1, 3)


async def test_moves_make_way_for_others_iff_nothing_was_done_for_them(store: MapStore) -> None:
    await store.apply([PlaceKeyspace((entry(1, 1),)), StartMoves(Rebalance(1, 2), (MOVE,))])
    over, other = PutMove(ABORTED, MOVE, 1), Move(2, 1, "n2", "n4")
    await store.apply([PutEntry(entry(1, 2), MOVE)])
    assert await outcomes(store, StartMoves(Rebalance(2, 3), (other,), (over,))) == (CONFLICT,)
    now = PutMove(ABORTED, MOVE, 2)
    assert await outcomes(store, StartMoves(Rebalance(2, 3), (other,), (now,))) == (LANDED,)
    assert (await store.load()).active_moves == [other]


async def test_a_move_ends_iff_its_entry_is_the_one_that_was_seen(store: MapStore) -> None:
    await store.apply([PlaceKeyspace((entry(1, 1),)), StartMoves(Rebalance(1, 2), (MOVE,))])
    assert await outcomes(store, PutMove(ABORTED, MOVE, 2)) == (CONFLICT,)
    assert await outcomes(store, PutMove(ABORTED, ABORTING, 1)) == (CONFLICT,)
    assert await outcomes(store, PutMove(ABORTED, MOVE, 1)) == (LANDED,)
    assert (await store.load()).moves == {1: ABORTED}


async def test_how_moves_go_is_guarded_by_its_version(store: MapStore) -> None:
    paused = Rebalance(1, 1, True, 500)
    assert await outcomes(store, PutRebalance(Rebalance(2))) == (CONFLICT,)
    assert await outcomes(store, PutRebalance(paused)) == (LANDED,)
    applied = await store.apply([PutRebalance(Rebalance(1))])
    assert (applied.outcomes, applied.current.rebalance) == ((CONFLICT,), paused)


RANGES = KeyspaceInfo("logs", "range", (1,), 2, 1)
SPLIT = KeyspaceInfo("logs", "range", (1, 2), 2, 1, layout=1, bounds=(b"m",))
ACME, MOVED_ACME = Tenant("shops", b"acme", 1), Tenant("shops", b"acme", 2)


async def test_keys_change_their_partition_all_at_once_or_not_at_all(store: MapStore) -> None:
    await store.apply([PutKeyspace(RANGES, None), PlaceKeyspace((entry(1, 1),))])
    refused = (
        Reshape((entry(1, 3), entry(2, 1)), SPLIT, RANGES),
        Reshape((entry(1, 2), entry(2, 2)), SPLIT, RANGES),
        Reshape((entry(1, 2), entry(2, 1)), SPLIT, None),
        Reshape((entry(1, 2), entry(2, 1)), SPLIT, SPLIT),
    )
    assert await outcomes(store, *refused) == (CONFLICT,) * 4
    before = await store.load()
    assert (before.entries, before.keyspaces, before.tenants) == ({1: entry(1, 1)}, {"logs": RANGES}, {})
    applied = await store.apply([Reshape((entry(1, 2), entry(2, 1)), SPLIT, RANGES, ACME)])
    assert applied.outcomes == (LANDED,)
    after = await store.load()
    assert after.entries == {1: entry(1, 2), 2: entry(2, 1)}
    assert (after.keyspaces, after.tenants) == ({"logs": SPLIT}, {("shops", b"acme"): ACME})
    told = applied.current
    assert {*told.entries, *told.keyspaces, *told.tenants} == {entry(1, 2), entry(2, 1), SPLIT, ACME}


async def test_what_stays_of_a_deleted_partition_keeps_it_from_being_placed(store: MapStore) -> None:
    over = Entry(1, "logs", 1, 0, None, (), ())
    assert await outcomes(store, Reshape((over,)), PlaceKeyspace((entry(1, 1),))) == (LANDED, CONFLICT)
    cluster = await store.load()
    assert (cluster.entries, cluster.living) == ({1: over}, {})


async def test_a_tenant_is_put_iff_its_proposer_saw_what_stands(store: MapStore) -> None:
    assert await outcomes(store, PutTenant(ACME, None), PutTenant(MOVED_ACME, None)) == (LANDED, CONFLICT)
    assert (await store.apply([PutTenant(MOVED_ACME, None)])).current.tenants == [ACME]
    assert await outcomes(store, PutTenant(MOVED_ACME, ACME), PutTenant(ACME, ACME)) == (LANDED, CONFLICT)
    assert (await store.load()).tenants == {("shops", b"acme"): MOVED_ACME}


async def test_tenants_of_any_bytes_and_lengths_are_told_apart(store: MapStore) -> None:
    names = [b"", b"/", b"a", b"a/", b"\x00\xff", b"x" * 479, b"x" * 480, b"x" * 479 + b"y", b"/" * 480]
    tenants = [Tenant(name, tenant, 1) for name in ("k", "k" * 64) for tenant in names]
    assert await outcomes(store, *(PutTenant(one, None) for one in tenants)) == (LANDED,) * len(tenants)
    assert sorted((await store.load()).tenants) == sorted((one.keyspace, one.name) for one in tenants)


async def test_changes_of_one_batch_land_or_fail_alone_and_see_each_other(store: MapStore) -> None:
    applied = await store.apply(
        [
            PlaceKeyspace((entry(1, 1), entry(2, 1))),
            PutEntry(entry(1, 2, 1, RIDS[0])),
            PutEntry(entry(1, 2, 1, RIDS[1])),
            PutEntry(entry(2, 2, 1, RIDS[1])),
        ]
    )
    assert applied.outcomes == (LANDED, LANDED, CONFLICT, LANDED)
    assert {one.pid: one.leader for one in applied.current.entries} == {1: RIDS[0], 2: RIDS[1]}


async def test_a_conflict_tells_what_stands(store: MapStore) -> None:
    await store.apply([PutNode(NODE, None), PlaceKeyspace((entry(1, 1),))])
    applied = await store.apply([PutNode(MOVED, None), PutEntry(entry(1, 7))])
    assert applied.current == MapUpdate(2, [NODE], [entry(1, 1)], [], [])


async def test_the_map_version_rises_by_one_with_each_change_that_lands(store: MapStore) -> None:
    assert (await store.apply([PutNode(NODE, None), PutNode(NODE, None)])).current.map_ver == 1
    assert (await store.apply([PutNode(MOVED, NODE)])).current.map_ver == 2
    assert (await store.load()).map_ver == 2


async def test_the_map_is_the_same_object_until_it_changes(store: MapStore) -> None:
    before = await store.load()
    assert await store.load() is before
    await store.apply([PutNode(NODE, None)])
    assert await store.load() is not before


async def test_thousands_of_partitions_are_placed_at_once(store: MapStore) -> None:
    placed = PlaceKeyspace(tuple(entry(pid, 1) for pid in range(1, 4097)))
    assert await outcomes(store, placed) == (LANDED,)
    assert len((await store.load()).entries) == 4096


async def test_who_is_alone_may_plan(store: MapStore) -> None:
    assert await store.may_plan()
    assert await store.may_plan()


async def test_partition_uids_begin_at_one_and_never_repeat(store: MapStore) -> None:
    assert await store.allocate_pids(64) == 1
    assert await store.allocate_pids(3) == 65
    assert await store.allocate_pids(1) == 68


async def test_an_embedded_store_keeps_everything_across_a_restart(tmp_path: Path) -> None:
    first = EmbeddedMapStore(tmp_path)
    await first.allocate_pids(5)
    keyspace = KeyspaceInfo("default", "consistent", tuple(range(1, 301)), 2, 1)
    placed = PlaceKeyspace(tuple(entry(pid, 1) for pid in range(1, 301)))
    moves = StartMoves(Rebalance(1, 2, True, 7), (MOVE,))
    long = Tenant("k" * 64, b"x" * 480, 2)
    await first.apply([PutNode(NODE, None), PutKeyspace(keyspace, None), placed, moves])
    await first.apply([PutTenant(long, None), PutTenant(Tenant("k" * 64, b"x" * 479, 1), None)])
    await first.apply([Reshape((entry(301, 1),), SPLIT, None, ACME)])
    before = await first.load()
    await first.close()
    second = EmbeddedMapStore(tmp_path)
    assert await second.load() == before
    assert await second.allocate_pids(1) == 6
    await second.close()


async def test_incarnations_rise_and_take_no_uid(store: MapStore) -> None:
    assert [await store.draw_incarnation() for _ in range(3)] == [1, 2, 3]
    assert await store.allocate_pids(1) == 1


async def test_no_incarnation_is_drawn_again_after_a_restart(tmp_path: Path) -> None:
    first = EmbeddedMapStore(tmp_path)
    await first.draw_incarnation()
    await first.close()
    second = EmbeddedMapStore(tmp_path)
    assert await second.draw_incarnation() == 2
    await second.close()


async def test_windows_for_ids_are_handed_out_once_and_take_no_other_number(store: MapStore) -> None:
    before = await store.load()
    first = await store.draw_id_window(DrawIdWindow(7, 5_000, is_first=True))
    again = await store.draw_id_window(DrawIdWindow(7, 0))
    other = await store.draw_id_window(DrawIdWindow(8, 0, is_first=True))
    assert first == IdWindow(7, 5_000, first.until_ms)
    assert first.from_ms < first.until_ms == again.from_ms < again.until_ms == other.from_ms < other.until_ms
    assert (await store.draw_incarnation(), await store.allocate_pids(1)) == (1, 1)
    assert await store.load() == before


async def test_what_else_is_stored_forgets_no_window_for_ids(store: MapStore) -> None:
    window = await store.draw_id_window(DrawIdWindow(7, 5_000, is_first=True))
    await store.apply([PutNode(NODE, None)])
    await store.allocate_pids(1)
    await store.draw_incarnation()
    assert (await store.draw_id_window(DrawIdWindow(7, 0))).from_ms == window.until_ms


async def test_no_window_for_ids_is_handed_out_again_after_a_restart(tmp_path: Path) -> None:
    first = EmbeddedMapStore(tmp_path)
    window = await first.draw_id_window(DrawIdWindow(7, 5_000, is_first=True))
    await first.close()
    second = EmbeddedMapStore(tmp_path)
    assert (await second.draw_id_window(DrawIdWindow(7, 0))).from_ms == window.until_ms
    await second.close()
