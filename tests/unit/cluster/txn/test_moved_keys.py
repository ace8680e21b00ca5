"""Transactions whose keys change their partition, or whose tenants have none yet, while they are carried out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import msgspec
import pytest
from unit.cluster.txn.fake_links import CLUSTER, FakeLinks, led_by
from unit.cluster.txn.test_driver import committed, putting, voted

from cluster.control.keyspace_messages import ResolveTenant, TenantResolved
from cluster.gateway.router import Router
from cluster.gateway.tenants import Tenants
from cluster.txn.driver import Transactions
from cluster.txn.transaction import Transaction
from kvstore.errors import NoLeader, NotFound, OutcomeUnknown
from kvstore.map_values import Entry, KeyspaceInfo
from kvstore.messages import AbortTxn, Body, Done, Failed, Fault, FinishTxn, MapUpdate, Prepare, Transact, Transacted

RANGE = KeyspaceInfo("r", "range", (1, 2, 3), 2, 1, bounds=(b"g", b"p"))
# The key h belongs to 2, and then to 3.
MOVED = msgspec.structs.replace(RANGE, layout=1, bounds=(b"g", b"h"))


def entries(layout: int = 0) -> list[Entry]:
    return [msgspec.structs.replace(led_by(pid, f"n{pid}", layout + 1), layout=layout) for pid in (1, 2, 3)]


def on(*keys: bytes) -> Transaction:
    return msgspec.structs.replace(putting(*keys), keyspace="r")


class Nodes:
    """They say yes to what is asked by their entries; control is asked for tenants here too."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.entries = {entry.pid: entry for entry in entries()}
        self.asked: list[Body] = []
        self.resolved: list[ResolveTenant] = []

    def move(self) -> None:
        self.entries = {entry.pid: entry for entry in entries(1)}

    def tell(self) -> None:
        self.router.take(MapUpdate(self.router.map.map_ver + 1, [], list(self.entries.values()), [MOVED]))

    def respond(self, _node: str, body: Body) -> Body | None:
        assert isinstance(body, Prepare | Transact | AbortTxn | FinishTxn)
        self.asked.append(body)
        entry = self.entries[body.pid]
        if body.ver < entry.ver:
            return Failed(Fault("wrong_leader", "other keys", entry))
        if isinstance(body, Prepare):
            return voted(body)
        if isinstance(body, Transact):
            return committed(body)
        return Transacted(body.txn, False, False, True) if isinstance(body, AbortTxn) else Done()

    async def resolve(self, request: ResolveTenant) -> TenantResolved:
        self.resolved.append(request)
        return TenantResolved(1 + len(self.resolved) % 3)

    def prepared(self) -> list[tuple[int, int]]:
        return [(body.pid, body.ver) for body in self.asked if isinstance(body, Prepare)]


@pytest.fixture
def router() -> Router:
    router = Router(CLUSTER)
    router.take(MapUpdate(1, [], entries(), [RANGE]))
    return router


@pytest.fixture
def nodes(router: Router) -> Nodes:
    return Nodes(router)


@pytest.fixture
async def links(nodes: Nodes) -> FakeLinks:
    links = FakeLinks()
    links.respond = nodes.respond
    return links


@pytest.fixture
async def transactions(links: FakeLinks, nodes: Nodes, router: Router) -> AsyncIterator[Transactions]:
    made = Transactions(
        links,
        router,
        incarnation=7,
        timeout_s=0.5,
        answer_bytes_max=1 << 20,
        rng=random.Random(1),
        tenants=Tenants(nodes.resolve, router),
    )
    yield made
    await made.close()


async def test_a_part_whose_keys_have_moved_is_asked_where_they_are_and_nowhere_else(
    transactions: Transactions, nodes: Nodes
) -> None:
    nodes.move()
    asyncio.get_running_loop().call_later(0.02, nodes.tell)
    outcome = await transactions.transact(on(b"a", b"h"))
    assert outcome.partitions == 2
    # Never of partition 2 by the entry under which it has other keys.
    assert nodes.prepared() == [(2, 1), (3, 2)]
    assert [body.pid for body in nodes.asked if isinstance(body, Transact)] == [1]


async def test_a_primary_that_refused_is_asked_anew_by_the_new_map(transactions: Transactions, nodes: Nodes) -> None:
    nodes.move()
    asyncio.get_running_loop().call_later(0.02, nodes.tell)
    await transactions.transact(on(b"h"))
    assert [(body.pid, body.ver) for body in nodes.asked if isinstance(body, Transact)] == [(2, 1), (3, 2)]


async def test_where_no_news_come_nothing_is_done(transactions: Transactions, nodes: Nodes) -> None:
    nodes.move()
    with pytest.raises(NoLeader):
        await transactions.transact(on(b"a", b"h"))
    assert all(body.ver == 1 for body in nodes.asked if isinstance(body, Prepare | Transact))


async def test_a_primary_that_may_have_committed_is_not_asked_with_other_keys(
    transactions: Transactions, nodes: Nodes, links: FakeLinks
) -> None:
    links.respond = lambda _node, _body: None
    running = asyncio.ensure_future(transactions.transact(on(b"h")))
    await links.called(Transact)
    links.respond = nodes.respond
    nodes.move()
    nodes.tell()
    await links.lose(Transact)
    with pytest.raises(OutcomeUnknown):
        await running
    assert nodes.asked == []


async def test_of_a_keyspace_that_is_deleted_meanwhile_nothing_is_found(
    transactions: Transactions, nodes: Nodes, router: Router
) -> None:
    nodes.move()

    def delete() -> None:
        gone = [msgspec.structs.replace(entry, ver=9, leader=None, in_sync=(), replicas=()) for entry in entries(1)]
        router.take(MapUpdate(5, [], gone, [msgspec.structs.replace(RANGE, pids=(), bounds=())]))

    asyncio.get_running_loop().call_later(0.02, delete)
    with pytest.raises(NotFound):
        await transactions.transact(on(b"a", b"h"))


async def test_tenants_that_have_no_partition_are_given_one_at_the_same_time(
    transactions: Transactions, nodes: Nodes, router: Router
) -> None:
    router.take(MapUpdate(2, [], [], [KeyspaceInfo("r", "directory", (1, 2, 3), 2, 1)]))
    outcome = await transactions.transact(on(b"acme/1", b"acme/2", b"evil/1"))
    assert nodes.resolved == [ResolveTenant("r", b"acme", True), ResolveTenant("r", b"evil", True)]
    assert outcome.partitions == 2
