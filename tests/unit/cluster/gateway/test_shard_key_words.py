"""What is said of a shard key, and of which nothing is said."""

from __future__ import annotations

import pytest

from cluster.gateway.shard_key_words import PartitionLoad, words

Groups = list[tuple[bytes, float]]
STRATEGIES = ("consistent", "hash", "range", "directory", "geo")


def partition(
    pid: int, keys: int = 100, writes: float = 10.0, groups: Groups | None = None, **fields: bool
) -> PartitionLoad:
    return PartitionLoad(pid, keys, 10 * keys, 0.0, writes, fields.get("is_rising", False), 64, groups or [])


def even(count: int = 16, *, is_rising: bool = False) -> list[PartitionLoad]:
    return [partition(pid, groups=[(b"k%d" % pid, 0.05)], is_rising=is_rising) for pid in range(count)]


def codes(strategy: str, partitions: list[PartitionLoad]) -> list[str]:
    return [word.code for word in words(strategy, partitions)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_an_even_keyspace_nothing_is_said(strategy: str) -> None:
    assert words(strategy, even()) == []


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("consistent", "2 shard keys have 56% of the load: 'acme', 'umbrella'"),
        ("geo", "2 shard keys have"),
        ("directory", "2 tenants have 56% of the load"),
        ("range", "2 keys have 56% of the load"),
    ],
)
def test_a_handful_with_most_of_the_load_is_named(strategy: str, says: str) -> None:
    hot = [partition(20, writes=100, groups=[(b"acme", 0.9)]), partition(21, writes=100, groups=[(b"umbrella", 0.9)])]
    (word,) = words(strategy, [*even(12), *hot])
    assert word.code == "few_values"
    assert says in word.text


def test_one_with_most_of_the_load_is_named_alone() -> None:
    (word,) = words("consistent", [*even(), partition(20, writes=500, groups=[(b"acme", 0.99)])])
    assert "1 shard key has" in word.text


def test_what_the_same_shard_key_has_in_several_partitions_is_added_up() -> None:
    parts = [partition(pid, groups=[(b"acme", 0.6)]) for pid in range(16)]
    (word,) = words("range", parts)
    assert "1 key has 60% of the load" in word.text


def test_a_load_that_is_hardly_there_says_nothing() -> None:
    assert words("consistent", [partition(1, writes=0.9, groups=[(b"acme", 1.0)])]) == []


def test_too_few_samples_say_nothing() -> None:
    assert words("consistent", [PartitionLoad(1, 10, 10, 0.0, 100.0, False, 63, [(b"acme", 1.0)])]) == []


def test_most_keys_in_few_partitions_are_few_values() -> None:
    parts = [*even(14), partition(20, keys=100_000), partition(21, keys=100_000)]
    (word,) = words("consistent", parts)
    assert word.code == "few_values"
    assert "1 of 16 partitions" not in word.text
    assert "2 of 16 partitions have 99% of the keys" in word.text


def test_ranges_that_were_not_cut_yet_say_nothing_of_the_keys() -> None:
    assert words("range", [*even(15), partition(20, keys=1_000_000)]) == []


def test_few_keys_in_all_say_nothing() -> None:
    assert words("consistent", [*(partition(pid, keys=0) for pid in range(15)), partition(20, keys=255)]) == []


@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("range", "takes all writes; put something that varies in front"),
        ("consistent", "spread well here"),
        ("directory", "many tenants"),
    ],
)
def test_rising_keys_are_said_to_be_bad_where_they_are(strategy: str, says: str) -> None:
    (word,) = words(strategy, even(is_rising=True))
    assert word.code == "rising"
    assert says in word.text


def test_writes_that_mostly_do_not_rise_do_not_rise() -> None:
    parts = [*even(8, is_rising=True), *even(8)]
    assert codes("range", parts) == []


def test_an_idle_keyspace_does_not_rise() -> None:
    assert words("range", [partition(1, writes=0.0, is_rising=True)]) == []
