"""Scans of a node take turns, hold few views, and end with who asked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kvstore.instant import Instant
from kvstore.messages import Failed, Fault, Scan, Scanned
from kvstore.node import scanner as scanner_module
from kvstore.node.scanner import ACTIVE_MAX, WAITING_MAX, Scanner
from kvstore.replication.overlay import Overlay
from kvstore.scan.items import keys_of
from kvstore.scan.page import ScanPage
from kvstore.storage.engine import Batch, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import copy_prefix, encode_value

KEYS = 400
ALL = Scan([(1, 1)], b"", b"", 1 << 20, 1 << 30, False, 0, True)
DEADLINE_MS = 60_000


class Views(MemoryEngine):
    """An engine that counts its open views."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.most = 0

    def snapshot(self) -> Any:
        self.open += 1
        self.most = max(self.most, self.open)
        view = super().snapshot()

        def close() -> None:
            self.open -= 1

        view.close = close  # type: ignore[method-assign]
        return view


class Asker:
    """A gateway's connection."""

    def __init__(self) -> None:
        self.is_open = True
        self.answers: list[tuple[int, Any]] = []

    def answer(self, call: int, body: Any) -> None:
        self.answers.append((call, body))


@pytest.fixture
def engine() -> Views:
    views, batch = Views(), Batch()
    for number in range(KEYS):
        batch.put(Table.DATA, copy_prefix(1) + b"%04d" % number, encode_value(1, 1, 0, "", b""))
    views.commit(batch)
    return views


@pytest.fixture
async def scanner(engine: Views, monkeypatch: pytest.MonkeyPatch) -> Scanner:
    monkeypatch.setattr(scanner_module, "SLICE_S", 0.0)
    followers = SimpleNamespace(entry=SimpleNamespace(ver=1))
    leader = SimpleNamespace(
        followers=followers,
        refuses_reads=lambda _now: None,
        serves_every_key=lambda _ver, _mono_ms: True,
        overlay=Overlay(),
        time_ms=lambda _now: 0,
        txns=SimpleNamespace(in_doubt={}),
        hidden=None,
    )
    copy = SimpleNamespace(prefix=copy_prefix(1), prefix_end=copy_prefix(2))
    partitions = SimpleNamespace(by_pid={1: SimpleNamespace(leader=leader, copy=copy)})
    turns: Any = SimpleNamespace(
        engine=engine,
        partitions=partitions,
        clock=SimpleNamespace(now=lambda: Instant(0, 0)),
        metrics=SimpleNamespace(scanned=0),
    )
    return Scanner(turns)


async def until_idle(scanner: Scanner) -> None:
    async with asyncio.timeout(20):
        while scanner._task is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_crowd_of_scans_holds_few_views(engine: Views, scanner: Scanner) -> None:
    asker: Any = Asker()
    for call in range(100):
        scanner.ask(asker, call, ALL, DEADLINE_MS)
    await until_idle(scanner)
    assert engine.most <= ACTIVE_MAX
    assert engine.open == 0
    assert sorted(call for call, _ in asker.answers) == list(range(100))
    assert all(isinstance(body, Scanned) and len(body.keys) == KEYS for _, body in asker.answers)


async def test_short_scans_do_not_wait_for_a_long_one(scanner: Scanner) -> None:
    asker: Any = Asker()
    scanner.ask(asker, 1, ALL, DEADLINE_MS)
    scanner.ask(asker, 2, Scan([(1, 1)], b"", b"", 3, 1 << 30, False, 0, True), DEADLINE_MS)
    await until_idle(scanner)
    assert [call for call, _ in asker.answers] == [2, 1]


async def test_more_scans_than_may_wait_are_refused(scanner: Scanner) -> None:
    asker: Any = Asker()
    for call in range(WAITING_MAX + 5):
        scanner.ask(asker, call, ALL, DEADLINE_MS)
    refused = [body for _, body in asker.answers if isinstance(body, Failed)]
    assert [body.fault.code for body in refused] == ["overloaded"] * 5
    await scanner.close()


