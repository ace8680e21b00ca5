"""Guards, versions and updates of the cluster map."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cluster.cluster_map import Change, ClusterMap, PlaceKeyspace, PutEntry, PutNode, PutTenant, Reshape
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid, Tenant, Transfer, TransferState
from kvstore.messages import MapUpdate

RID = Rid("n1", b"1" * 16)
EMPTY = ClusterMap.empty(b"cluster1")


def entry(pid: int, ver: int, epoch: int = 0) -> Entry:
    return Entry(pid, "default", ver, epoch, None, (RID,), (RID,))


def node(boot: int) -> NodeInfo:
    return NodeInfo("n1", "127.0.0.1:1", "a", 1.0, boot)


def test_an_entry_is_taken_only_with_a_higher_version() -> None:
    cluster = EMPTY.updated(MapUpdate(5, [], [entry(1, 4)]))
    assert cluster.updated(MapUpdate(6, [], [entry(1, 4, epoch=9), entry(2, 1)])).entries == {
        1: entry(1, 4),
        2: entry(2, 1),
    }
    assert cluster.updated(MapUpdate(6, [], [entry(1, 5)])).entries == {1: entry(1, 5)}
    assert cluster.with_entries([entry(1, 3)]) is cluster


def test_an_update_that_is_older_changes_no_node_and_no_keyspace() -> None:
    new = KeyspaceInfo("default", "consistent", (1,), 2, 1)
    cluster = EMPTY.updated(MapUpdate(5, [node(2)], [], [new]))
    late = cluster.updated(MapUpdate(4, [node(1)], [entry(1, 1)], [KeyspaceInfo("default", "consistent", (), 2, 1)]))
    assert (late.map_ver, late.nodes, late.keyspaces) == (5, {"n1": node(2)}, {"default": new})
    assert late.entries == {1: entry(1, 1)}


def test_the_whole_map_as_an_update_makes_the_same_map() -> None:
    cluster, _ = EMPTY.changed([PutNode(node(1), None), PlaceKeyspace((entry(1, 1), entry(2, 1)))])
    assert EMPTY.updated(cluster.full_update()) == cluster


def test_a_change_leaves_the_map_it_came_from_as_it_was() -> None:
    before, _ = EMPTY.changed([PlaceKeyspace((entry(1, 1),))])
    after, landed = before.changed([PutEntry(entry(1, 2))])
    assert landed == (True,)
    assert (before.entries[1].ver, after.entries[1].ver) == (1, 2)
    assert (before.map_ver, after.map_ver) == (1, 2)


def test_changes_that_all_fail_leave_the_same_map() -> None:
    after, landed = EMPTY.changed([PutEntry(entry(1, 2)), PutNode(node(2), node(1))])
    assert after is EMPTY
    assert landed == (False, False)


proposals = st.lists(
    st.one_of(
        st.builds(lambda pid: PlaceKeyspace((entry(pid, 1),)), st.integers(1, 3)),
        st.builds(lambda pid, ver: PutEntry(entry(pid, ver)), st.integers(1, 3), st.integers(1, 5)),
        st.builds(
            lambda boot, guard: PutNode(node(boot), node(guard) if guard else None),
            st.integers(1, 4),
            st.integers(0, 4),
        ),
    ),
    max_size=12,
)


@given(proposals)
def test_versions_rise_by_one_and_a_batch_equals_its_changes_one_by_one(changes: list[Change]) -> None:
    together, landed = EMPTY.changed(changes)
    cluster = EMPTY
    for change, lands in zip(changes, landed, strict=True):
        after, (alone,) = cluster.changed([change])
        assert alone == lands
        assert after.map_ver == cluster.map_ver + lands
        for pid, old in cluster.entries.items():
            assert after.entries[pid].ver - old.ver in (0, 1)
        cluster = after
    assert cluster == together


@given(proposals, st.randoms(use_true_random=False))
def test_updates_in_any_order_lead_to_the_same_entries(changes: list[Change], chance: random.Random) -> None:
    cluster, updates = EMPTY, []
    for change in changes:
        cluster, _ = cluster.changed([change])
        updates.append(cluster.touched([change]))
    chance.shuffle(updates)
    follower = EMPTY
    for update in updates:
        follower = follower.updated(update)
    assert follower.entries == cluster.entries


RANGES = KeyspaceInfo("r", "range", (1, 2), 1, 1, bounds=(b"m",))


def test_a_reshape_lands_whole_or_not_at_all() -> None:
    cluster, _ = EMPTY.changed([PlaceKeyspace((entry(1, 1),))])
    one, new = entry(1, 2), entry(2, 1)
    tenant = Tenant("r", b"acme", 2)
    after, landed = cluster.changed([Reshape((one, new), RANGES, None, tenant)])
    assert landed == (True,)
    assert after.entries == {1: one, 2: new}
    assert (after.keyspaces["r"], after.tenants) == (RANGES, {("r", b"acme"): tenant})
    assert EMPTY.updated(after.full_update()) == after
    assert cluster.updated(after.since(cluster)) == after
    for refused in (
        Reshape((one, entry(2, 2))),
        Reshape((entry(1, 3), new)),
        Reshape((one,), RANGES, RANGES),
    ):
        assert cluster.changed([refused]) == (cluster, (False,))


def test_a_tenant_is_put_by_what_stood_before() -> None:
    first, second = Tenant("d", b"acme", 1), Tenant("d", b"acme", 2)
    cluster, landed = EMPTY.changed([PutTenant(first, None), PutTenant(second, None), PutTenant(second, first)])
    assert landed == (True, False, True)
    assert cluster.tenants == {("d", b"acme"): second}


def test_a_partition_hides_what_it_has_rows_of_and_does_not_serve() -> None:
    hiding = {
        (pid, state): msgspec.structs.replace(entry(pid, 2), transfer=Transfer(7, 1, 2, state)).hidden is not None
        for pid in (1, 2)
        for state in TransferState
    }
    shown = {(1, TransferState.COPYING), (2, TransferState.SWITCHED)}
    assert {at for at, is_hidden in hiding.items() if not is_hidden} == shown


def test_a_transfer_takes_a_range_or_a_tenant() -> None:
    some = Transfer(7, 1, 2, TransferState.COPYING, b"b", b"d")
    assert [key for key in (b"a", b"b", b"c", b"d") if some.takes(key)] == [b"b", b"c"]
    assert Transfer(7, 1, 2, TransferState.COPYING, b"b").takes(b"zz")
    acme = Transfer(7, 1, 2, TransferState.COPYING, tenant=b"acme")
    keys = (b"acme/x", b"acme", b"acmes/x", b"x{acme/y}", b"acme/{b}")
    assert [key for key in keys if acme.takes(key)] == [b"acme/x", b"acme", b"x{acme/y}"]
