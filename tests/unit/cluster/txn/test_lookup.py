"""Where a transaction stands, as its primary and the nodes tell it."""

from __future__ import annotations

import random

import pytest
from unit.cluster.txn.fake_links import FakeLinks, led_by, no_control, router_of

from cluster.gateway.router import Router
from cluster.gateway.tenants import Tenants
from cluster.txn.driver import Transactions
from cluster.txn.transaction import TxnStanding, TxnState
from kvstore.errors import NoLeader, NotFound
from kvstore.messages import (
    AskTxn,
    Body,
    Done,
    Failed,
    Fault,
    ListPrepared,
    PreparedTxn,
    PreparedTxns,
    TxnKnown,
    TxnName,
)

NAME = TxnName(1, b"t" * 16, 1)


class Nodes:
    """What nodes answer: the primary in turn, the last for ever; each node what it has prepared."""

    def __init__(self) -> None:
        self.primary: list[Body] = [TxnKnown(False)]
        self.prepared: dict[str, Body] = {}
        self.asked: list[str] = []

    def respond(self, node: str, body: Body) -> Body:
        self.asked.append(f"{type(body).__name__} {node}")
        if isinstance(body, AskTxn):
            return self.primary.pop(0) if len(self.primary) > 1 else self.primary[0]
        assert body == ListPrepared(NAME)
        return self.prepared.get(node, PreparedTxns([]))


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def router() -> Router:
    return router_of()


@pytest.fixture
async def links(nodes: Nodes) -> FakeLinks:
    links = FakeLinks()
    links.respond = nodes.respond
    return links


@pytest.fixture
async def transactions(links: FakeLinks, router: Router) -> Transactions:
    return Transactions(
        links,
        router,
        incarnation=1,
        timeout_s=0.3,
        answer_bytes_max=1,
        rng=random.Random(1),
        tenants=Tenants(no_control, router),
    )


@pytest.mark.parametrize(
    ("known", "standing"),
    [
        (TxnKnown(True, True, True), TxnStanding(TxnState.COMMITTED, True)),
        (TxnKnown(True, True, False), TxnStanding(TxnState.COMMITTED, False)),
        (TxnKnown(True, False), TxnStanding(TxnState.ABORTED)),
    ],
)
async def test_a_decision_is_the_primarys_word(
    transactions: Transactions, nodes: Nodes, known: TxnKnown, standing: TxnStanding
) -> None:
    nodes.primary = [known]
    assert await transactions.standing(NAME) == standing
    assert nodes.asked == ["AskTxn n1"]


async def test_one_that_is_prepared_anywhere_and_not_decided_is_pending(
    transactions: Transactions, nodes: Nodes
) -> None:
    nodes.prepared["n3"] = PreparedTxns([PreparedTxn(NAME, 3, 1, 9, 5, [b"k"])])
    assert await transactions.standing(NAME) == TxnStanding(TxnState.PENDING)


async def test_one_that_nobody_knows_is_not_found(transactions: Transactions, nodes: Nodes) -> None:
    with pytest.raises(NotFound):
        await transactions.standing(NAME)
    assert sorted(nodes.asked[1:4]) == ["ListPrepared n1", "ListPrepared n2", "ListPrepared n3"]


async def test_one_that_is_decided_and_finished_between_the_questions_is_found(
    transactions: Transactions, nodes: Nodes
) -> None:
    nodes.primary = [TxnKnown(False), TxnKnown(True, True, True)]
    assert await transactions.standing(NAME) == TxnStanding(TxnState.COMMITTED, True)


async def test_one_of_a_partition_that_is_not_there_is_not_found(transactions: Transactions, nodes: Nodes) -> None:
    with pytest.raises(NotFound):
        await transactions.standing(TxnName(99, NAME.token, 1))
    assert not nodes.asked


async def test_the_primary_is_followed_to_its_leader(transactions: Transactions, nodes: Nodes) -> None:
    nodes.primary = [Failed(Fault("wrong_leader", "n2 leads", led_by(1, "n2", ver=2))), TxnKnown(True, True, True)]
    assert (await transactions.standing(NAME)).state is TxnState.COMMITTED
    assert nodes.asked == ["AskTxn n1", "AskTxn n2"]


@pytest.mark.parametrize("answer", [Failed(Fault("no_leader", "none")), Done()])
async def test_a_primary_that_does_not_say_leaves_it_open(
    transactions: Transactions, nodes: Nodes, answer: Body
) -> None:
    nodes.primary = [answer]
    with pytest.raises(Exception, match=r"none|fit"):
        await transactions.standing(NAME)
    assert len(nodes.asked) > 1


async def test_a_primary_without_leader_leaves_it_open(transactions: Transactions, router: Router) -> None:
    router.take_entry(led_by(1, None, ver=2))
    with pytest.raises(NoLeader):
        await transactions.standing(NAME)


async def test_a_node_that_cannot_be_asked_leaves_it_open(transactions: Transactions, links: FakeLinks) -> None:
    links.down.add("n3")
    with pytest.raises(NoLeader, match="n3"):
        await transactions.standing(NAME)


async def test_a_node_that_is_away_has_nothing_to_say(transactions: Transactions, links: FakeLinks) -> None:
    links.down.add("n3")
    links.away.add("n3")
    with pytest.raises(NotFound):
        await transactions.standing(NAME)
