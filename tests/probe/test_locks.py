"""When a lock of a prepared transaction is too old."""

from __future__ import annotations

from typing import Any

import pytest
from probe.locks import LOCK_S_MAX, LockAges, TooOld, primary_of

TXN = "1f-00ff-1"
PRIMARY = 0x1F
OLD = LOCK_S_MAX + 1


def prepared(age_s: float, partition: int = 3) -> list[dict[str, Any]]:
    return [{"txn": TXN, "partition": partition, "age_s": age_s, "keys": []}]


def led(leader: str | None = "n1", since_s: float = 0.0) -> LockAges:
    ages = LockAges()
    ages.see_leaders({PRIMARY: leader}, since_s)
    return ages


def test_an_id_names_the_partition_that_decides() -> None:
    assert primary_of(TXN) == PRIMARY


def test_the_oldest_lock_is_told() -> None:
    ages = led()
    for age_s in (1.0, 3.0, 2.0):
        ages.see(prepared(age_s), [], 100.0)
    ages.excuse(101.0)
    ages.see(prepared(9.0), [], 102.0)
    assert (ages.oldest_s, ages.unexcused_s, ages.looks) == (9.0, 3.0, 4)


def test_one_that_was_too_old_twice_is_an_error() -> None:
    ages = led()
    ages.see(prepared(OLD), [], 100.0)
    with pytest.raises(TooOld, match=TXN):
        ages.see(prepared(OLD + 0.5), [], 100.5)


def test_once_or_in_two_partitions_is_none() -> None:
    ages = led()
    ages.see(prepared(OLD), [], 100.0)
    ages.see(prepared(OLD, partition=4), [], 100.5)
    ages.see([], [], 101.0)
    ages.see(prepared(OLD, partition=4), [], 101.5)


@pytest.mark.parametrize(("leader", "since_s"), [(None, 101.0), ("n2", 100.0)])
def test_as_long_as_nobody_leads_its_primary_or_another_one_began_to_it_is_excused(
    leader: str | None, since_s: float
) -> None:
    ages = led()
    for now_s in (100.0, 100.5):
        ages.see_leaders({PRIMARY: leader}, now_s)
        ages.see(prepared(OLD), [], now_s)
    ages.see_leaders({PRIMARY: "n2"}, 101.0)
    for now_s in (since_s + LOCK_S_MAX, since_s + LOCK_S_MAX + 0.5):
        ages.see(prepared(OLD), [], now_s)
    with pytest.raises(TooOld):
        ages.see(prepared(OLD), [], since_s + LOCK_S_MAX + 1.0)


def test_harmed_links_and_silent_nodes_excuse_it() -> None:
    ages = led()
    ages.excuse(100.0)
    ages.see(prepared(OLD), [], 105.0)
    ages.see(prepared(OLD), ["n3"], 106.0)
    for now_s in (107.0, 116.0):
        ages.see(prepared(OLD), [], now_s)
    ages.see(prepared(OLD), [], 116.5)
    with pytest.raises(TooOld):
        ages.see(prepared(OLD), [], 117.0)


def test_a_primary_that_nobody_has_seen_excuses_it() -> None:
    ages = LockAges()
    for now_s in (100.0, 200.0):
        ages.see(prepared(OLD), [], now_s)
