"""Digests are of the moment in which they were asked for, and no snapshot is left open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvstore.effects import TakeDigests
from kvstore.map_values import Rid
from kvstore.node.digester import OPEN_MAX, Digester
from kvstore.replication.bucket_digests import STEP_ROWS, BucketDigests
from kvstore.replication.outcomes import TOKEN
from kvstore.storage.engine import Batch, Table
from kvstore.storage.lmdb_engine import LmdbEngine
from kvstore.storage.records import copy_prefix, encode_value

PREFIX = copy_prefix(1)
KEYS = 3 * STEP_ROWS


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LmdbEngine]:
    engine = LmdbEngine(tmp_path, 1 << 24)
    batch = Batch()
    for number in range(KEYS):
        batch.put(Table.DATA, PREFIX + b"%06d" % number, encode_value(1, number, 0, "", b"v"))
    engine.commit(batch)
    yield engine
    engine.close()


class Made:
    """What became of each. How many slices one takes, and so which is done first, is a matter of time."""

    def __init__(self) -> None:
        self.all: dict[int, tuple[Any, str]] = {}

    def __call__(self, asked: TakeDigests, made: BucketDigests | None, failure: str) -> None:
        self.all[asked.seq] = made, failure

    async def until(self, count: int) -> list[tuple[Any, str]]:
        """All, by their seq."""
        async with asyncio.timeout(10):
            while len(self.all) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return [self.all[seq] for seq in sorted(self.all)]


def asked(seq: int, number: int = 1) -> TakeDigests:
    return TakeDigests(number, Rid("n1", bytes(16)), 1, seq, copy_prefix(number), [])


async def test_what_is_committed_later_is_not_in_it(engine: LmdbEngine) -> None:
    made = Made()
    digester = Digester(engine, made)
    digester.begin(asked(1))
    batch = Batch()
    batch.delete(Table.DATA, PREFIX + b"%06d" % (KEYS - 1))
    engine.commit(batch)
    await made.until(1)
    digester.begin(asked(2))
    (first, _), (second, _) = await made.until(2)
    assert (first.keys, second.keys) == (KEYS, KEYS - 1)
    assert first.digests != second.digests
    await digester.close()


async def test_one_that_cannot_be_read_is_told_as_failed_and_the_others_are_made(engine: LmdbEngine) -> None:
    batch = Batch()
    batch.put(Table.IDEMPOTENCY, copy_prefix(2) + TOKEN + bytes(16), b"damaged")
    engine.commit(batch)
    made = Made()
    digester = Digester(engine, made)
    digester.begin(asked(1, number=2))
    digester.begin(asked(2))
    (bad, failure), (good, none) = await made.until(2)
    assert (bad, "token row" in failure) == (None, True)
    assert (good.keys, none) == (KEYS, "")
    await digester.close()


async def test_the_end_of_the_process_closes_what_is_half_done(engine: LmdbEngine) -> None:
    made = Made()
    digester = Digester(engine, made)
    for number in range(5):
        digester.begin(asked(number, number))
    await asyncio.sleep(0)
    await digester.close()
    done = len(made.all)
    await asyncio.sleep(0.01)
    assert len(made.all) == done
    assert not digester._waiting


async def test_one_that_is_begun_takes_the_place_of_one_of_its_partition(engine: LmdbEngine) -> None:
    made = Made()
    digester = Digester(engine, made)
    for seq in range(300):
        digester.begin(asked(seq))
    digester.begin(asked(300, number=2))
    await made.until(2)
    assert sorted(made.all) == [299, 300]
    await digester.close()


async def test_one_too_many_is_told_as_failed(engine: LmdbEngine) -> None:
    made = Made()
    digester = Digester(engine, made)
    for number in range(OPEN_MAX + 1):
        digester.begin(asked(number, number))
    assert [(seq, digests) for seq, (digests, _) in made.all.items()] == [(OPEN_MAX, None)]
    *others, (_, failure) = await made.until(OPEN_MAX + 1)
    assert all(digests is not None for digests, _ in others)
    assert "being digested" in failure
    await digester.close()
