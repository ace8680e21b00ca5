"""Keys, values and new records of the load tests."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from records import OFFSETS, Inserts, Values, key_of


def test_keys_are_those_of_ycsb() -> None:
    assert [key_of(0), key_of(1)] == ["user6284781860667377211", "user8517097267634966620"]


@given(st.lists(st.integers(0, 2**40), unique=True, max_size=200))
def test_no_two_records_have_one_key(numbers: list[int]) -> None:
    assert len({key_of(number) for number in numbers}) == len(numbers)


@given(size=st.integers(1, 3_000), draw=st.floats(0, 1 - 2**-53))
def test_values_have_the_size_asked_for(size: int, draw: float) -> None:
    assert len(Values(bytes(size + OFFSETS), size).pick(draw)) == size


def test_values_differ() -> None:
    values = Values(random.Random(1).randbytes(100 + OFFSETS), 100)
    assert len({values.pick(number / 1_000) for number in range(1_000)}) == 1_000


def test_a_record_counts_when_all_before_it_do() -> None:
    inserts = Inserts(10)
    assert [inserts.take() for _ in range(3)] == [10, 11, 12]
    inserts.acknowledge(12)
    inserts.acknowledge(11)
    assert inserts.count == 10
    inserts.acknowledge(10)
    assert inserts.count == 13


def test_a_number_that_was_given_back_is_taken_first() -> None:
    inserts = Inserts(0)
    taken = [inserts.take() for _ in range(3)]
    inserts.give_back(taken[1])
    assert inserts.take() == taken[1]
    assert inserts.take() == 3


@given(st.randoms(use_true_random=False))
def test_whatever_the_order_all_acknowledged_records_count_in_the_end(chance: random.Random) -> None:
    inserts = Inserts(5)
    under_way: list[int] = []
    acknowledged = set(range(5))
    for _ in range(100):
        under_way.append(inserts.take())
        number = under_way.pop(chance.randrange(len(under_way)))
        if chance.random() < 0.3:
            inserts.give_back(number)
        else:
            inserts.acknowledge(number)
            acknowledged.add(number)
        assert set(range(inserts.count)) <= acknowledged
        assert inserts.count not in acknowledged
