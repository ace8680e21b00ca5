"""Scans and counts beside transactions: no page shows what a transaction may have changed, and none waits for long."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code
from unit.kvstore.txn.coordinating import (
    delete,
    finish,
    get,
    named,
    part,
    prepare,
    prepared,
    put,
    transact,
    vote_of,
)

from kvstore.effects import Effect, Reply
from kvstore.instant import Instant
from kvstore.messages import Body, Counted, CountKeys, ResolveTxns, Scan, Scanned
from kvstore.node.scanner import Scanner
from kvstore.replication.answers import LATER
from kvstore.scan.items import keys_of
from kvstore.storage.engine import Snapshot
from kvstore.txn.transactions import ASK_WHEN_LEFT_MS, KEY_WAIT_MS

DEADLINE_MS = 60_000
TXN = named("t")


class Turns:
    """The shell's part: answers of `node` go where they belong."""

    def __init__(self, node: StoryNode) -> None:
        self.node = node
        self.engine = node.engine
        self.partitions = node.partitions
        self.metrics = SimpleNamespace(scanned=0, queued=0)
        self.clock = SimpleNamespace(now=self.now_after_view)
        self._perform = node.perform
        node.perform = self.perform  # type: ignore[method-assign]

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Reply) and isinstance(effect.ticket, tuple):
                call, index = effect.ticket
                call.settle(index, effect.result)
                self.metrics.queued -= 1
            else:
                self._perform([effect])

    def view(self) -> Snapshot:
        return self.engine.snapshot()

    def now_after_view(self) -> Instant:
        return self.node._story.now

    def schedule(self) -> None:
        asyncio.get_running_loop().call_soon(self.node.retry)


class Asker:
    """A gateway's connection."""

    def __init__(self) -> None:
        self.is_open = True
        self.answers: dict[int, Any] = {}

    def answer(self, call: int, body: Body) -> None:
        self.answers[call] = body


@pytest.fixture
def story() -> Story:
    story = Story(nodes=1)
    n1 = story.lead()
    for letter in b"abcde":
        n1.put(f"w{letter}", bytes([letter]), b"old")
    story.settle(apply=True)
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


@pytest.fixture
def asker() -> Asker:
    return Asker()


@pytest.fixture
async def scanner(n1: StoryNode) -> Scanner:
    turns: Any = Turns(n1)
    return Scanner(turns)


async def loop_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def page(node: StoryNode, start: bytes = b"", end: bytes = b"", limit: int = 100, reverse: bool = False) -> Scan:
    return Scan([(PID, node.partition.ver)], start, end, limit, 1 << 20, reverse, 0, False)


def values(answer: Any) -> list[tuple[bytes, bool]]:
    """The keys of a page, and whether each is new."""
    assert isinstance(answer, Scanned), answer
    assert not answer.faults
    return [(key, b'"new"' in item) for key, item in zip(keys_of(answer), answer.items, strict=True)]


async def test_a_page_waits_for_the_end_of_a_transaction_and_shows_what_it_left(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"c"), delete(b"e", 1)))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    scanner.ask(asker, 2, CountKeys([(PID, n1.partition.ver, b"b")], b""), DEADLINE_MS)
    await loop_turns()
    assert not asker.answers
    finish(n1, "finish", vote, TXN)
    await loop_turns()
    assert not asker.answers, "its end is not committed"
    story.settle()
    await loop_turns()
    assert values(asker.answers[1]) == [(b"a", False), (b"b", False), (b"c", True), (b"d", False)]
    assert asker.answers[2] == Counted([(PID, 3, None)], [])
    assert not n1.leader.txns.locks


async def test_a_page_that_does_not_reach_the_key_does_not_wait(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    prepared(story, n1, TXN, part(put(b"c")))
    scanner.ask(asker, 1, page(n1, limit=2), DEADLINE_MS)
    scanner.ask(asker, 2, page(n1, limit=2, reverse=True), DEADLINE_MS)
    scanner.ask(asker, 3, page(n1, start=b"d"), DEADLINE_MS)
    scanner.ask(asker, 4, page(n1, end=b"c"), DEADLINE_MS)
    await loop_turns()
    assert sorted(asker.answers) == [1, 2, 3, 4]
    scanner.ask(asker, 5, page(n1, limit=3), DEADLINE_MS)
    scanner.ask(asker, 6, page(n1, limit=3, reverse=True), DEADLINE_MS)
    await loop_turns()
    assert sorted(asker.answers) == [1, 2, 3, 4]


async def test_a_page_that_would_leave_a_new_key_out_waits(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"bb")))
    scanner.ask(asker, 1, page(n1, limit=3), DEADLINE_MS)
    await loop_turns()
    finish(n1, "finish", vote, TXN)
    story.settle()
    await loop_turns()
    assert values(asker.answers[1]) == [(b"a", False), (b"b", False), (b"bb", True)]


