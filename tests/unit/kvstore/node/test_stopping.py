"""A store is never closed underneath the thread that commits to it."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from kvstore.clock import SystemClock
from kvstore.errors import OperatorError
from kvstore.node import process
from kvstore.node import shell as shell_module
from kvstore.node.ending import EXIT_FAILED
from kvstore.node.metrics import NodeMetrics
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.settings import NodeSettings
from kvstore.storage.engine import Batch
from kvstore.storage.memory import MemoryEngine, MemorySnapshot

WAIT_S = 5


class Ended(BaseException):
    """Instead of the end of the process."""


class Engine(MemoryEngine):
    """Commits once `may_commit` is set; knows which threads that came after it were there when it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.may_commit = threading.Event()
        self.may_commit.set()
        self._threads_before = set(threading.enumerate())
        self.threads_at_close: list[str] | None = None

    def commit(self, batch: Batch) -> None:
        self.may_commit.wait(WAIT_S)
        super().commit(batch)

    def snapshot(self) -> MemorySnapshot:
        assert self.threads_at_close is None, "it is closed"
        return super().snapshot()

    def close(self) -> None:
        self.threads_at_close = [thread.name for thread in set(threading.enumerate()) - self._threads_before]


def new_shell(engine: Engine) -> Shell:
    partitions = Partitions(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
    return Shell(engine, partitions, SystemClock(), NodeMetrics(partitions), lambda *_: None)


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes with which the process would have ended."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr(os, "_exit", end)
    return codes


async def test_a_stop_that_a_slow_disk_holds_up_ends_the_process(
    codes: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shell_module, "CLOSE_TIMEOUT_S", 0.05)
    engine = Engine()
    shell = new_shell(engine)
    engine.may_commit.clear()
    shell.partitions.create_copies([1])
    with pytest.raises(Ended):
        await shell.close()
    assert codes == [EXIT_FAILED]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kvstore: the store took longer than 0.05 s")
    engine.may_commit.set()
    shell._writer.close()


async def test_a_stop_that_fails_half_way_ends_the_process(
    codes: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = new_shell(Engine())

    async def fail() -> None:
        raise ValueError("a snapshot that nobody has")

    monkeypatch.setattr(shell._digester, "close", fail)
    with pytest.raises(Ended):
        await shell.close()
    assert codes == [EXIT_FAILED]
    assert "ValueError('a snapshot that nobody has')" in capsys.readouterr().err.splitlines()[-1]
    shell._writer.close()


async def test_a_node_that_cannot_listen_closes_its_store_after_its_writer_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    monkeypatch.setattr(process, "_open_engine", lambda _: engine)
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(OperatorError, match="cannot listen"):
            await process.serve_node(NodeSettings(id="n1", data=tmp_path, listen=listen), asyncio.Event())
    assert engine.threads_at_close is not None
    assert "writer" not in engine.threads_at_close


async def test_a_turn_that_is_due_when_all_is_saved_is_not_taken_on_a_closed_store(codes: list[int]) -> None:
    engine = Engine()
    shell = new_shell(engine)
    await shell.close()
    engine.close()
    shell.schedule()
    await asyncio.sleep(0)
    assert not codes