async def test_a_scan_ends_with_the_connection_or_the_patience_of_who_asked(engine: Views, scanner: Scanner) -> None:
    gone: Any = Asker()
    late: Any = Asker()
    scanner.ask(gone, 1, ALL, DEADLINE_MS)
    scanner.ask(late, 2, ALL, 0)
    gone.is_open = False
    await until_idle(scanner)
    assert engine.open == 0
    assert all(isinstance(body, Failed) for _, body in (*gone.answers, *late.answers))


class Broken(ScanPage):
    """A page that cannot be made, unless it has an end."""

    def step(self) -> bool:
        if not self._asked.end:
            raise RuntimeError("the engine fails")
        return super().step()


async def test_a_scan_that_fails_ends_and_no_other(
    engine: Views, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner_module, "ScanPage", Broken)
    asker: Any = Asker()
    scanner.ask(asker, 1, ALL, DEADLINE_MS)
    scanner.ask(asker, 2, Scan([(1, 1)], b"", b"zz", 1 << 20, 1 << 30, False, 0, True), DEADLINE_MS)
    await until_idle(scanner)
    answers = dict(asker.answers)
    assert isinstance(answers[1], Failed)
    assert isinstance(answers[1].fault, Fault)
    assert isinstance(answers[2], Scanned)
    assert engine.open == 0


async def test_closing_it_closes_every_view(engine: Views, scanner: Scanner) -> None:
    asker: Any = Asker()
    for call in range(20):
        scanner.ask(asker, call, ALL, DEADLINE_MS)
    await asyncio.sleep(0)
    await scanner.close()
    assert engine.open == 0


async def test_a_wall_clock_that_is_set_back_leaves_no_scan_going_round(engine: Views, scanner: Scanner) -> None:
    batch = Batch()
    batch.put(Table.DATA, copy_prefix(1) + b"0000", encode_value(1, 1, 100, "", b""))
    engine.commit(batch)
    turns: Any = scanner._turns
    # The key is overdue when the scan is captured, and no more so when its leader is asked to end it.
    walls_ms = [100]
    leader = turns.partitions.by_pid[1].leader
    leader.time_ms = lambda _now: walls_ms.pop() if walls_ms else 99
    turns.partitions.reads = SimpleNamespace(plain=lambda *_: b"a row")
    turns.view, turns.now_after_view, turns.metrics.queued = lambda: None, lambda: Instant(0, 99), 0
    asker: Any = Asker()
    scanner.ask(asker, 1, ALL, DEADLINE_MS)
    for _ in range(50):
        await asyncio.sleep(0)
    assert [len(body.keys) for _, body in asker.answers] == [KEYS]
    await scanner.close()


SMALL = Scan([(1, 1)], b"", b"", 3, 1 << 30, False, 0, False)


async def test_a_page_that_needs_but_a_look_is_answered_beside_those_that_wait(engine: Views, scanner: Scanner) -> None:
    asker: Any = Asker()
    scanner.ask(asker, 1, ALL, DEADLINE_MS)
    scanner.ask(asker, 2, SMALL, DEADLINE_MS)
    ((call, page),) = asker.answers
    assert (call, keys_of(page), page.is_done) == (2, [b"0000", b"0001", b"0002"], False)
    assert engine.open == 1
    assert scanner._turns.metrics.scanned == 3
    await until_idle(scanner)
    assert engine.open == 0


async def test_of_such_a_page_too_the_clock_is_read_after_its_view_was_opened(engine: Views, scanner: Scanner) -> None:
    seen: list[int] = []
    clock: Any = scanner._turns.clock
    clock.now = lambda: seen.append(engine.open) or Instant(0, 0)
    asker: Any = Asker()
    scanner.ask(asker, 1, SMALL, DEADLINE_MS)
    assert isinstance(asker.answers[0][1], Scanned)
    assert seen == [1]


async def test_a_look_that_fails_ends_neither_the_connection_nor_the_page(
    engine: Views, scanner: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the store is damaged")

    monkeypatch.setattr(scanner_module, "page_at_once", fail)
    asker: Any = Asker()
    scanner.ask(asker, 1, SMALL, DEADLINE_MS)
    await until_idle(scanner)
    ((_, page),) = asker.answers
    assert page.keys == [b"0000", b"0001", b"0002"]
    assert engine.open == 0
