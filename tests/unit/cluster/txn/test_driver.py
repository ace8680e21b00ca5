"""Transactions over links: calls, timers, clients that go away, and what is left to finish."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection

import pytest
from unit.cluster.txn.fake_links import FakeLinks, key_in, led_by, no_control, router_of

from cluster.gateway.router import Router
from cluster.gateway.tenants import Tenants
from cluster.txn import driver
from cluster.txn.coordinator import Coordinator
from cluster.txn.driver import Transactions
from cluster.txn.effects import Effect
from cluster.txn.transaction import Transaction, TxnOutcome
from kvstore.errors import BadRequest, NoLeader, NotFound, OutcomeUnknown, TxnConflict
from kvstore.messages import (
    Body,
    Done,
    FinishTxn,
    MapUpdate,
    OpKind,
    Prepare,
    Transact,
    Transacted,
    TxnBranch,
    TxnOp,
    TxnResult,
    TxnsFinished,
    Vote,
    Voted,
)
from kvstore.rpc.connection import NotSent


def results(operations: list[TxnOp]) -> list[TxnResult]:
    return [TxnResult(operation.index, 200) for operation in operations]


def voted(body: Body) -> Voted:
    assert isinstance(body, Prepare)
    branches = TxnBranch(results(body.part.then)), TxnBranch(results(body.part.otherwise))
    return Voted(Vote(body.pid, 1, 9, True, *branches))


def committed(body: Body) -> Transacted:
    assert isinstance(body, Transact)
    return Transacted(body.txn, True, True, True, results(body.part.then))


def obliging(node: str, body: Body) -> Body | None:
    """What nodes answer that find nothing in the way."""
    if isinstance(body, Prepare):
        return voted(body)
    if isinstance(body, Transact):
        return committed(body)
    return Done() if isinstance(body, FinishTxn) else None


@pytest.fixture
def router() -> Router:
    return router_of()


@pytest.fixture
async def links() -> FakeLinks:
    return FakeLinks()


@pytest.fixture
async def transactions(links: FakeLinks, router: Router) -> AsyncIterator[Transactions]:
    made = transactions_of(links, router)
    yield made
    await made.close()


def transactions_of(links: FakeLinks, router: Router, timeout_s: float = 5.0) -> Transactions:
    return Transactions(
        links,
        router,
        incarnation=7,
        timeout_s=timeout_s,
        answer_bytes_max=1 << 20,
        rng=random.Random(1),
        tenants=Tenants(no_control, router),
    )


def putting(*keys: bytes, token: str = "") -> Transaction:
    operations = tuple(TxnOp(index, OpKind.PUT, key, b"v") for index, key in enumerate(keys))
    return Transaction("default", (), operations, (), token)


@pytest.fixture
def two(router: Router) -> Transaction:
    """Of partitions 1, which is the primary, and 2."""
    first = key_in(router, 1)
    return putting(first, key_in(router, 2, above=first))


async def test_a_transaction_of_two_partitions_is_three_calls_to_their_leaders(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    running = asyncio.create_task(transactions.transact(two))
    prepare = (await links.called(Prepare))[0]
    assert [call.node for call in links.calls] == ["n2"]
    await links.answer(Prepare, voted(prepare.body))
    transact = (await links.called(Transact))[0]
    assert transact.node == "n1"
    assert not running.done()
    await links.answer(Transact, committed(transact.body))
    outcome = await running
    assert [result.index for result in outcome.results] == [0, 1]
    finish = await links.answer(FinishTxn, Done())
    assert finish.node == "n2"
    assert links.heard == [("n2", True), ("n1", True)]


async def test_the_primary_is_told_of_many_that_are_finished_in_one_message(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    links.respond = obliging
    outcomes = await asyncio.gather(*(transactions.transact(two) for _ in range(5)))
    assert len({outcome.id for outcome in outcomes}) == 5
    await transactions.close()
    ((node, said),) = links.said
    assert node == "n1"
    assert isinstance(said, TxnsFinished)
    assert len(said.txns) == 5


async def test_names_that_are_finished_leave_without_a_close(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    links.respond = obliging
    await transactions.transact(two)
    ((node, _),) = await links.told()
    assert node == "n1"


async def test_a_token_of_the_gateways_own_is_its_incarnation_and_a_number_that_rises(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    links.respond = obliging
    tokens = [(await transactions.transact(two)).id.split("-")[1] for _ in range(2)]
    assert tokens == [f"{7:016x}{number:016x}" for number in (1, 2)]


async def test_what_a_node_tells_of_a_newer_leader_is_taken_and_asked(
    transactions: Transactions, links: FakeLinks, router: Router, two: Transaction
) -> None:
    running = asyncio.create_task(transactions.transact(two))
    await links.refuse(Prepare, "wrong_leader", led_by(2, "n3", ver=4))
    prepare = (await links.called(Prepare))[0]
    assert (prepare.node, prepare.body.ver) == ("n3", 4)  # type: ignore[union-attr]
    assert router.map.entries[2].ver == 4
    links.respond = obliging
    await links.answer(Prepare, voted(prepare.body))
    assert isinstance(await running, TxnOutcome)


async def test_news_of_the_map_wake_who_waits_for_a_leader(
    transactions: Transactions, links: FakeLinks, router: Router, two: Transaction
) -> None:
    router.take_entry(led_by(2, None, ver=2))
    running = asyncio.create_task(transactions.transact(two))
    await asyncio.sleep(0)
    assert not links.calls
    update = MapUpdate(2, [], [led_by(2, "n2", ver=3)], [])
    router.take(update)
    transactions.take(update)
    assert [call.node for call in links.calls] == ["n2"]
    links.respond = obliging
    await links.answer(Prepare, voted(links.calls[0].body))
    assert isinstance(await running, TxnOutcome)


async def test_news_of_many_entries_are_told_to_each_who_waits_once(
    transactions: Transactions, links: FakeLinks, router: Router, two: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Coordinator] = []

    class Counted(Coordinator):
        def entries_changed(self, pids: Collection[int], now_s: float) -> list[Effect]:
            told.append(self)
            return super().entries_changed(pids, now_s)

    monkeypatch.setattr(driver, "Coordinator", Counted)
    router.take_entry(led_by(2, None, ver=2))
    running = [asyncio.create_task(transactions.transact(two)) for _ in range(3)]
    await asyncio.sleep(0)
    update = MapUpdate(2, [], [led_by(pid, "n2", ver=3) for pid in range(1, 101)], [])
    router.take(update)
    links.respond = obliging
    transactions.take(update)
    assert len(told) == len(set(told)) == 3
    assert all(isinstance(outcome, TxnOutcome) for outcome in await asyncio.gather(*running))


async def test_calls_that_do_not_leave_and_calls_that_are_lost_are_made_again(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    links.down.add("n2")
    running = asyncio.create_task(transactions.transact(two))
    await asyncio.sleep(0)
    links.down.clear()
    await links.lose(Prepare, NotSent("queue"))
    await links.lose(Prepare)
    prepare = (await links.called(Prepare))[0]
    links.respond = obliging
    await links.answer(Prepare, voted(prepare.body))
    assert isinstance(await running, TxnOutcome)
    assert links.heard[:3] == [("n2", False), ("n2", False), ("n2", True)]


async def test_a_call_that_did_not_leave_has_prepared_nothing(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    running = asyncio.create_task(transactions.transact(two))
    await links.lose(Prepare, NotSent("queue"))
    await links.refuse(Prepare, "txn_conflict")
    with pytest.raises(TxnConflict):
        await asyncio.wait_for(running, 10)
    assert not links.calls


async def test_a_transaction_takes_five_seconds_at_most_whatever_a_request_may(
    links: FakeLinks, two: Transaction
) -> None:
    transactions = transactions_of(links, router_of(), timeout_s=60.0)
    running = asyncio.create_task(transactions.transact(two))
    prepare = (await links.called(Prepare))[0]
    assert prepare.body.ttl_ms == 5000  # type: ignore[union-attr]
    await links.refuse(Prepare, "txn_conflict")
    with pytest.raises(TxnConflict):
        await running
    await transactions.close()


async def test_a_client_that_goes_away_leaves_its_transaction_to_come_to_its_end(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    running = asyncio.create_task(transactions.transact(two))
    prepare = (await links.called(Prepare))[0]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await links.answer(Prepare, voted(prepare.body))
    await links.answer(Transact, committed((await links.called(Transact))[0].body))
    await links.answer(FinishTxn, Done())


async def test_errors_are_raised_and_an_unknown_outcome_is_one(links: FakeLinks, two: Transaction) -> None:
    router = router_of()
    transactions = transactions_of(links, router, timeout_s=0.05)
    running = asyncio.create_task(transactions.transact(two))
    await links.refuse(Prepare, "txn_conflict")
    with pytest.raises(TxnConflict):
        await running
    running = asyncio.create_task(transactions.transact(putting(key_in(router, 1))))
    await links.called(Transact)
    await asyncio.sleep(0.06)
    await links.lose(Transact)
    with pytest.raises(OutcomeUnknown):
        await running
    await transactions.close()


async def test_what_cannot_be_routed_is_refused(transactions: Transactions, links: FakeLinks) -> None:
    with pytest.raises(BadRequest, match="key"):
        await transactions.transact(putting())
    with pytest.raises(NotFound):
        await transactions.transact(Transaction("other", (), putting(b"a").then, ()))
    assert not links.calls


async def test_so_many_may_finish_and_no_more(
    transactions: Transactions, links: FakeLinks, two: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "FINISHING_MAX", 2)
    links.respond = lambda node, body: None if isinstance(body, FinishTxn) else obliging(node, body)
    for _ in range(3):
        await transactions.transact(two)
    assert len(await links.called(FinishTxn, 3)) == 3
    for _ in range(3):
        await links.refuse(FinishTxn, "no_leader")
    await asyncio.sleep(0.05)
    assert len(await links.called(FinishTxn, 2)) == 2
    for _ in range(2):
        await links.answer(FinishTxn, Done())
    await transactions.close()
    ((_, said),) = links.said
    assert len(said.txns) == 2  # type: ignore[union-attr]


async def test_a_gateway_that_stops_waits_for_what_is_being_finished(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    links.respond = lambda node, body: None if isinstance(body, FinishTxn) else obliging(node, body)
    await transactions.transact(two)
    closing = asyncio.create_task(transactions.close())
    await asyncio.sleep(0)
    assert not closing.done()
    await links.answer(FinishTxn, Done())
    await closing
    assert links.said


async def test_a_gateway_that_stops_does_not_wait_for_ever(
    links: FakeLinks, two: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "CLOSE_S", 0.01)
    transactions = transactions_of(links, router_of())
    links.respond = lambda node, body: None if isinstance(body, FinishTxn) else obliging(node, body)
    await transactions.transact(two)
    await transactions.close()
    await links.refuse(FinishTxn, "no_leader")
    await asyncio.sleep(0.02)
    assert not links.calls


async def test_nobody_waits_for_a_node_that_is_away(
    transactions: Transactions, links: FakeLinks, two: Transaction
) -> None:
    links.down.add("n2")
    links.away.add("n2")
    with pytest.raises(NoLeader, match="n2"):
        await transactions.transact(two)
