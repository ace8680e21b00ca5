"""What LMDB costs as the engine uses it: reading a key, and a batch of 32 rows with its fdatasync."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kvstore.storage.engine import Batch, Table
from kvstore.storage.lmdb_engine import LmdbEngine

MAP_BYTES = 1 << 28
KEYS = 10_000
ROWS = 32
VALUE = b"v" * 100


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LmdbEngine]:
    engine = LmdbEngine(tmp_path, MAP_BYTES)
    batch = Batch()
    for number in range(KEYS):
        batch.put(Table.DATA, b"b100-%06d" % number, VALUE)
    engine.commit(batch)
    yield engine
    engine.close()


def test_get_a_key(benchmark: BenchmarkFixture, engine: LmdbEngine) -> None:
    snapshot = engine.snapshot()
    assert benchmark(snapshot.get, Table.DATA, b"b100-005000") == VALUE
    snapshot.close()


def test_open_a_snapshot(benchmark: BenchmarkFixture, engine: LmdbEngine) -> None:
    benchmark(lambda: engine.snapshot().close())


def test_commit_a_batch_of_32(benchmark: BenchmarkFixture, engine: LmdbEngine) -> None:
    numbers = itertools.count()

    def commit() -> None:
        batch = Batch()
        for _ in range(ROWS):
            batch.put(Table.DATA, b"b100-%06d" % (next(numbers) * 7919 % KEYS), VALUE)
        engine.commit(batch)

    benchmark(commit)
