"""Who asks control of keyspaces that are not known: few questions, and no belief in an answer that is too old."""

from __future__ import annotations

import asyncio

import pytest

from cluster.control.keyspace_messages import KeyspacesLearnt, LearnKeyspaces
from cluster.gateway import keyspace_news as module
from cluster.gateway.keyspace_news import KeyspaceNews
from cluster.gateway.router import Router
from kvstore.errors import NoLeader
from kvstore.map_values import Entry, KeyspaceInfo, Rid
from kvstore.messages import MapUpdate

RID = Rid("n1", b"1" * 16)
RECORD = MapUpdate(1, [], [], [KeyspaceInfo("k", "hash", (1,), 1, 1)])
PLACED = MapUpdate(2, [], [Entry(1, "k", 1, 1, RID, (RID,), (RID,))])


class Control:
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[KeyspacesLearnt]] = []

    async def ask(self, _request: LearnKeyspaces) -> KeyspacesLearnt:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def answer(self) -> None:
        """Answer the last question, and let all that follows happen."""
        self.asked[-1].set_result(KeyspacesLearnt())
        await turns()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def router() -> Router:
    return Router(b"cluster1")


async def test_nothing_is_asked_of_a_keyspace_that_is_placed(control: Control, router: Router) -> None:
    router.take(RECORD)
    router.take(PLACED)
    await KeyspaceNews(control.ask, router).settle("k")
    assert control.asked == []


async def test_one_that_is_known_and_not_placed_is_asked_for(control: Control, router: Router) -> None:
    router.take(RECORD)
    waiting = asyncio.ensure_future(KeyspaceNews(control.ask, router).settle("k"))
    await turns()
    router.take(PLACED)
    await control.answer()
    assert waiting.done()


async def test_that_there_is_no_keyspace_is_believed_only_of_a_later_question(control: Control, router: Router) -> None:
    news = KeyspaceNews(control.ask, router)
    first = asyncio.ensure_future(news.settle("k"))
    await turns()
    later = [asyncio.ensure_future(news.settle(name)) for name in "kkklm"]
    await turns()
    await control.answer()
    assert first.done()
    assert not any(one.done() for one in later)
    assert len(control.asked) == 2
    await control.answer()
    assert all(one.done() for one in later)


async def test_who_waits_for_an_earlier_question_asks_no_more_when_the_keyspace_came(
    control: Control, router: Router
) -> None:
    news = KeyspaceNews(control.ask, router)
    waiting = [asyncio.ensure_future(news.settle("k")) for _ in range(10)]
    await turns()
    router.take(RECORD)
    router.take(PLACED)
    await control.answer()
    assert all(one.done() for one in waiting)
    assert len(control.asked) == 1


async def test_a_control_that_does_not_answer_is_told_to_all_who_wait_and_asked_again(
    control: Control, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    news = KeyspaceNews(control.ask, router)
    for _ in range(2):
        with pytest.raises(NoLeader, match="control does not say"):
            await news.settle("k")
    assert len(control.asked) == 2


async def test_who_gives_up_leaves_the_question_to_the_others(control: Control, router: Router) -> None:
    news = KeyspaceNews(control.ask, router)
    first = asyncio.ensure_future(news.settle("k"))
    await turns()
    second = asyncio.ensure_future(news.settle("k"))
    await turns()
    first.cancel()
    await turns()
    router.take(RECORD)
    router.take(PLACED)
    await control.answer()
    assert second.done()
    assert second.exception() is None
