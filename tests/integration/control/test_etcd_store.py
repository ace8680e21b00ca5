"""The map store on a real etcd: shared by two gateways, with transactions lost, held and answered too late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from etcd.members import Etcd, needs_etcd
from etcd.relay import Fault, Relay

from cluster.cluster_map import ClusterMap, PlaceKeyspace, PutEntry, PutNode
from cluster.control.map_store import Outcome, StoreUnavailable
from cluster.control.map_store.etcd import EtcdMapStore
from cluster.control.map_store.etcd_client import EtcdClient, Operation, Put, Transaction
from cluster.control.messages import DrawIdWindow
from kvstore.errors import OperatorError
from kvstore.map_values import Entry, NodeInfo, Rid

pytestmark = needs_etcd

OpenStore = Callable[..., Awaitable[EtcdMapStore]]
LANDED, CONFLICT, UNKNOWN = Outcome.LANDED, Outcome.CONFLICT, Outcome.UNKNOWN
N1, N2 = (NodeInfo(f"n{number}", f"127.0.0.1:{number}", "a", 1.0, 1) for number in (1, 2))
RIDS = (Rid("n1", b"1" * 16), Rid("n2", b"2" * 16))


def entry(ver: int, leader: Rid | None = None) -> Entry:
    return Entry(1, "default", ver, ver - 1, leader, RIDS, RIDS)


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def open_store(closing: AsyncExitStack) -> OpenStore:
    """A store that asks these endpoints, and has read the map."""

    async def open_one(*endpoints: str, attempt_s: float = 5.0) -> EtcdMapStore:
        store = EtcdMapStore(EtcdClient(endpoints, attempt_s))
        closing.push_async_callback(store.close)
        await store.load()
        return store

    return open_one


@pytest.fixture
async def two(etcd: Etcd, open_store: OpenStore) -> tuple[EtcdMapStore, EtcdMapStore]:
    """Two stores on one etcd."""
    return await open_store(*etcd.endpoints), await open_store(*etcd.endpoints)


@pytest.fixture
async def relay(etcd: Etcd) -> AsyncIterator[Relay]:
    started = await Relay(etcd.endpoints[0]).listen()
    yield started
    await started.close()


@pytest.fixture
async def harmed(relay: Relay, open_store: OpenStore) -> EtcdMapStore:
    """A store whose requests go through the relay."""
    store = await open_store(relay.endpoint)
    await store.apply([PlaceKeyspace((entry(1),))])
    return store


async def test_all_gateways_belong_to_one_cluster_and_see_each_others_changes(
    two: tuple[EtcdMapStore, EtcdMapStore],
) -> None:
    first, second = two
    await first.apply([PutNode(N1, None)])
    await second.apply([PutNode(N2, None)])
    assert await first.load() == await second.load()
    assert (await first.load()).nodes == {"n1": N1, "n2": N2}


async def test_gateways_that_begin_at_once_draw_one_cluster_id(etcd: Etcd, open_store: OpenStore) -> None:
    stores = await asyncio.gather(*(open_store(*etcd.endpoints) for _ in range(5)))
    assert len({(await store.load()).cluster_id for store in stores}) == 1


async def test_of_two_changes_with_one_guard_one_lands_though_neither_saw_the_other(
    two: tuple[EtcdMapStore, EtcdMapStore],
) -> None:
    first, second = two
    await first.apply([PlaceKeyspace((entry(1),))])
    await second.load()
    changes = [PutEntry(entry(2, rid)) for rid in RIDS]
    applied = await asyncio.gather(*(store.apply([change]) for store, change in zip(two, changes, strict=True)))
    assert sorted(one.outcomes[0].value for one in applied) == ["conflict", "landed"]
    winner = next(change for change, one in zip(changes, applied, strict=True) if one.outcomes == (LANDED,))
    assert [one.current.entries[-1] for one in applied] == [winner.entry] * 2


async def test_a_change_tells_what_others_changed_before_it(two: tuple[EtcdMapStore, EtcdMapStore]) -> None:
    first, second = two
    await first.apply([PutNode(N1, None)])
    applied = await second.apply([PutNode(N2, None)])
    assert ClusterMap.empty(b"").updated(applied.current).nodes == {"n1": N1, "n2": N2}
    assert applied.current.map_ver == 2


async def test_many_changes_of_many_gateways_all_count(etcd: Etcd, open_store: OpenStore) -> None:
    stores = [await open_store(*etcd.endpoints) for _ in range(4)]

    async def propose(number: int, store: EtcdMapStore) -> None:
        for turn in range(5):
            node = NodeInfo(f"n{number}-{turn}", "127.0.0.1:1", "a", 1.0, 1)
            while (await store.apply([PutNode(node, None)])).outcomes != (LANDED,):
                pass

    await asyncio.gather(*(propose(number, store) for number, store in enumerate(stores)))
    assert {(await store.load()).map_ver for store in stores} == {20}
    assert len((await stores[0].load()).nodes) == 20


async def test_no_uid_is_handed_out_by_two_gateways(two: tuple[EtcdMapStore, EtcdMapStore]) -> None:
    first, second = two
    assert [await first.allocate_pids(10), await second.allocate_pids(10), await first.allocate_pids(1)] == [1, 11, 21]


async def test_windows_for_ids_of_one_worker_number_are_handed_out_in_turn_whichever_gateway_asks(
    two: tuple[EtcdMapStore, EtcdMapStore],
) -> None:
    drawn = await asyncio.gather(*(store.draw_id_window(DrawIdWindow(7, 100, is_first=True)) for store in two))
    drawn += [await store.draw_id_window(DrawIdWindow(7, 100)) for store in two]
    (first, *others) = sorted(drawn, key=lambda window: window.from_ms)
    assert first.from_ms == 100
    for window in others:
        assert window.from_ms == first.until_ms
        first = window


async def test_one_gateway_plans_and_the_other_when_it_has_gone(two: tuple[EtcdMapStore, EtcdMapStore]) -> None:
    first, second = two
    assert [await first.may_plan(), await second.may_plan(), await first.may_plan()] == [True, False, True]
    await first.close()
    assert await second.may_plan()


async def test_a_planner_whose_lease_ended_takes_it_anew(two: tuple[EtcdMapStore, EtcdMapStore], etcd: Etcd) -> None:
    first, second = two
    assert await first.may_plan()
    async with aiohttp.ClientSession(f"http://{etcd.endpoints[0]}") as session:
        async with session.post("/v3/lease/leases", json={}) as answer:
            (lease,) = (await answer.json())["leases"]
        await (await session.post("/v3/lease/revoke", json=lease)).read()
    assert await second.may_plan()
    assert not await first.may_plan()


@pytest.mark.parametrize(("fault", "outcome"), [(Fault.ANSWER_LOST, CONFLICT), (Fault.REQUEST_LOST, LANDED)])
async def test_the_same_change_again_settles_an_unknown_outcome(
    harmed: EtcdMapStore, relay: Relay, fault: Fault, outcome: Outcome
) -> None:
    change = PutEntry(entry(2, RIDS[0]))
    relay.fault = fault
    assert (await harmed.apply([change])).outcomes == (UNKNOWN,)
    relay.fault = None
    applied = await harmed.apply([change])
    assert applied.outcomes == (outcome,)
    assert applied.current.entries[-1] == change.entry


async def test_what_was_held_back_lands_never_once_another_change_did(harmed: EtcdMapStore, relay: Relay) -> None:
    relay.fault = Fault.LANDS_LATE
    assert (await harmed.apply([PutEntry(entry(2, RIDS[0]))])).outcomes == (UNKNOWN,)
    relay.fault = None
    assert (await harmed.apply([PutEntry(entry(2, RIDS[1]))])).outcomes == (LANDED,)
    await relay.land_late()
    assert (await harmed.load()).entries == {1: entry(2, RIDS[1])}


async def test_what_was_held_back_may_land_though_the_old_state_was_read_meanwhile(
    harmed: EtcdMapStore, relay: Relay
) -> None:
    relay.fault = Fault.LANDS_LATE
    await harmed.apply([PutEntry(entry(2, RIDS[0]))])
    assert (await harmed.load()).entries == {1: entry(1)}
    await relay.land_late()
    assert (await harmed.load()).entries == {1: entry(2, RIDS[0])}


async def test_uids_whose_answer_was_lost_are_not_handed_out_again(harmed: EtcdMapStore, relay: Relay) -> None:
    relay.fault = Fault.ANSWER_LOST
    with pytest.raises(StoreUnavailable):
        await harmed.allocate_pids(10)
    relay.fault = None
    assert await harmed.allocate_pids(10) == 11


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.LANDS_LATE])
async def test_a_window_for_ids_whose_answer_was_lost_is_nobodys_or_never_was(
    harmed: EtcdMapStore, relay: Relay, etcd: Etcd, open_store: OpenStore, fault: Fault
) -> None:
    asked = DrawIdWindow(7, 100, is_first=True)
    relay.fault = fault
    with pytest.raises(StoreUnavailable):
        await harmed.draw_id_window(asked)
    relay.fault = None
    second = await harmed.draw_id_window(asked)
    await relay.land_late()
    third = await (await open_store(*etcd.endpoints)).draw_id_window(DrawIdWindow(7, 0))
    assert second.from_ms >= 100
    assert third.from_ms == second.until_ms
    assert (second.from_ms > 100) == (fault is Fault.ANSWER_LOST)


async def test_a_dead_member_gives_way_to_another(etcd: Etcd, open_store: OpenStore) -> None:
    store = await open_store("127.0.0.1:1", *etcd.endpoints)
    assert (await store.apply([PutNode(N1, None)])).outcomes == (LANDED,)


async def test_an_etcd_that_stands_still_is_told_from_one_that_refuses(etcd: Etcd, open_store: OpenStore) -> None:
    store = await open_store(*etcd.endpoints, attempt_s=0.2)
    etcd.pause()
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        await store.load()
    assert (await store.apply([PutNode(N1, None)])).outcomes == (UNKNOWN,)
    etcd.resume()
    while (await store.apply([PutNode(N1, None)])).outcomes == (UNKNOWN,):
        pass
    assert (await store.load()).nodes == {"n1": N1}


async def test_another_etcd_at_the_same_address_is_not_taken_for_the_first(
    tmp_path: Path, etcd: Etcd, open_store: OpenStore
) -> None:
    other = Etcd(tmp_path / "other")
    relay = await Relay(etcd.endpoints[0]).listen()
    store = await open_store(relay.endpoint)
    relay.target = other.endpoints[0]
    with pytest.raises(OperatorError, match="another etcd cluster"):
        await store.load()
    await relay.close()
    other.close()


async def test_rows_that_this_version_cannot_read_are_an_operators_mistake(
    etcd: Etcd, closing: AsyncExitStack, open_store: OpenStore
) -> None:
    client = EtcdClient(etcd.endpoints)
    closing.push_async_callback(client.close)
    await client.transact(Transaction([Operation(request_put=Put(b"kvstore/map/head", b"\x00"))]))
    with pytest.raises(OperatorError, match="cannot read the cluster map"):
        await open_store(*etcd.endpoints)
