"""What every partitioner promises, whichever it is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.directories import Directories, Directory
from cluster.partitioning import Partitioner
from cluster.partitioning.directory import DirectoryPartitioner
from cluster.partitioning.of_keyspace import partitioner_of
from kvstore.keys import tenant_of
from kvstore.map_values import KeyspaceInfo, Tenant

BOUNDS = (b"\x00", b"b", b"b/", b"b0", b"k{a}", b"k{b}", b"\xff\xff")
KEYSPACES = {
    "consistent": KeyspaceInfo("k", "consistent", tuple(range(10, 17)), 2, 1),
    "hash": KeyspaceInfo("k", "hash", (3, 9, 4), 2, 1),
    "one partition": KeyspaceInfo("k", "consistent", (5,), 2, 1),
    "range": KeyspaceInfo("k", "range", (9, 2, 3, 14, 5, 6, 7, 8), 2, 1, bounds=BOUNDS),
    "one range": KeyspaceInfo("k", "range", (6,), 2, 1),
    "directory": KeyspaceInfo("k", "directory", (21, 20, 22), 2, 1),
    "geo": KeyspaceInfo(
        *("k", "geo", (1, 2, 3, 4, 5, 6), 2, 1),
        zones=(("east", 2), ("west", 4)),
        regions=((b"b", "west"), (b"a", "east")),
        default_zone="east",
    ),
}

# Keys that are near each other, with tags and tenants of few kinds among them, and any others.
PIECES = st.sampled_from([b"a", b"b", b"c", b"/", b"{", b"}", b"{a}", b"{b/c}", b"{}", b"\x00", b"\xff"])
KEYS = st.one_of(st.lists(PIECES, min_size=1, max_size=8).map(b"".join), st.binary(min_size=1, max_size=480))


class EveryTenant(dict[bytes, int]):
    """Every tenant has a partition."""

    def __missing__(self, name: bytes) -> int:
        return 20 + sum(name) % 3

    def get(self, name: bytes, default: Any = None) -> int:  # type: ignore[override]
        return self[name]


@pytest.fixture(params=sorted(KEYSPACES))
def partitioner(request: pytest.FixtureRequest) -> Partitioner:
    keyspace = KEYSPACES[request.param]
    if keyspace.strategy == "directory":
        return DirectoryPartitioner(keyspace.pids, Directory(cast(Any, EveryTenant())))
    return partitioner_of(keyspace, Directories())


@pytest.fixture
def pids(request: pytest.FixtureRequest, partitioner: Partitioner) -> set[int]:
    return set(KEYSPACES[request.node.callspec.params["partitioner"]].pids)


same_object = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_object
@given(key=KEYS)
def test_every_key_has_one_partition_of_the_keyspace(partitioner: Partitioner, pids: set[int], key: bytes) -> None:
    found = partitioner.locate(key)
    assert found in pids
    assert partitioner.locate(key) == found


@same_object
@given(start=KEYS | st.just(b""), end=KEYS | st.just(b""), keys=st.lists(KEYS, max_size=5), rest=KEYS)
def test_no_partition_of_a_key_in_a_range_is_missed(
    partitioner: Partitioner, pids: set[int], start: bytes, end: bytes, keys: list[bytes], rest: bytes
) -> None:
    within = partitioner.pids_within(start, end)
    assert len(set(within)) == len(within)
    assert set(within) <= pids
    for key in (start, start + rest, *keys):
        if key and start <= key and (not end or key < end):
            assert partitioner.locate(key) in within


@same_object
@given(prefix=KEYS, rest=KEYS | st.just(b""))
def test_no_partition_of_a_key_with_a_prefix_is_missed(partitioner: Partitioner, prefix: bytes, rest: bytes) -> None:
    head = prefix.rstrip(b"\xff")
    end = head[:-1] + bytes([head[-1] + 1]) if head else b""
    assert partitioner.locate(prefix + rest) in partitioner.pids_within(prefix, end)


@same_object
@given(key=KEYS)
def test_the_explanation_ends_with_the_partition(partitioner: Partitioner, key: bytes) -> None:
    *steps, last = partitioner.explain(key)
    assert steps
    assert all(isinstance(step, str) and step for step in steps)
    assert last.startswith(f"partition: {partitioner.locate(key)} ")


def test_the_partitions_of_all_keys_are_those_of_the_keyspace(partitioner: Partitioner, pids: set[int]) -> None:
    assert set(partitioner.pids_within(b"", b"")) == pids


SAME_ELSEWHERE = """
import sys
from contract.test_partitioner import KEYSPACES, TENANTS, SOME_KEYS
from cluster.partitioning.directory import DirectoryPartitioner
from cluster.partitioning.of_keyspace import partitioner_of
for name, keyspace in sorted(KEYSPACES.items()):
    print(name, [partitioner_of(keyspace, TENANTS).locate(key) for key in SOME_KEYS])
"""
SOME_KEYS = [b"%s/key-%d" % (tenant, number) for tenant in (b"a", b"b", b"c") for number in range(20)]
TENANTS = Directories().with_tenants(Tenant("k", name, 20 + place) for place, name in enumerate((b"a", b"b", b"c")))


def test_a_key_has_the_same_partition_in_every_process() -> None:
    told = subprocess.run(
        [sys.executable, "-c", SAME_ELSEWHERE],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)},
    ).stdout
    here = [
        f"{name} {[partitioner_of(keyspace, TENANTS).locate(key) for key in SOME_KEYS]}"
        for name, keyspace in sorted(KEYSPACES.items())
    ]
    assert told.splitlines() == here


def test_partitioners_that_follow_tenants_agree_on_what_a_tenant_is() -> None:
    assert tenant_of(b"x{a/b}") == b"a"
    geo = partitioner_of(KEYSPACES["geo"], Directories())
    assert {geo.locate(b"x%d{b/%d}" % (n, n)) for n in range(100)} == {3, 4, 5, 6}
