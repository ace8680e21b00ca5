"""When a shell begins a batch, and what it does where one does not fit."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest

from kvstore.clock import SystemClock
from kvstore.node import shell as shell_module
from kvstore.node.company import LARGE
from kvstore.node.ending import EXIT_FAILED
from kvstore.node.metrics import NodeMetrics
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.storage.engine import Batch, MapFull
from kvstore.storage.memory import MemoryEngine

WAIT_S = 5


class Engine(MemoryEngine):
    """Refuses the first `full` batches; counts those that it took."""

    def __init__(self) -> None:
        super().__init__()
        self.full = 0
        self.taken = 0
        self.refused = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def commit(self, batch: Batch) -> None:
        if self.full:
            self.full -= 1
            self._loop.call_soon_threadsafe(self.refused.set)
            raise MapFull("no room")
        super().commit(batch)
        self.taken += 1


@pytest.fixture
async def engine() -> Engine:
    return Engine()


@pytest.fixture
async def shell(engine: Engine) -> AsyncIterator[Shell]:
    partitions = Partitions(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
    made = Shell(engine, partitions, SystemClock(), NodeMetrics(partitions), lambda *_: None)
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    await saved(made)
    yield made
    await made.close()
    assert not failures


async def saved(shell: Shell) -> None:
    """Wait until all that there is now is durable."""
    durable = asyncio.Event()
    shell.after_batch(durable.set)
    await asyncio.wait_for(durable.wait(), WAIT_S)


async def test_what_comes_while_a_batch_did_not_fit_waits_for_it(shell: Shell, engine: Engine) -> None:
    engine.full = 1
    shell.partitions.create_copies([1])
    first = asyncio.create_task(saved(shell))
    await engine.refused.wait()
    await asyncio.sleep(0.01)
    shell.partitions.create_copies([2])
    await saved(shell)
    assert first.done()
    assert engine.taken == 3


async def test_a_large_batch_waits_for_rows_of_those_who_sent_some_before(
    shell: Shell, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_module, "COMPANY_S", WAIT_S)
    shell.company.wrote(LARGE)
    shell.company.heard("n2", 1)
    shell.partitions.create_copies([1])
    await saved(shell)
    shell.partitions.create_copies([2])
    waiting = asyncio.create_task(saved(shell))
    await asyncio.sleep(0.05)
    assert engine.taken == 2
    shell.company.heard("n2", 1)
    shell.schedule()
    await waiting
    assert engine.taken == 3


async def test_a_batch_does_not_wait_for_ever_for_rows_that_do_not_come(shell: Shell, engine: Engine) -> None:
    shell.company.wrote(LARGE)
    shell.company.heard("n2", 1)
    shell.partitions.create_copies([1])
    await saved(shell)
    shell.partitions.create_copies([2])
    await saved(shell)
    assert engine.taken == 3


@pytest.mark.parametrize("step", ["stream", "durable"])
async def test_a_turn_that_fails_half_way_ends_the_process(
    step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    partitions = Partitions(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
    shell = Shell(MemoryEngine(), partitions, SystemClock(), NodeMetrics(partitions), lambda *_: None)
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(os, "_exit", ended.set_result)
    monkeypatch.setattr(partitions, step, Mock(side_effect=ValueError("a page that nobody wrote")))
    partitions.create_copies([1])
    shell.schedule()
    assert await asyncio.wait_for(ended, WAIT_S) == EXIT_FAILED
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("Traceback")
    assert told[-1] == "kvstore: a turn failed half-way, the process ends: ValueError('a page that nobody wrote')"
