"""Routing by a map, and cutting a batch into waves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.router import Router, waves
from kvstore.errors import NoLeader, NotFound
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid
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


def test_the_explanation_names_leader_and_followers(router: Router) -> None:
    _, digest, why = router.explain("default", b"a")
    assert len(digest) == 16
    assert why[-2:] == ["leader: n1 at 127.0.0.1:1, epoch 1, map entry version 1", "followers: n2"]


def test_different_keys_go_in_one_wave() -> None:
    assert waves([(b"a", True), (b"b", False), (b"c", True)]) == [[0, 1, 2]]


def test_reads_of_one_key_go_in_one_wave() -> None:
    assert waves([(b"a", False), (b"a", False)]) == [[0, 1]]


def test_a_write_comes_after_what_touched_its_key_and_before_what_follows() -> None:
    assert waves([(b"a", False), (b"a", True), (b"b", True), (b"a", False), (b"a", True)]) == [[0, 2], [1], [3], [4]]


OPERATIONS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans()), max_size=30)


@given(operations=OPERATIONS)
def test_waves_keep_the_order_of_each_key(operations: list[tuple[bytes, bool]]) -> None:
    cut = waves(operations)
    wave_of = {position: number for number, wave in enumerate(cut) for position in wave}
    assert sorted(wave_of) == list(range(len(operations)))
    for later, (key, writes) in enumerate(operations):
        for earlier in range(later):
            other, wrote = operations[earlier]
            if key == other and (writes or wrote):
                assert wave_of[earlier] < wave_of[later]
