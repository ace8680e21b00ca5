"""What each strategy does with keys of which that is known."""

from __future__ import annotations

import random
from functools import cache

import pytest

from cluster.advice.candidates import GROWN, Cluster, candidates, quantiles
from cluster.advice.figures import Figures, figures_of
from cluster.advice.sample import Sample
from cluster.advice.verdict import advice, word_of

CLUSTER = Cluster(nodes=4, replicas=2, partitions=16)
LABELS = ("consistent", "hash", "range", GROWN, "directory", "geo")
SCAN = [(b"u020/", b"u0200")]


@cache
def sample(kind: str) -> Sample:
    rng = random.Random(1)
    users = [b"u%03d/%04d" % (rng.randrange(40), number) for number in range(4000)]
    return Sample(
        {
            "users": users,
            "rising": [b"id%08d" % number for number in range(4000)],
            "two tags": [b"{%s}%04d" % (rng.choice((b"acme", b"umbrella")), number) for number in range(4000)],
            "three tags": [b"{t%d}%04d" % (rng.randrange(3), number) for number in rng.sample(range(4000), 4000)],
            "six tags": [b"{t%d}%04d" % (rng.randrange(6), number) for number in rng.sample(range(4000), 4000)],
        }[kind]
    )


@cache
def figures(kind: str, scans: bool = True) -> dict[str, Figures]:
    found = [figures_of(one, sample(kind), SCAN if scans else []) for one in candidates(sample(kind), CLUSTER)]
    return {one.label: one for one in found}


@pytest.mark.parametrize("kind", ["users", "rising", "two tags"])
def test_every_strategy_places_every_key(kind: str) -> None:
    found = figures(kind)
    assert tuple(found) == LABELS
    for one in found.values():
        assert sum(one.keys_of_partitions) == len(sample(kind))
        assert sum(one.keys_of_nodes.values()) == 2 * len(sample(kind))
        assert len(one.keys_of_nodes) == 4
        assert one.partitions == len(one.keys_of_partitions)


def test_many_shard_keys_are_even_with_each() -> None:
    assert all(one.fullest_node < 1.2 for one in figures("users").values())


def test_few_shard_keys_are_uneven_by_a_hash_and_even_by_ranges() -> None:
    found = figures("two tags")
    assert found["consistent"].fullest_partition > 7
    assert found["range"].fullest_partition < 1.1


def test_counting_moves_most_and_the_ring_the_newcomers_part() -> None:
    found = figures("users")
    assert found["hash"].moved > 0.5
    assert all(found[label].moved < 0.25 for label in LABELS if label != "hash")
    assert all(one.moved_even == 0.2 for one in found.values())


def test_a_scan_asks_few_ranges_and_everybody_else() -> None:
    found = figures("users")
    assert [found[label].touched[0] for label in ("consistent", "hash", "directory", "geo")] == [16] * 4
    assert found["range"].touched[0] <= 2
    assert found[GROWN].touched[0] <= 3


def test_rising_keys_go_to_one_node_at_a_time_in_ranges_alone() -> None:
    found = figures("rising")
    assert found["range"].at_a_time > 0.8
    assert found[GROWN].at_a_time > 0.8
    assert found["consistent"].at_a_time < 0.4


def test_a_directory_keeps_tenants_together() -> None:
    tenants = sample("users").tenants
    found = figures("users")["directory"]
    assert len(tenants) == 40
    assert max(found.keys_of_partitions) >= max(tenants.values())


def test_a_new_tenant_goes_to_the_partition_with_the_fewest_tenants_then_the_fewest_keys() -> None:
    keys = [b"a/1", b"b/1", b"b/2", b"c/1", b"c/2", b"c/3", b"d/1", b"e/1", b"f/1", b"g/1"]
    directory = next(one for one in candidates(Sample(keys), Cluster(1, 1, 3)) if one.label == "directory")
    found = [directory.partitioner.locate(b"%s/x" % tenant) for tenant in (b"a", b"b", b"c", b"d", b"e", b"f", b"g")]
    assert found == [1, 2, 3, 1, 2, 3, 1]


def test_a_region_stays_in_its_zone() -> None:
    geo = next(one for one in candidates(sample("users"), CLUSTER) if one.label == "geo")
    zones = dict(geo.keyspace.regions)
    halves = {"a": set(geo.keyspace.pids[:8]), "b": set(geo.keyspace.pids[8:])}
    assert all(geo.partitioner.locate(b"%s/x" % region) in halves[zone] for region, zone in zones.items())
    assert {member.zone for member in geo.members} == {"a", "b"}


def test_quantiles_cut_into_equal_parts() -> None:
    keys = [b"%03d" % number for number in range(100)]
    bounds = quantiles(keys, 4)
    assert [sum(key < bound for key in keys) for bound in bounds] == [25, 50, 75]
    assert quantiles([b"a", b"b"], 16) == [b"b"]
    assert quantiles([b"a"], 16) == []


@pytest.mark.parametrize("cluster", [Cluster(1, 1, 1), Cluster(2, 2, 3), Cluster(3, 3, 64), Cluster(5, 4, 7)])
def test_any_size_of_a_cluster_has_its_figures(cluster: Cluster) -> None:
    keys = Sample([b"a/1", b"b/2", b"c/3"])
    for candidate in candidates(keys, cluster):
        found = figures_of(candidate, keys, SCAN)
        assert sum(found.keys_of_partitions) == 3
        assert found.fullest_node >= 1


# ---- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "scans", "choice", "says"),
    [
        ("users", True, "range", "instead of all 16"),
        ("users", False, "consistent", "it is even"),
        ("rising", False, "consistent", "keys come in order"),
        ("two tags", False, "consistent", "no strategy spreads that"),
        ("three tags", False, "range", "3 shard keys"),
        ("six tags", False, "directory", "where there is room"),
    ],
)
def test_advice_rests_on_what_was_found(kind: str, scans: bool, choice: str, says: str) -> None:
    found = list(figures(kind, scans).values())
    chosen, why = advice(found, sample(kind))
    assert (chosen, says in why) == (choice, True), why


@pytest.mark.parametrize(
    ("kind", "label", "says"),
    [
        ("users", "consistent", "even; a scan asks all 16 partitions"),
        ("users", "hash", "of all moves when a node joins"),
        ("users", "directory", "a table of 40 tenants"),
        ("users", "geo", "40 regions"),
        ("rising", GROWN, "of what comes at a time goes to one of 4 nodes"),
        ("two tags", "consistent", "the largest of 2 shard keys, "),
    ],
)
def test_each_strategy_has_its_word(kind: str, label: str, says: str) -> None:
    assert says in word_of(figures(kind)[label], sample(kind))
