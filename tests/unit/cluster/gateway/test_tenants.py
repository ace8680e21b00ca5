"""Who asks control of tenants that are not known: few questions, and no belief in an answer that is too old."""

from __future__ import annotations

import asyncio

import pytest

from cluster.control.keyspace_messages import ResolveTenant, TenantResolved
from cluster.gateway import tenants as module
from cluster.gateway.router import Router, TenantNotKnown
from cluster.gateway.tenants import Tenants
from kvstore.errors import NoLeader, NotFound, Overloaded
from kvstore.map_values import Entry, KeyspaceInfo, Rid, Tenant
from kvstore.messages import MapUpdate

RID = Rid("n1", b"1" * 16)
ACME = TenantNotKnown("k", b"acme")


class Control:
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[ResolveTenant, asyncio.Future[TenantResolved]]] = []

    async def ask(self, request: ResolveTenant) -> TenantResolved:
        future = asyncio.get_running_loop().create_future()
        self.asked.append((request, future))
        return await future

    async def answer(self, pid: int | None) -> None:
        """Answer the last question, and let all that follows happen."""
        self.asked[-1][1].set_result(TenantResolved(pid))
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def router_of(*known: Tenant) -> Router:
    router = Router(b"cluster1")
    entries = [Entry(pid, "k", 1, 1, RID, (RID,), (RID,)) for pid in (1, 2)]
    router.take(MapUpdate(1, [], entries, [KeyspaceInfo("k", "directory", (1, 2), 1, 1)], tenants=list(known)))
    return router


@pytest.fixture
def control() -> Control:
    return Control()


async def test_many_that_write_for_a_new_tenant_ask_once(control: Control) -> None:
    router = router_of()
    tenants = Tenants(control.ask, router)
    waiting = [asyncio.ensure_future(tenants.settle(ACME, assign=True)) for _ in range(100)]
    await settle()
    assert [request for request, _ in control.asked] == [ResolveTenant("k", b"acme", True)]
    await control.answer(2)
    assert await asyncio.gather(*waiting) == [True] * 100
    assert router.route("k", b"acme/1").pid == 2
    assert len(control.asked) == 1


async def test_that_a_tenant_has_no_keys_is_believed_only_of_a_later_question(control: Control) -> None:
    tenants = Tenants(control.ask, router_of())
    first = asyncio.ensure_future(tenants.settle(ACME, assign=False))
    await settle()
    later = [asyncio.ensure_future(tenants.settle(ACME, assign=False)) for _ in range(10)]
    await settle()
    await control.answer(None)
    assert first.result() is False
    assert not any(one.done() for one in later)
    assert len(control.asked) == 2
    await control.answer(None)
    assert [one.result() for one in later] == [False] * 10


async def test_that_a_tenant_has_no_keys_is_not_kept(control: Control) -> None:
    tenants = Tenants(control.ask, router_of())
    for pid, found in ((None, False), (1, True)):
        asking = asyncio.ensure_future(tenants.settle(ACME, assign=False))
        await settle()
        await control.answer(pid)
        assert asking.result() is found


async def test_a_refusal_is_told_to_all_and_forgotten(control: Control) -> None:
    tenants = Tenants(control.ask, router_of())
    waiting = [asyncio.ensure_future(tenants.settle(ACME, assign=True)) for _ in range(3)]
    await settle()
    control.asked[0][1].set_exception(NotFound("gone"))
    assert {type(one) for one in await asyncio.gather(*waiting, return_exceptions=True)} == {NotFound}
    again = asyncio.ensure_future(tenants.settle(ACME, assign=True))
    await settle()
    await control.answer(1)
    assert again.result()


async def test_who_goes_away_leaves_the_question_to_the_others(control: Control) -> None:
    tenants = Tenants(control.ask, router_of())
    gone, waiting = (asyncio.ensure_future(tenants.settle(ACME, assign=True)) for _ in range(2))
    await settle()
    gone.cancel()
    await settle()
    await control.answer(1)
    assert waiting.result()


async def test_a_control_that_is_silent_is_a_refusal(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    with pytest.raises(NoLeader, match="control"):
        await Tenants(control.ask, router_of()).settle(ACME, assign=True)


async def test_no_more_than_so_many_are_asked_about(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUESTIONS_MAX", 1)
    tenants = Tenants(control.ask, router_of())
    asking = asyncio.ensure_future(tenants.settle(ACME, assign=True))
    await settle()
    with pytest.raises(Overloaded):
        await tenants.settle(TenantNotKnown("k", b"other"), assign=True)
    await control.answer(1)
    assert asking.result()


@pytest.mark.parametrize(("known", "pid"), [(Tenant("k", b"acme", 1), 1), (Tenant("k", b"acme", 99), 2)])
async def test_an_answer_takes_the_place_of_nothing_but_a_former_keyspaces(
    control: Control, known: Tenant, pid: int
) -> None:
    router = router_of(known)
    asking = asyncio.ensure_future(Tenants(control.ask, router).settle(ACME, assign=True))
    await settle()
    await control.answer(2)
    assert asking.result()
    assert router.route("k", b"acme/1").pid == pid
