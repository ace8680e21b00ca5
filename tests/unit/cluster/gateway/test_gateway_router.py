"""Routing by a map, and cutting a batch into waves."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.operations import Change, Get
from cluster.gateway.router import Router, TenantNotKnown, waves
from kvstore.errors import NoLeader, NotFound
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid, Tenant
from kvstore.messages import MapUpdate

RIDS = (Rid("n1", b"1" * 16), Rid("n2", b"2" * 16))


def entry(pid: int, ver: int = 1, leader: Rid | None = RIDS[0]) -> Entry:
    return Entry(pid, "default", ver, ver, leader, RIDS, RIDS)


@pytest.fixture
def router() -> Router:
    router = Router(b"c" * 8)
    nodes = [NodeInfo("n1", "127.0.0.1:1", "z", 1.0, 1)]
    keyspace = KeyspaceInfo("default", "consistent", tuple(range(1, 9)), 2, 1)
    router.take(MapUpdate(3, nodes, [entry(pid) for pid in range(1, 9)], [keyspace]))
    return router


@given(key=st.binary(min_size=1, max_size=480))
def test_every_key_has_one_partition(key: bytes) -> None:
    router = Router(b"c" * 8)
    keyspace = KeyspaceInfo("default", "consistent", (4, 7, 9), 2, 1)
    router.take(MapUpdate(1, [], [entry(pid) for pid in (4, 7, 9)], [keyspace]))
    assert router.route("default", key).pid in (4, 7, 9)
    assert router.route("default", key) is router.route("default", key)
    assert router.explain("default", key)[0] == router.route("default", key)


def test_a_hash_tag_keeps_keys_together(router: Router) -> None:
    assert len({router.route("default", b"{user}:%d" % number).pid for number in range(100)}) == 1


@given(key=st.binary(min_size=1, max_size=480))
def test_a_locator_names_the_partition_that_a_key_is_routed_to(key: bytes) -> None:
    router = Router(b"c" * 8)
    assert router.locator("default") is None
    router.take(MapUpdate(1, [], [entry(pid) for pid in (4, 7, 9)], [KeyspaceInfo("default", "hash", (4, 7, 9), 2, 1)]))
    locate = router.locator("default")
    assert locate is not None
    assert locate(key) == router.route("default", key).pid


def test_a_hint_counts_only_when_it_is_newer(router: Router) -> None:
    router.take_entry(entry(1, ver=3, leader=RIDS[1]))
    router.take_entry(entry(1, ver=2, leader=RIDS[0]))
    assert router.map.entries[1].leader == RIDS[1]


def test_news_of_control_that_is_older_than_a_hint_does_not_undo_it(router: Router) -> None:
    router.take_entry(entry(1, ver=3, leader=RIDS[1]))
    router.take(MapUpdate(4, [], [entry(1, ver=2)], []))
    assert router.map.entries[1].ver == 3


def test_a_keyspace_that_is_not_there_is_not_found(router: Router) -> None:
    with pytest.raises(NotFound):
        router.route("other", b"a")


def test_a_map_that_is_empty_or_not_placed_has_no_leader() -> None:
    router = Router(b"c" * 8)
    with pytest.raises(NoLeader):
        router.route("default", b"a")
    router.take(MapUpdate(1, [], [], [KeyspaceInfo("default", "consistent", (1, 2), 2, 1)]))
    with pytest.raises(NoLeader, match="placed"):
        router.route("default", b"a")


class LookedThrough(tuple[int, ...]):
    """Uids that count how often somebody goes through them."""

    looks = 0

    def __iter__(self) -> Iterator[int]:
        self.looks += 1
        return super().__iter__()


def test_whether_a_keyspace_is_placed_is_looked_at_until_it_is_and_then_for_each_new_record_of_it() -> None:
    router = Router(b"c" * 8)
    pids = LookedThrough((1, 2))
    router.take(MapUpdate(1, [], [entry(1)], [KeyspaceInfo("default", "consistent", pids, 2, 1)]))
    assert not router.is_placed("default")
    router.take(MapUpdate(2, [], [entry(2)], []))
    assert router.is_placed("default")
    looks = pids.looks
    router.take_entry(entry(1, ver=2))
    assert router.is_placed("default")
    assert pids.looks == looks
    router.take(MapUpdate(3, [], [], [KeyspaceInfo("default", "consistent", (1, 2, 3), 2, 2)]))
    assert not router.is_placed("default")
    router.take(MapUpdate(4, [], [entry(3)], []))
    assert router.is_placed("default")


def test_the_explanation_names_leader_and_followers(router: Router) -> None:
    _, digest, why = router.explain("default", b"a")
    assert len(digest) == 16
    assert why[-2:] == ["leader: n1 at 127.0.0.1:1, epoch 1, map entry version 1", "followers: n2"]


def in_ranges(layout: int = 0, entry_layout: int = 0) -> MapUpdate:
    """A keyspace of two ranges, of which the second entry has `entry_layout`."""
    entries = [entry(1), msgspec.structs.replace(entry(2, leader=RIDS[1]), layout=entry_layout)]
    keyspace = KeyspaceInfo("default", "range", (1, 2), 2, 1, layout=layout, bounds=(b"m",))
    return MapUpdate(1, [], entries, [keyspace])


def test_a_range_of_keys_is_sought_only_where_it_can_be() -> None:
    router = Router(b"c" * 8)
    router.take(in_ranges())
    assert [one.pid for one in router.entries_within("default", b"a", b"m")] == [1]
    assert [one.pid for one in router.entries_within("default", b"a", b"m\x00")] == [1, 2]
    assert [one.pid for one in router.entries_within("default")] == [1, 2]
    assert router.by_leader("default", b"x") == {"n2": [(2, 1)]}
    assert router.by_leader("default") == {"n1": [(1, 1)], "n2": [(2, 1)]}


def test_a_partition_whose_keys_have_changed_is_not_asked_before_it_is_known_which_they_are() -> None:
    router = Router(b"c" * 8)
    router.take(in_ranges())
    router.take_entry(msgspec.structs.replace(entry(2, ver=2), layout=1))
    assert router.route("default", b"a").pid == 1
    with pytest.raises(NoLeader, match="news"):
        router.route("default", b"z")
    with pytest.raises(NoLeader, match="news"):
        router.by_leader("default")
    assert router.by_leader("default", b"", b"b") == {"n1": [(1, 1)]}
    keyspace = KeyspaceInfo("default", "range", (1, 2), 2, 1, layout=1, bounds=(b"c",))
    router.take(MapUpdate(2, [], [], [keyspace]))
    assert router.route("default", b"z").ver == 2
    assert router.route("default", b"d").pid == 2
    assert router.by_leader("default") == {"n1": [(1, 1), (2, 2)]}


def test_a_tenant_without_a_partition_is_named_until_news_come_of_it() -> None:
    router = Router(b"c" * 8)
    router.take(MapUpdate(1, [], [entry(1), entry(2)], [KeyspaceInfo("k", "directory", (1, 2), 2, 1)]))
    with pytest.raises(TenantNotKnown) as raised:
        router.route("k", b"acme/1")
    assert (raised.value.keyspace, raised.value.tenant) == ("k", b"acme")
    with pytest.raises(TenantNotKnown):
        router.explain("k", b"acme/1")
    router.take(MapUpdate(2, [], [], tenants=[Tenant("k", b"acme", 2)]))
    assert router.route("k", b"acme/1").pid == 2
    assert [one.pid for one in router.entries_within("k", b"acme/", b"acme0")] == [1, 2]


def test_tenants_are_listed_by_name_as_news_come_of_them() -> None:
    router = Router(b"c" * 8)
    bolt, dent = Tenant("k", b"bolt", 1), Tenant("k", b"dent", 2)
    router.take(MapUpdate(1, [], [], [KeyspaceInfo("k", "directory", (1, 2), 2, 1)], tenants=[dent, bolt]))
    assert list(router.tenants_from("k", b"")) == [(b"bolt", 1), (b"dent", 2)]
    cora = Tenant("k", b"cora", 1)
    router.take(MapUpdate(2, [], [], tenants=[cora, Tenant("l", b"acme", 9), Tenant("k", b"bolt", 2), cora]))
    router.take(MapUpdate(1, [], [], tenants=[Tenant("k", b"late", 1)]))
    router.take(MapUpdate(3, [], [], tenants=[cora]))
    assert list(router.tenants_from("k", b"bolt")) == [(b"bolt", 2), (b"cora", 1), (b"dent", 2)]
    assert list(router.tenants_from("k", b"bolt0")) == [(b"cora", 1), (b"dent", 2)]


def test_tenants_of_a_former_keyspace_are_not_listed() -> None:
    router = Router(b"c" * 8)
    acme, bolt = Tenant("k", b"acme", 1), Tenant("k", b"bolt", 2)
    router.take(MapUpdate(1, [], [], [KeyspaceInfo("k", "directory", (1,), 2, 1)], tenants=[acme]))
    router.take(MapUpdate(2, [], [], [KeyspaceInfo("k", "directory", (), 2, 1)]))
    router.take(MapUpdate(3, [], [], [KeyspaceInfo("k", "directory", (2,), 2, 1)], tenants=[bolt]))
    assert list(router.tenants_from("k", b"")) == [(b"bolt", 2)]
    router.take(MapUpdate(4, [], [], tenants=[Tenant("k", b"acme", 2)]))
    assert list(router.tenants_from("k", b"")) == [(b"acme", 2), (b"bolt", 2)]


def test_a_deleted_keyspace_is_not_found_and_a_new_one_of_its_name_is_another() -> None:
    router = Router(b"c" * 8)
    router.take(MapUpdate(1, [], [entry(1)], [KeyspaceInfo("k", "consistent", (1,), 2, 1)]))
    assert router.by_leader("k") == {"n1": [(1, 1)]}
    over = msgspec.structs.replace(entry(1, ver=2, leader=None), in_sync=(), replicas=())
    router.take(MapUpdate(2, [], [over], [KeyspaceInfo("k", "consistent", (), 2, 1)]))
    for ask in (router.entries_within, router.by_leader):
        with pytest.raises(NotFound):
            ask("k")
    with pytest.raises(NotFound):
        router.route("k", b"a")
    router.take(MapUpdate(3, [], [entry(5)], [KeyspaceInfo("k", "consistent", (5,), 2, 1)]))
    assert router.route("k", b"a").pid == 5


def cut(operations: list[tuple[bytes, bool]]) -> list[list[int]]:
    """The waves of operations that are told as keys, and whether each writes."""
    return waves([Change("default", key, b"") if writes else Get("default", key) for key, writes in operations])


def test_different_keys_go_in_one_wave() -> None:
    assert cut([(b"a", True), (b"b", False), (b"c", True)]) == [[0, 1, 2]]


def test_reads_of_one_key_go_in_one_wave() -> None:
    assert cut([(b"a", False), (b"a", False)]) == [[0, 1]]


def test_a_write_comes_after_what_touched_its_key_and_before_what_follows() -> None:
    assert cut([(b"a", False), (b"a", True), (b"b", True), (b"a", False), (b"a", True)]) == [[0, 2], [1], [3], [4]]


OPERATIONS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans()), max_size=30)


@given(operations=OPERATIONS)
def test_waves_keep_the_order_of_each_key(operations: list[tuple[bytes, bool]]) -> None:
    wave_of = {position: number for number, wave in enumerate(cut(operations)) for position in wave}
    assert sorted(wave_of) == list(range(len(operations)))
    for later, (key, writes) in enumerate(operations):
        for earlier in range(later):
            other, wrote = operations[earlier]
            if key == other and (writes or wrote):
                assert wave_of[earlier] < wave_of[later]
