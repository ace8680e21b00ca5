"""The steps of a coordinator are known by what it asks, and its process ends on the right side of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cluster.txn.crashing import CrashingCalls, step_of
from kvstore.crash_point import CrashPoint
from kvstore.messages import (
    AbortTxn,
    Body,
    Failed,
    Fault,
    FinishTxn,
    Prepare,
    Transact,
    Transacted,
    TxnBranch,
    TxnName,
    TxnPart,
    Vote,
)
from kvstore.rpc.connection import RpcError

NAME = TxnName(1, b"t" * 16, 1)
PART = TxnPart([], [], [])
VOTE = Vote(2, 1, 1, True, TxnBranch([]), TxnBranch([]))
DECIDE = Transact(1, 0, NAME, PART, [VOTE])
TOLD = Transacted(NAME, True, True, True, [])


class Recorded(CrashPoint):
    """Notes in the place of its end what `seen` tells at that moment."""

    def __init__(self, text: str, seen: Callable[[], list[str]]) -> None:
        super().__init__(text)
        self.ends: list[list[str]] = []
        self._seen = seen

    def crash(self) -> None:
        self.ends.append(list(self._seen()))


class Story:
    """One call of a coordinator, and what happened in which order."""

    def __init__(self, at: str) -> None:
        self.happened: list[str] = []
        self.point = Recorded(at, lambda: self.happened)
        self.answer: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        self._calls = CrashingCalls(self._call, self.point)

    def _call(self, node: str, body: Body, timeout_s: float) -> asyncio.Future[Body]:
        self.happened.append("asked")
        return self.answer

    def ask(self, body: Body) -> None:
        self._calls("n1", body, 1.0).add_done_callback(lambda _: self.happened.append("seen"))

    async def end(self, answer: Body | Exception) -> None:
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
            self.answer.exception()
        else:
            self.answer.set_result(answer)
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("body", "step"),
    [
        (Prepare(2, 0, NAME, PART, 5000), "ask_vote"),
        (DECIDE, "ask_decision"),
        (Transact(1, 0, NAME, PART), ""),
        (AbortTxn(1, 0, NAME), ""),
        (FinishTxn(2, 0, NAME, 1, 1, True, True), "tell_decision"),
    ],
)
def test_a_step_is_known_by_what_is_asked(body: Body, step: str) -> None:
    assert step_of(body) == step


async def test_before_a_step_nothing_was_asked() -> None:
    story = Story("ask_decision.before:1")
    story.ask(DECIDE)
    await story.end(TOLD)
    assert story.point.ends[0] == []


async def test_after_a_step_the_answer_is_here_and_the_coordinator_has_not_seen_it() -> None:
    story = Story("ask_decision.after:1")
    story.ask(DECIDE)
    assert not story.point.ends
    await story.end(TOLD)
    assert story.point.ends == [["asked"]]
    assert story.happened == ["asked", "seen"]


@pytest.mark.parametrize("answer", [Failed(Fault("no_leader", "")), RpcError("lost")], ids=["refused", "lost"])
async def test_what_is_not_answered_is_no_step_that_is_over(answer: Body | Exception) -> None:
    story = Story("ask_decision.after:1")
    story.ask(DECIDE)
    await story.end(answer)
    assert not story.point.ends


async def test_other_calls_pass() -> None:
    story = Story("ask_decision.before:1")
    story.ask(AbortTxn(1, 0, NAME))
    await story.end(TOLD)
    assert (story.point.ends, story.happened) == ([], ["asked", "seen"])
