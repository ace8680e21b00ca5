"""How keys change their partition in the map: one owner in every version, and no step twice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.cluster_map import ClusterMap, PlaceKeyspace, PutKeyspace, Reshape
from cluster.control.reshapes import abort, begin, begin_split, is_free, retire, segments, switch, with_range
from kvstore.map_values import Entry, KeyspaceInfo, Rid, Tenant, TransferState

N1, N2 = Rid("n1", b"1" * 16), Rid("n2", b"2" * 16)


def entry(pid: int) -> Entry:
    return Entry(pid, "r", 1, 3, N1, (N1, N2), (N1, N2), leader_boot=1)


def a_map(keyspace: KeyspaceInfo) -> ClusterMap:
    entries = tuple(entry(pid) for pid in keyspace.pids)
    return ClusterMap.empty(b"cluster1").changed([PutKeyspace(keyspace, None), PlaceKeyspace(entries)])[0]


RANGES = KeyspaceInfo("r", "range", (1, 2, 3), 2, 1, layout=4, bounds=(b"g", b"p"))


@pytest.fixture
def cluster() -> ClusterMap:
    return a_map(RANGES)


def landed(cluster: ClusterMap, change: Reshape | None) -> ClusterMap:
    assert change is not None
    after, outcomes = cluster.changed([change])
    assert outcomes == (True,)
    return after


def handed(cluster: ClusterMap, pid: int) -> ClusterMap:
    """As the source's leader says it."""
    source = cluster.entries[pid]
    assert source.transfer is not None
    transfer = msgspec.structs.replace(source.transfer, state=TransferState.HANDED)
    return landed(cluster, Reshape((msgspec.structs.replace(source, ver=source.ver + 1, transfer=transfer),)))


@pytest.mark.parametrize(
    ("start", "end", "target", "expected"),
    [
        (b"j", b"p", 9, [(b"", b"g", 1), (b"g", b"j", 2), (b"j", b"p", 9), (b"p", b"", 3)]),
        (b"g", b"j", 9, [(b"", b"g", 1), (b"g", b"j", 9), (b"j", b"p", 2), (b"p", b"", 3)]),
        (b"z", b"", 9, [(b"", b"g", 1), (b"g", b"p", 2), (b"p", b"z", 3), (b"z", b"", 9)]),
        (b"", b"g", 2, [(b"", b"p", 2), (b"p", b"", 3)]),
        (b"p", b"", 2, [(b"", b"g", 1), (b"g", b"", 2)]),
        (b"n", b"p", 3, [(b"", b"g", 1), (b"g", b"n", 2), (b"n", b"", 3)]),
    ],
)
def test_a_range_goes_to_another_partition(
    start: bytes, end: bytes, target: int, expected: list[tuple[bytes, bytes, int]]
) -> None:
    assert segments(with_range(RANGES, start, end, target)) == expected


@pytest.mark.parametrize(("start", "end", "target"), [(b"h", b"i", 9), (b"p", b"", 1)])
def test_no_partition_gets_two_ranges(start: bytes, end: bytes, target: int) -> None:
    with pytest.raises(ValueError, match="two ranges"):
        with_range(RANGES, start, end, target)


@given(st.binary(max_size=3), st.sampled_from([1, 2, 3]), st.binary(max_size=3))
def test_a_split_moves_the_keys_from_its_point_on_and_no_others(at: bytes, source: int, key: bytes) -> None:
    owner = {pid: (first, last) for first, last, pid in segments(RANGES)}
    first, last = owner[source]
    if not first < at or (last and at >= last):
        return
    after = with_range(RANGES, at, last, 9)

    def owner_of(keyspace: KeyspaceInfo) -> int:
        return next(pid for low, high, pid in segments(keyspace) if low <= key and (not high or key < high))

    takes = key >= at and (not last or key < last)
    assert owner_of(after) == (9 if takes else owner_of(RANGES))


