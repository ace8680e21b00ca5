"""What a node counts of its partitions: all of it, and the rate of late, by injected time."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from kvstore.heat.node_heat import EVERY, HALF_LIFE_MS, SAMPLE_KEYS, NodeHeat
from kvstore.instant import Instant
from kvstore.messages import (
    AskHeat,
    CopyReport,
    FindSplit,
    GroupBy,
    HeatOf,
    OpKind,
    ReadOne,
    SplitBy,
    TxnIf,
    TxnOp,
    TxnPart,
)

PID = 7


def at(ms: int) -> Instant:
    return Instant(ms, ms)


def told(heat: NodeHeat, by: GroupBy = GroupBy.KEY, keys_max: int = 10) -> HeatOf:
    reads, writes = heat.rates(PID)
    copy = CopyReport(PID, 1, True, 0, 0, reads=reads, writes=writes)
    return heat.answer(AskHeat([PID], by, keys_max), [copy]).copies[0]


def run(heat: NodeHeat, seconds: range, reads: int, writes: int) -> None:
    """So many of each in every second."""
    for second in seconds:
        heat.advance(at(second * 1000))
        for number in range(reads):
            heat.read(PID, b"r%d" % (number % 50))
        for number in range(writes):
            heat.write(PID, b"w%d" % (number % 50))
    heat.advance(at(seconds.stop * 1000))


def test_every_operation_is_counted() -> None:
    heat = NodeHeat()
    run(heat, range(5), 33, 7)
    assert (told(heat).reads, told(heat).writes) == (5 * 33, 5 * 7)


def test_reads_that_came_together_are_counted_as_one_after_the_other() -> None:
    together, single = NodeHeat(), NodeHeat()
    rng = random.Random(1)
    for heat in (together, single):
        heat.advance(at(0))
    for _ in range(500):
        reads = [ReadOne(PID + number % 2, 1, b"%d" % rng.randrange(100)) for number in range(rng.randrange(100))]
        together.read_all(reads)
        for read in reads:
            single.read(read.pid, read.key)
    assert told(together) == told(single)
    assert told(together).looked_at == SAMPLE_KEYS


def test_a_steady_load_is_its_rate() -> None:
    heat = NodeHeat()
    run(heat, range(100), 40, 10)
    assert heat.rates(PID) == (pytest.approx(40, rel=0.01), pytest.approx(10, rel=0.01))


def test_half_is_forgotten_in_a_half_life() -> None:
    heat = NodeHeat()
    run(heat, range(100), 40, 10)
    for ms in range(0, HALF_LIFE_MS + 1, 500):
        heat.advance(at(100_000 + ms))
    assert heat.rates(PID) == (pytest.approx(20, rel=0.01), pytest.approx(5, rel=0.01))


def test_how_often_time_passes_makes_no_difference() -> None:
    often, seldom = NodeHeat(), NodeHeat()
    for heat in (often, seldom):
        run(heat, range(100), 40, 10)
    for ms in range(500, 20_001, 500):
        often.advance(at(100_000 + ms))
    seldom.advance(at(120_000))
    assert often.rates(PID) == pytest.approx(seldom.rates(PID))


def test_the_hottest_key_has_about_its_rate() -> None:
    heat, rng = NodeHeat(), random.Random(1)
    for second in range(60):
        heat.advance(at(second * 1000))
        for _ in range(2000):
            heat.read(PID, b"hot" if rng.random() < 0.4 else b"%d" % rng.randrange(1000))
    heat.advance(at(60_000))
    hottest = told(heat).hottest[0]
    assert hottest.name == b"hot"
    assert 600 <= hottest.load <= 900


def test_what_was_hot_long_ago_is_not_any_more() -> None:
    heat = NodeHeat()
    for second in range(120):
        heat.advance(at(second * 1000))
        for _ in range(500):
            heat.read(PID, b"morning" if second < 60 else b"evening")
    heat.advance(at(120_000))
    hottest = {one.name: one.load for one in told(heat).hottest}
    assert hottest[b"evening"] > 20 * hottest[b"morning"]


def test_weights_are_brought_back_before_they_grow_out_of_bounds() -> None:
    heat = NodeHeat()
    for second in range(0, 3600, 10):
        heat.advance(at(second * 1000))
        for _ in range(320):
            heat.read(PID, b"k")
    heat.advance(at(3_600_000))
    # Of 32 a second there are more right after they came than on average.
    assert 16 <= told(heat).hottest[0].load <= 64


@pytest.mark.parametrize("period", [2, EVERY // 2, EVERY])
def test_no_pattern_of_the_stream_escapes(period: int) -> None:
    heat = NodeHeat()
    heat.advance(at(0))
    for number in range(EVERY * 2000):
        heat.read(PID, b"%d" % (number % period // (period // 2)))
    heat.advance(at(1000))
    first, second = (one.load for one in told(heat).hottest)
    assert second == pytest.approx(first, rel=0.15)


def test_about_one_of_each_thirty_two_is_looked_at() -> None:
    heat = NodeHeat()
    heat.advance(at(0))
    for number in range(EVERY * 40):
        heat.write(PID, b"%d" % number)
    assert 30 <= told(heat).looked_at <= 50
    for number in range(EVERY * 400):
        heat.write(PID, b"%d" % number)
    assert told(heat).looked_at == SAMPLE_KEYS


@pytest.mark.parametrize(
    ("by", "names"),
    [
        (GroupBy.KEY, [b"{t1/u1}:a", b"{t1/u1}:b", b"{t1/u2}:c"]),
        (GroupBy.SHARD_KEY, [b"t1/u1", b"t1/u2"]),
        (GroupBy.TENANT, [b"t1"]),
    ],
)
def test_load_is_told_by_what_keys_have_in_common(by: GroupBy, names: list[bytes]) -> None:
    heat, rng = NodeHeat(), random.Random(1)
    heat.advance(at(0))
    for _ in range(5000):
        heat.write(PID, rng.choice([b"{t1/u1}:a", b"{t1/u1}:b", b"{t1/u2}:c"]))
    heat.advance(at(1000))
    groups = told(heat, by).groups
    assert sorted(one.name for one in groups) == names
    assert sum(one.load for one in groups) == pytest.approx(1)


def test_a_share_of_the_load_weighs_reads_and_writes_by_how_many_there_are() -> None:
    heat = NodeHeat()
    for second in range(60):
        heat.advance(at(second * 1000))
        for _ in range(900):
            heat.read(PID, b"read")
        for _ in range(100):
            heat.write(PID, b"written")
    heat.advance(at(60_000))
    shares = {one.name: one.load for one in told(heat).groups}
    assert shares == {b"read": pytest.approx(0.9, rel=0.02), b"written": pytest.approx(0.1, rel=0.1)}


@pytest.mark.parametrize("is_rising", [True, False])
def test_rising_writes_are_noticed(is_rising: bool) -> None:
    heat = NodeHeat()
    numbers = list(range(3000))
    if not is_rising:
        random.Random(1).shuffle(numbers)
    for number in numbers:
        heat.write(PID, b"%08d" % number)
    assert told(heat).is_rising is is_rising


def test_a_transaction_is_its_reads_and_writes() -> None:
    heat = NodeHeat()
    operations = [TxnOp(number, kind, b"k%d" % number) for number, kind in enumerate(OpKind)]
    heat.transact(PID, TxnPart([TxnIf(b"c", exists=True)], operations, operations))
    assert (told(heat).reads, told(heat).writes) == (2, 3)


def test_a_split_is_found_by_what_was_written_of_late() -> None:
    heat, rng = NodeHeat(), random.Random(1)
    ask = FindSplit(PID, 1, SplitBy.LOAD)
    assert heat.split_point(ask).key is None
    written = Counter[bytes]()
    for second in range(10):
        heat.advance(at(second * 1000))
        for _ in range(500):
            key = b"%04d" % min(9999, int(rng.expovariate(1 / 500)))
            written[key] += 1
            heat.write(PID, key)
    heat.advance(at(10_000))
    point = heat.split_point(ask).key
    assert point is not None
    below = sum(count for key, count in written.items() if key < point)
    assert 0.3 <= below / written.total() <= 0.7


def test_what_is_forgotten_is_as_if_it_had_never_been() -> None:
    heat = NodeHeat()
    run(heat, range(5), 33, 7)
    heat.forget(PID)
    assert heat.rates(PID) == (0.0, 0.0)
    assert told(heat) == HeatOf(CopyReport(PID, 1, True, 0, 0))
