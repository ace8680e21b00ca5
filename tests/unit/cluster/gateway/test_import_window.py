"""How far an import came is told exactly, whatever the nodes answer, and a later put of a key is never overtaken."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence

import pytest

from cluster.gateway import import_window
from cluster.gateway.import_stream import Item
from cluster.gateway.import_window import CHUNKS_MAX, ImportWindow
from cluster.gateway.operations import Change, Operation, Result, Stored
from kvstore.errors import KvError, NoLeader, OutcomeUnknown, StorageFull

STORED = Stored(True, "1.1.1", 2)
Fault = Callable[[bytes, int], KvError | None]


class Nodes:
    """Keeps what it is sent; `fault` says for a key and the number of its attempt what goes wrong."""

    def __init__(self, fault: Fault = lambda _key, _attempt: None) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.under_way = 0
        self.most_under_way = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._fault = fault
        self.attempts: dict[bytes, int] = {}

    async def carry(self, operations: Sequence[Operation], _answer_bytes_max: int) -> list[Result]:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        await self.gate.wait()
        self.under_way -= 1
        return [self._store(operation) for operation in operations]

    def _store(self, change: Operation) -> Result:
        assert isinstance(change, Change)
        attempt = self.attempts[change.key] = self.attempts.get(change.key, 0) + 1
        fault = self._fault(change.key, attempt)
        if fault is not None:
            return fault
        self.rows[change.key] = change.value
        return STORED


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_window, "PAUSE_S_MIN", 0.001)
    monkeypatch.setattr(import_window, "PAUSE_S_MAX", 0.002)


def items(first_line: int, *keys: str) -> list[Item]:
    return [Item(line, Change("default", key.encode(), b"%d" % line)) for line, key in enumerate(keys, first_line)]


class Leader:
    """Of the partition of one key, which is stored only while there is one."""

    def __init__(self, key: str) -> None:
        self.is_there = False
        self._key = key.encode()

    def fault(self, key: bytes, _attempt: int) -> KvError | None:
        return NoLeader("not now") if key == self._key and not self.is_there else None


async def until_under_way(window: ImportWindow, size_bytes: int) -> None:
    """Until no more bytes are under way than these."""
    async with asyncio.timeout(10):
        while window.bytes_under_way > size_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0)


def fail_on(broken: str, error: KvError, *, attempts: int = 1_000_000) -> Fault:
    return lambda key, attempt: error if key == broken.encode() and attempt <= attempts else None


async def test_everything_is_stored_and_counted() -> None:
    nodes = Nodes()
    window = ImportWindow(nodes.carry, 1)
    for chunk in range(50):
        await window.put(items(1 + 2 * chunk, f"a{chunk}", f"b{chunk}"))
    await window.finish()
    assert (window.imported, window.failure, window.line) == (100, None, None)
    assert len(nodes.rows) == 100
    assert nodes.most_under_way > 1
    assert window.bytes_under_way == 0


async def test_no_more_chunks_are_under_way_than_allowed() -> None:
    nodes = Nodes()
    nodes.gate.clear()
    window = ImportWindow(nodes.carry, 1)
    for chunk in range(CHUNKS_MAX):
        await window.put(items(chunk + 1, f"k{chunk}"))
    waiting = asyncio.create_task(window.put(items(100, "one more")))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    nodes.gate.set()
    await waiting
    await window.finish()
    assert window.imported == CHUNKS_MAX + 1


async def test_no_more_bytes_are_under_way_than_allowed_but_one_chunk_always_is() -> None:
    nodes = Nodes()
    nodes.gate.clear()
    window = ImportWindow(nodes.carry, 1)
    large = bytes(import_window.BYTES_MAX + 1)
    await window.put([Item(1, Change("default", b"a", large))])
    waiting = asyncio.create_task(window.put([Item(2, Change("default", b"b", b""))]))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    nodes.gate.set()
    await waiting
    await window.finish()
    assert window.imported == 2


async def test_of_what_is_in_nothing_is_held_while_an_earlier_chunk_is_not() -> None:
    leader = Leader("head")
    nodes = Nodes(leader.fault)
    window = ImportWindow(nodes.carry, 1000)
    await window.put([Item(1, Change("default", b"head", b""))])
    key, value = b"k" * 100, bytes(1000)
    before = sys.getrefcount(key), sys.getrefcount(value)
    await window.put([Item(2, Change("default", key, value))])
    await until_under_way(window, len(b"head"))
    nodes.rows.clear()
    nodes.attempts.clear()
    assert (sys.getrefcount(key), sys.getrefcount(value)) == before
    assert window.imported == 0
    leader.is_there = True
    await window.finish()
    assert (window.imported, window.line) == (2, None)


async def test_no_more_chunks_are_in_behind_one_that_is_not_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_window, "CHUNKS_KEPT_MAX", 20)
    leader = Leader("k0")
    nodes = Nodes(leader.fault)
    window = ImportWindow(nodes.carry, 1000)
    for chunk in range(20):
        await window.put(items(chunk + 1, f"k{chunk}"))
    waiting = asyncio.create_task(window.put(items(21, "one more")))
    await until_under_way(window, 3)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert (window.imported, len(nodes.rows)) == (0, 19)
    leader.is_there = True
    async with asyncio.timeout(10):
        await waiting
        await window.finish()
    assert (window.imported, window.line) == (21, None)


async def test_who_waits_behind_a_chunk_that_never_comes_in_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_window, "CHUNKS_KEPT_MAX", 20)
    nodes = Nodes(fail_on("k0", NoLeader("never")))
    window = ImportWindow(nodes.carry, 0.2)
    for chunk in range(20):
        await window.put(items(chunk + 1, f"k{chunk}"))
    async with asyncio.timeout(10):
        with pytest.raises(NoLeader, match="never"):
            await window.put(items(21, "k20"))
        await window.finish()
    assert (window.imported, window.line) == (0, 1)
    assert b"k20" not in nodes.rows


async def test_the_line_of_a_chunk_that_failed_is_told_when_an_earlier_one_comes_in_after_it() -> None:
    nodes = Nodes(lambda key, attempt: {b"a": NoLeader(), b"x": StorageFull()}.get(key) if attempt == 1 else None)
    window = ImportWindow(nodes.carry, 1000)
    nodes.gate.clear()
    await window.put(items(1, "a", "b"))
    await window.put(items(3, "c", "d"))
    await window.put(items(7, "e", "x", "f", "x"))
    await window.put(items(11, "g"))
    nodes.gate.set()
    await window.finish()
    assert isinstance(window.failure, StorageFull)
    assert (window.imported, window.line) == (5, 8)


async def test_of_two_puts_of_a_key_the_later_wins_within_and_between_chunks() -> None:
    nodes = Nodes(lambda key, attempt: NoLeader("not now") if attempt % 3 else None)
    window = ImportWindow(nodes.carry, 1)
    line = 1
    for _ in range(20):
        await window.put(items(line, "hot", "x", "hot"))
        line += 3
    await window.finish()
    assert (window.imported, window.failure) == (60, None)
    assert nodes.rows[b"hot"] == b"60"


async def test_what_is_refused_for_now_is_tried_again() -> None:
    nodes = Nodes(fail_on("b", NoLeader("not now"), attempts=3))
    window = ImportWindow(nodes.carry, 5)
    await window.put(items(1, "a", "b", "c"))
    await window.finish()
    assert (window.imported, window.failure) == (3, None)


async def test_patience_ends_with_the_first_line_that_is_not_in() -> None:
    nodes = Nodes(fail_on("c", NoLeader("never")))
    window = ImportWindow(nodes.carry, 0.02)
    await window.put(items(1, "a", "b"))
    await window.put(items(5, "x", "c", "y"))
    await window.put(items(9, "z"))
    await window.finish()
    assert isinstance(window.failure, NoLeader)
    assert (window.imported, window.line) == (3, 6)
    with pytest.raises(NoLeader):
        await window.put(items(10, "late"))
    assert b"late" not in nodes.rows


async def test_an_earlier_put_that_was_left_out_is_not_counted_when_the_later_one_fails() -> None:
    nodes = Nodes(fail_on("a", StorageFull()))
    window = ImportWindow(nodes.carry, 1)
    await window.put(items(1, "b", "a", "c", "a"))
    await window.finish()
    assert (window.imported, window.line) == (1, 2)


@pytest.mark.parametrize("error", [OutcomeUnknown(), StorageFull(), KvError("broken")])
async def test_what_is_not_for_now_is_sent_once(error: KvError) -> None:
    sent: list[int] = []

    def fault(_key: bytes, attempt: int) -> KvError:
        sent.append(attempt)
        return error

    window = ImportWindow(Nodes(fault).carry, 5)
    await window.put(items(1, "a"))
    await window.finish()
    assert (window.failure, window.imported, window.line, sent) == (error, 0, 1, [1])


async def test_an_unknown_outcome_outweighs_refusals_before_and_after_it() -> None:
    unknown = OutcomeUnknown()
    nodes = Nodes(lambda key, _attempt: {b"a": StorageFull(), b"b": unknown, b"c": NoLeader()}.get(key))
    window = ImportWindow(nodes.carry, 1)
    for line, key in enumerate("abc", 1):
        await window.put(items(line, key))
    await window.finish()
    assert window.failure is unknown
    assert (window.imported, window.line) == (0, 1)


async def test_after_a_failure_nothing_is_tried_again() -> None:
    nodes = Nodes(lambda key, _attempt: StorageFull() if key == b"a" else NoLeader())
    window = ImportWindow(nodes.carry, 1000)
    await window.put(items(1, "a"))
    await window.put(items(2, "b"))
    async with asyncio.timeout(10):
        await window.finish()
    assert (window.imported, window.line) == (0, 1)


async def test_an_abandoned_import_does_not_try_again() -> None:
    window = ImportWindow(Nodes(lambda _key, _attempt: NoLeader()).carry, 1000)
    await window.put(items(1, "a"))
    window.abandon()
    async with asyncio.timeout(10):
        await window.finish()
    assert window.line == 1


async def test_what_broke_for_a_reason_that_nobody_foresaw_is_not_known_to_be_in() -> None:
    nodes = Nodes()

    async def carry(operations: Sequence[Operation], answer_bytes_max: int) -> list[Result]:
        if any(isinstance(one, Change) and one.key == b"b" for one in operations):
            raise RuntimeError("a bug")
        return await nodes.carry(operations, answer_bytes_max)

    window = ImportWindow(carry, 10)
    await window.put(items(1, "a"))
    await window.put(items(2, "b", "c"))
    await asyncio.sleep(0.01)
    with pytest.raises(OutcomeUnknown):
        await window.put(items(4, "d"))
    await window.finish()
    assert isinstance(window.failure, OutcomeUnknown)
    assert (window.imported, window.line, window.bytes_under_way) == (1, 2, 0)