def test_a_split_switches_both_entries_and_the_keyspace_in_one_step(cluster: ClusterMap) -> None:
    transfer, start = begin_split(cluster.entries[2], RANGES, 9, (N2, N1), b"j", b"p")
    begun = landed(cluster, start)
    assert begun.keyspaces == cluster.keyspaces
    assert (begun.entries[9].hidden, begun.entries[2].hidden) == (transfer, None)
    assert switch(begun.entries[2], begun) is None
    ready = handed(begun, 2)
    after = landed(ready, switch(ready.entries[2], ready))
    assert (after.keyspaces["r"].pids, after.keyspaces["r"].bounds) == ((1, 2, 9, 3), (b"g", b"j", b"p"))
    assert {after.entries[pid].layout for pid in (2, 9)} == {after.keyspaces["r"].layout} == {5}
    assert (after.entries[9].hidden, after.entries[2].hidden) == (None, after.entries[2].transfer)
    assert switch(after.entries[2], after) is None
    assert ready.changed([switch(ready.entries[2], ready)] * 2)[1] == (True, False)  # type: ignore[list-item]


def test_a_merge_leaves_the_source_without_keys(cluster: ClusterMap) -> None:
    _, start = begin(cluster.entries[2], cluster.entries[1], b"g", b"p")
    ready = handed(landed(cluster, start), 2)
    after = landed(ready, switch(ready.entries[2], ready))
    assert segments(after.keyspaces["r"]) == [(b"", b"p", 1), (b"p", b"", 3)]
    gone = landed(after, retire(after.entries[2])).entries[2]
    assert (gone.leader, gone.replicas, gone.in_sync) == (None, (), ())


def test_a_tenant_goes_to_another_partition() -> None:
    cluster = a_map(KeyspaceInfo("r", "directory", (1, 2), 2, 1))
    _, start = begin(cluster.entries[1], cluster.entries[2], tenant=b"acme")
    ready = handed(landed(cluster, start), 1)
    after = landed(ready, switch(ready.entries[1], ready))
    assert after.tenants == {("r", b"acme"): Tenant("r", b"acme", 2)}
    assert (after.keyspaces["r"].pids, after.keyspaces["r"].layout) == ((1, 2), 1)


def test_a_transfer_that_is_called_off_leaves_the_keys_where_they_were(cluster: ClusterMap) -> None:
    _, start = begin_split(cluster.entries[2], RANGES, 9, (N2,), b"j", b"p")
    begun = landed(cluster, start)
    after = landed(begun, abort(begun.entries[2], begun))
    assert after.keyspaces == cluster.keyspaces
    aborting = after.entries[9].transfer
    assert after.entries[2].transfer is None
    assert aborting is not None
    assert aborting.state is TransferState.ABORTING
    ready = handed(begun, 2)
    assert abort(ready.entries[2], ready) is None
    assert ready.changed([abort(begun.entries[2], begun)])[1] == (False,)  # type: ignore[list-item]


def test_an_id_is_not_used_again_for_a_later_transfer(cluster: ClusterMap) -> None:
    first, start = begin(cluster.entries[2], cluster.entries[1], b"g", b"p")
    begun = landed(cluster, start)
    after = landed(begun, abort(begun.entries[2], begun))
    second, _ = begin(after.entries[2], after.entries[3], b"g", b"p")
    third, _ = begin(after.entries[3], after.entries[2], b"p", b"")
    assert len({first.id, second.id, third.id}) == 3


def test_nothing_begins_where_something_goes_on(cluster: ClusterMap) -> None:
    assert is_free(cluster.entries[1], cluster)
    _, start = begin(cluster.entries[2], cluster.entries[1], b"g", b"p")
    begun = landed(cluster, start)
    assert [is_free(begun.entries[pid], begun) for pid in (1, 2, 3)] == [False, False, True]
    assert not is_free(msgspec.structs.replace(entry(3), leader=None), cluster)
    assert not is_free(msgspec.structs.replace(entry(3), adding=(N1,)), cluster)
    assert not is_free(None, cluster)
