"""The writer's thread: reports after the commit, one batch at a time, and no way on after a failure."""

from __future__ import annotations

import asyncio
import threading

import pytest

from kvstore.storage.engine import Batch, EngineError, MapFull, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.writer import Writer


class SlowEngine(MemoryEngine):
    """Commits when it is let; `error` is raised instead."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.may_commit = threading.Event()
        self.threads: list[str] = []

    def commit(self, batch: Batch) -> None:
        self.threads.append(threading.current_thread().name)
        assert self.may_commit.wait(10)
        if self.error is not None:
            raise self.error
        super().commit(batch)


def no_failure(error: EngineError) -> None:
    raise AssertionError(f"the engine did not fail: {error}")


def batch_of(key: bytes) -> Batch:
    batch = Batch()
    batch.put(Table.DATA, key, b"value")
    return batch


async def test_a_batch_is_reported_on_the_loop_once_it_is_durable() -> None:
    engine = SlowEngine()
    writer = Writer(engine, no_failure)
    reported: asyncio.Future[tuple[bytes | None, MapFull | None, str]] = asyncio.get_running_loop().create_future()

    def committed(full: MapFull | None, seconds: float) -> None:
        assert seconds >= 0
        reported.set_result((engine.snapshot().get(Table.DATA, b"k"), full, threading.current_thread().name))

    writer.submit(batch_of(b"k"), committed)
    await asyncio.sleep(0.01)
    assert writer.is_busy
    assert not reported.done()
    engine.may_commit.set()
    assert await reported == (b"value", None, "MainThread")
    assert engine.threads == ["writer"]
    assert not writer.is_busy
    writer.close()


async def test_the_next_batch_waits_for_the_report_of_the_one_before() -> None:
    engine = SlowEngine()
    writer = Writer(engine, no_failure)
    reported = asyncio.Event()
    writer.submit(batch_of(b"a"), lambda *_: reported.set())
    with pytest.raises(AssertionError, match="one batch at a time"):
        writer.submit(batch_of(b"b"), lambda *_: None)
    engine.may_commit.set()
    await reported.wait()
    reported.clear()
    writer.submit(batch_of(b"b"), lambda *_: reported.set())
    await reported.wait()
    assert [key for key, _ in engine.snapshot().scan(Table.DATA, b"", b"z")] == [b"a", b"b"]
    writer.close()


async def test_a_full_store_is_reported_and_the_next_batch_may_succeed() -> None:
    engine = SlowEngine(MapFull("no room"))
    engine.may_commit.set()
    writer = Writer(engine, no_failure)
    reports: asyncio.Queue[MapFull | None] = asyncio.Queue()
    writer.submit(batch_of(b"a"), lambda full, _: reports.put_nowait(full))
    assert isinstance(await reports.get(), MapFull)
    engine.error = None
    writer.submit(batch_of(b"a"), lambda full, _: reports.put_nowait(full))
    assert await reports.get() is None
    writer.close()


@pytest.mark.parametrize("error", [EngineError("EIO"), MemoryError("no memory"), ValueError("unforeseen")])
async def test_a_failed_medium_ends_it_for_good_and_nothing_is_reported(error: Exception) -> None:
    engine = SlowEngine(error)
    engine.may_commit.set()
    failures: asyncio.Queue[EngineError] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def failed(failure: EngineError) -> None:
        loop.call_soon_threadsafe(failures.put_nowait, failure)

    writer = Writer(engine, failed)
    reports: list[MapFull | None] = []
    writer.submit(batch_of(b"a"), lambda full, _: reports.append(full))
    assert str(error) in str(await asyncio.wait_for(failures.get(), 5))
    writer.close()
    await asyncio.sleep(0)
    assert reports == []
    assert writer.is_busy


async def test_closing_lets_the_batch_at_hand_finish() -> None:
    engine = SlowEngine()
    writer = Writer(engine, no_failure)
    writer.submit(batch_of(b"k"), lambda *_: None)
    closing = asyncio.create_task(asyncio.to_thread(writer.close))
    await asyncio.sleep(0.01)
    assert not closing.done()
    engine.may_commit.set()
    await closing
    assert engine.snapshot().get(Table.DATA, b"k") == b"value"
