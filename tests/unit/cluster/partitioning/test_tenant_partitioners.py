"""Tenants in a directory, and regions in zones."""

from __future__ import annotations

import pytest

from cluster.directories import Directories, Directory
from cluster.partitioning import UnknownTenant
from cluster.partitioning.directory import DirectoryPartitioner
from cluster.partitioning.geo import GeoPartitioner
from cluster.partitioning.of_keyspace import partitioner_of
from kvstore.map_values import KeyspaceInfo, Tenant

DIRECTORY = DirectoryPartitioner((1, 2, 3), Directory().with_homes({b"acme": 2, b"bolt": 3}))
GEO = GeoPartitioner({"eu": (1, 2), "us": (3, 4)}, {b"de": "eu", b"fr": "eu", b"ny": "us"}, "us")


def test_a_tenant_s_keys_are_in_its_partition() -> None:
    assert [DIRECTORY.locate(key) for key in (b"acme/1", b"acme", b"x{acme/2}y", b"bolt/acme")] == [2, 2, 2, 3]


def test_a_tenant_that_is_not_listed_is_named() -> None:
    with pytest.raises(UnknownTenant) as raised:
        DIRECTORY.locate(b"new/1")
    assert raised.value.tenant == b"new"
    with pytest.raises(UnknownTenant):
        DIRECTORY.explain(b"new/1")


def test_a_range_touches_all_partitions_but_where_one_tag_is_in_all_its_keys() -> None:
    assert DIRECTORY.pids_within(b"acme/", b"acme0") == (1, 2, 3)
    assert DIRECTORY.pids_within(b"{acme}/", b"{acme}0") == (2,)
    assert DIRECTORY.pids_within(b"{acme}", b"{acme~") == (2,)
    assert DIRECTORY.pids_within(b"{new}/", b"{new}0") == (1, 2, 3)
    assert GEO.pids_within(b"{de/1}/", b"{de/1}0") == (GEO.locate(b"{de/1}"),)
    assert GEO.pids_within(b"de/", b"de0") == (1, 2, 3, 4)


def test_a_region_s_keys_are_in_its_zone_s_partitions_and_all_others_in_the_default_zone_s() -> None:
    def located(region: bytes) -> set[int]:
        return {GEO.locate(b"%s/%d" % (region, number)) for number in range(100)}

    assert located(b"de") == located(b"fr") == {1, 2}
    assert located(b"ny") == located(b"elsewhere") == {3, 4}


def test_the_steps_of_the_choice_say_whose_zone_it_is() -> None:
    assert "zone: eu, its region's" in GEO.explain(b"de/1")
    assert any("the default" in step for step in GEO.explain(b"jp/1"))
    assert "tenant: 'acme'" in DIRECTORY.explain(b"acme/1")[0]


def test_regions_of_a_zone_without_partitions_are_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        GeoPartitioner({"eu": (1,)}, {b"de": "mars"}, "eu")
    with pytest.raises(ValueError, match="at least one"):
        DirectoryPartitioner((), Directory())


def test_tenants_of_a_former_or_another_keyspace_do_not_count() -> None:
    keyspace = KeyspaceInfo("k", "directory", (4, 5), 2, 1)
    tenants = Tenant("k", b"old", 2), Tenant("k", b"new", 5), Tenant("other", b"b", 4)
    partitioner = partitioner_of(keyspace, Directories().with_tenants(tenants))
    assert partitioner.locate(b"new/1") == 5
    for key in (b"old/1", b"b/1"):
        with pytest.raises(UnknownTenant):
            partitioner.locate(key)
    assert partitioner.pids_within(b"{old}/", b"{old}0") == (4, 5)
    assert "directory: one of 1 tenants that have a partition" in partitioner.explain(b"new/1")
