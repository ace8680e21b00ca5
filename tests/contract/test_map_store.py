"""What every map store promises, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.cluster_map import Change, ClusterMap, PlaceKeyspace, PutEntry, PutKeyspace, PutNode
from cluster.control.map_store import MapStore, Outcome
from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.map_store.memory import MemoryMapStore
from kvstore.messages import Entry, KeyspaceInfo, MapUpdate, NodeInfo, Rid

LANDED, CONFLICT = Outcome.LANDED, Outcome.CONFLICT
NODE = NodeInfo("n1", "127.0.0.1:1", "a", 1.0, 1)
MOVED = NodeInfo("n1", "127.0.0.1:2", "a", 1.0, 2)
RIDS = (Rid("n1", b"1" * 16), Rid("n2", b"2" * 16))


def entry(pid: int, ver: int, epoch: int = 0, leader: Rid | None = None) -> Entry:
    return Entry(pid, "default", ver, epoch, leader, RIDS, RIDS)


async def outcomes(store: MapStore, *changes: Change) -> tuple[Outcome, ...]:
    return (await store.apply(changes)).outcomes


@pytest.fixture(params=["memory", "embedded"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MapStore]:
    opened: MapStore = MemoryMapStore(b"cluster1") if request.param == "memory" else EmbeddedMapStore(tmp_path)
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
    assert applied.current == MapUpdate(2, [NODE], [entry(1, 1)], [])


async def test_the_map_version_rises_by_one_with_each_change_that_lands(store: MapStore) -> None:
    assert (await store.apply([PutNode(NODE, None), PutNode(NODE, None)])).current.map_ver == 1
    assert (await store.apply([PutNode(MOVED, NODE)])).current.map_ver == 2
    assert (await store.load()).map_ver == 2


async def test_partition_uids_begin_at_one_and_never_repeat(store: MapStore) -> None:
    assert await store.allocate_pids(64) == 1
    assert await store.allocate_pids(3) == 65
    assert await store.allocate_pids(1) == 68


async def test_an_embedded_store_keeps_everything_across_a_restart(tmp_path: Path) -> None:
    first = EmbeddedMapStore(tmp_path)
    await first.allocate_pids(5)
    keyspace = KeyspaceInfo("default", "consistent", tuple(range(1, 301)), 2, 1)
    placed = PlaceKeyspace(tuple(entry(pid, 1) for pid in range(1, 301)))
    await first.apply([PutNode(NODE, None), PutKeyspace(keyspace, None), placed])
    before = await first.load()
    await first.close()
    second = EmbeddedMapStore(tmp_path)
    assert await second.load() == before
    assert await second.allocate_pids(1) == 6
    await second.close()