async def test_keys_that_are_only_read_and_what_is_not_committed_hold_no_page_up(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    prepared(story, n1, TXN, part(get(b"c")))
    prepare(n1, "not committed", named("u"), part(put(b"d")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    assert len(values(asker.answers[1])) == 5


async def test_after_a_tenth_of_a_second_the_partition_is_locked(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    prepared(story, n1, TXN, part(put(b"c")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    scanner.ask(asker, 2, CountKeys([(PID, n1.partition.ver, b"")], b""), DEADLINE_MS)
    await loop_turns()
    story.pass_ms(KEY_WAIT_MS - ASK_WHEN_LEFT_MS)
    n1.retry()
    story.pass_ms(ASK_WHEN_LEFT_MS)
    n1.retry()
    await loop_turns()
    for answer in asker.answers.values():
        assert [(pid, fault.code) for pid, fault in answer.faults] == [(PID, "locked")]
    assert len(asker.answers) == 2
    assert not n1.leader.txns.locks.fences


async def test_the_decision_is_asked_for_while_a_scan_waits(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    story.nodes["n9"] = n1
    prepared(story, n1, TXN, part(put(b"c")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    await loop_turns()
    assert not [send for send in n1.sent if isinstance(send.body, ResolveTxns)]
    story.pass_ms(KEY_WAIT_MS - ASK_WHEN_LEFT_MS)
    n1.retry()
    (asked,) = [send.body for send in n1.sent if isinstance(send.body, ResolveTxns)]
    assert [ask.txn for ask in asked.asks] == [TXN]


async def test_behind_the_fence_nothing_is_prepared_and_all_else_goes_on(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"c")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    await loop_turns()
    assert prepare(n1, "prepare", named("u"), part(put(b"d"))) is LATER
    n1.put("write", b"a", b"new")
    assert transact(n1, "transact", named("v", primary=PID), part(put(b"b"))) is LATER
    n1.batch()
    assert set(n1.replies) >= {"write", "transact"}
    assert "prepare" not in n1.replies
    finish(n1, "finish", vote, TXN)
    n1.batch()
    await loop_turns()
    n1.batch()
    assert vote_of(n1, "prepare").holds
    assert values(asker.answers[1]) == [(b"a", True), (b"b", True), (b"c", True), (b"d", False), (b"e", False)]


async def test_a_write_that_waited_for_a_lock_goes_on_before_the_fence_is_gone(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"c")))
    prepared(story, n1, named("u"), part(put(b"d")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    await loop_turns()
    assert n1.put("write", b"c", b"newer") is LATER
    finish(n1, "finish", vote, TXN)
    n1.batch()
    n1.batch()
    assert "write" in n1.replies
    assert n1.leader.txns.locks.fences


async def test_a_scan_gets_on_under_a_stream_of_transactions(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    """Always two are prepared, and what ends is followed by the next one at once."""
    votes = [prepared(story, n1, named("a"), part(put(b"b"))), prepared(story, n1, named("b"), part(put(b"d")))]
    running = [named("a"), named("b")]
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    for number in range(10):
        txn, vote = running.pop(0), votes.pop(0)
        finish(n1, f"finish {number}", vote, txn)
        running.append(named(chr(ord("c") + number)))
        prepare(n1, f"next {number}", running[-1], part(put(b"b" if number % 2 == 0 else b"d")))
        story.pass_ms(5)
        n1.batch()
        await loop_turns()
        n1.batch()
        if 1 in asker.answers:
            break
        votes.append(vote_of(n1, f"next {number}")) if f"next {number}" in n1.replies else None
    assert values(asker.answers[1]) == [(b"a", False), (b"b", True), (b"c", False), (b"d", True), (b"e", False)]
    assert number <= 2


async def test_when_who_asked_is_gone_so_is_the_fence(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    vote = prepared(story, n1, TXN, part(put(b"c")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    await loop_turns()
    asker.is_open = False
    finish(n1, "finish", vote, TXN)
    n1.batch()
    await loop_turns()
    assert not n1.leader.txns.locks.fences


async def test_a_leader_that_resigns_sends_the_scan_elsewhere(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    prepared(story, n1, TXN, part(put(b"c")))
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    await loop_turns()
    n1.perform(n1.partition.resign())
    await loop_turns()
    ((_, fault),) = asker.answers[1].faults
    assert code(fault) == "no_leader"


async def test_an_overdue_key_that_stays_locked_ends_a_scan_as_locked(
    story: Story, n1: StoryNode, scanner: Scanner, asker: Any
) -> None:
    n1.put("brief", b"t", ttl_ms=10)
    story.settle()
    vote = prepared(story, n1, TXN, part(get(b"t")))
    story.pass_ms(20)
    scanner.ask(asker, 1, page(n1), DEADLINE_MS)
    await loop_turns()
    story.pass_ms(KEY_WAIT_MS)
    n1.retry()
    await loop_turns()
    ((_, fault),) = asker.answers[1].faults
    assert code(fault) == "locked"
    scanner.ask(asker, 2, page(n1), DEADLINE_MS)
    await loop_turns()
    finish(n1, "finish", vote, TXN)
    n1.batch()
    n1.batch()
    await loop_turns()
    assert len(values(asker.answers[2])) == 5
